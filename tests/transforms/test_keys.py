"""KeySet holds what it was given, nothing else, and survives as bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint.transforms.keys import KeySet

keys = st.sets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=50)


@settings(deadline=None)
@given(keys, keys)
def test_membership(held: set[str], others: set[str]) -> None:
    found = KeySet(KeySet.of(sorted(held)).data)
    assert len(found) == len(held)
    assert all(key in found for key in held)
    assert not any(key in found for key in others - held)
