"""Rows by number: every row is found once, in the order of the archive."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from underpaint.codec.archive.row_numbers import RowNumbers
from underpaint.codec.archive.units import Groups

FILES = st.lists(st.lists(st.integers(1, 5), max_size=4), max_size=5)


def numbers_of(files: list[list[int]]) -> tuple[RowNumbers, list[tuple[int, int, int]]]:
    """Row numbers of data files with these row groups, and the place of each row."""
    groups = [(f, g, rows) for f, of_file in enumerate(files) for g, rows in enumerate(of_file)]
    columns = np.array(groups, np.int64).reshape(-1, 3).T
    places = [(file, group, row) for file, group, rows in groups for row in range(rows)]
    return RowNumbers(Groups(*columns)), places


@given(files=FILES, start=st.integers(-3, 60), length=st.integers(0, 60))
def test_spans_are_the_rows_in_order(files: list[list[int]], start: int, length: int) -> None:
    numbers, places = numbers_of(files)
    assert numbers.rows == len(places)
    found = []
    for span in numbers.spans(start, start + length):
        assert span.start < span.stop
        for offset in range(span.stop - span.start):
            place = span.file, span.group, span.start + offset
            assert numbers.number(*place) == span.number + offset
            found.append((span.number + offset, place))
    assert found == [
        (number, places[number])
        for number in range(max(0, start), min(len(places), start + length))
    ]


@given(files=FILES)
def test_groups_cover_all_rows(files: list[list[int]]) -> None:
    numbers, places = numbers_of(files)
    spans = list(numbers.groups())
    assert [span.number for span in spans] == [
        number for number, (_, _, row) in enumerate(places) if row == 0
    ]
    assert sum(span.stop for span in spans) == len(places)
