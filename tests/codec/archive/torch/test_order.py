"""Every image exactly once an epoch, whatever stops, resumes, ranks and workers there are."""

from __future__ import annotations

import hashlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.orders import orders
from underpaint.codec.archive.torch.order import (
    EpochOrder,
    Interval,
    Piece,
    count,
    keyed_permutation,
    subtract,
    union,
)

positions = st.sets(st.integers(0, 60))


def as_intervals(members: set[int]) -> list[Interval]:
    return union((at, at + 1) for at in members)


def members(intervals: list[Interval]) -> set[int]:
    return {at for start, stop in intervals for at in range(start, stop)}


@given(positions, positions)
def test_intervals_are_sets_of_positions(one: set[int], two: set[int]) -> None:
    a, b = as_intervals(one), as_intervals(two)
    assert members(a) == one
    assert count(a) == len(one)
    assert members(union([*a, *b])) == one | two
    assert members(subtract(a, b)) == one - two
    assert all(x[1] < y[0] for x, y in pairwise(a))


def test_permutations_are_the_same_in_every_version_and_on_every_machine() -> None:
    assert keyed_permutation(10, 1, 2).tolist() == [1, 3, 7, 9, 2, 8, 6, 4, 5, 0]
    many = keyed_permutation(100_000, 7, 0, 1, 3)
    assert sorted(many.tolist()) == list(range(100_000))
    digest = hashlib.sha256(many.astype("<i8").tobytes()).hexdigest()
    assert digest == "933197b6102253d710e828ea3057a4ae84cbfed410a7e6f994f945acef2da3d1"


@given(orders())
def test_an_epoch_is_a_permutation_of_the_rows(order: EpochOrder) -> None:
    located = []
    for piece in order.pieces([(0, len(order))]):
        groups, rows = order.locate(piece)
        located += list(zip(groups.tolist(), rows.tolist(), strict=True))
    assert len(located) == len(set(located)) == len(order)


@given(orders(), st.data())
def test_a_part_of_a_window_is_that_part_of_the_whole(
    order: EpochOrder, data: st.DataObject
) -> None:
    piece = data.draw(st.sampled_from(order.pieces([(0, len(order))])))
    start = data.draw(st.integers(piece.start, piece.stop - 1))
    stop = data.draw(st.integers(start + 1, piece.stop))
    whole = order.locate(piece)
    part = order.locate(Piece(piece.window, start, stop))
    for one, all_ in zip(part, whole, strict=True):
        assert one.tolist() == all_[start - piece.start : stop - piece.start].tolist()
