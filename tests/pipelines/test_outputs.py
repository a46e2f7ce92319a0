"""File names of decoded pictures: one each, below the output folder, as the key says."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.outputs import OutputNames


def test_names_are_stems_and_a_second_one_keeps_its_extension() -> None:
    names = OutputNames(".png")
    keys = ["a/x.jpg", "a/x.png", "b/x.jpg", "a/x.webp", "a/x.png.jpg", "A/X.jpg", "a/noext"]
    assert [names.name(key) for key in keys] == [
        "a/x.png",
        "a/x.png.png",
        "b/x.png",
        "a/x.webp.png",
        "a/x.png.jpg.png",
        "A/X.jpg.png",
        "a/noext.png",
    ]


@pytest.mark.parametrize(
    "key",
    ["../x.jpg", "a/../../x.jpg", "/etc/passwd", "a//b.jpg", "..\\x.jpg", "C:/x.jpg", ".", "a/.",
     "C:x.jpg", "a/" + "n" * 300 + ".jpg"],
)  # fmt: skip
def test_keys_that_lead_elsewhere_are_refused(key: str) -> None:
    assert OutputNames(".png").name(key) is None


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab./\\:A", max_size=8), unique=True))
def test_names_are_distinct_and_stay_below(keys: list[str]) -> None:
    names = OutputNames(".png")
    found = [name for key in keys if (name := names.name(key)) is not None]
    assert len({name.casefold() for name in found}) == len(found)
    for name in found:
        assert posixpath.normpath(name) == name
        assert ".." not in name.split("/")
        assert not name.startswith("/")
