"""HashTable finds what it was given, nothing else, and survives as arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint.transforms.hash_table import HashTable, short_hashes

texts = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(deadline=None)
@given(st.sets(texts, max_size=50), st.sets(texts, max_size=50))
def test_membership(held: set[str], others: set[str]) -> None:
    found = HashTable.from_arrays(HashTable.of(held).arrays)
    assert len(found) == len(held)
    assert all(text in found for text in held)
    assert not any(text in found for text in others - held)


@settings(deadline=None)
@given(st.lists(st.tuples(texts, st.integers(0, 2**32 - 1)), max_size=50))
def test_every_row_of_a_text_is_found(rows: list[tuple[str, int]]) -> None:
    table = HashTable(len(rows), ("value",))
    for start in range(0, len(rows), 7):
        batch = rows[start : start + 7]
        table.append([text for text, _ in batch], value=np.array([value for _, value in batch]))
    table.sort()
    for text in {text for text, _ in rows}:
        wanted = sorted(value for other, value in rows if other == text)
        assert sorted(table.find(text)["value"]) == wanted


def test_rows_that_share_half_a_hash_are_told_apart() -> None:
    table = HashTable.of(["a", "b", "c"])
    arrays = {name: array.copy() for name, array in table.arrays.items()}
    arrays["high"][:] = arrays["high"][1]
    same = HashTable.from_arrays(arrays)
    assert [text in same for text in "abc"].count(True) == 1


def test_more_rows_than_announced_are_refused() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        HashTable(1).append(["a", "b"])


def test_a_row_of_four_columns_takes_32_bytes() -> None:
    assert HashTable(1000, "abcd").memory == 32_000
    assert len(set(short_hashes(map(str, range(1000))))) == 1000
