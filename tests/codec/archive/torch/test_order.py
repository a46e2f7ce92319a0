"""Every image exactly once an epoch, whatever stops, resumes, ranks and workers there are."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.orders import mixtures, orders
from underpaint.codec.archive.torch.mixture import Mixture, shares_of
from underpaint.codec.archive.torch.order import (
    EpochOrder,
    Interval,
    Piece,
    count,
    subtract,
    union,
)
from underpaint.codec.archive.torch.permutations import keyed_permutation, permuted
from underpaint.codec.errors import UsageError

FULL_OF_TEN = [9, 1, 5, 4, 0, 7, 6, 3, 8, 2]

positions = st.sets(st.integers(0, 60))


def as_intervals(members: set[int]) -> list[Interval]:
    return union((at, at + 1) for at in members)


def images(order: EpochOrder, piece: Piece) -> list[tuple[int, int]]:
    """Row group and row of each image of a piece."""
    groups, rows = order.locate(piece)
    return list(zip(groups.tolist(), rows.tolist(), strict=True))


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


@given(st.integers(1, 3000), st.integers(0, 2**63), st.data())
def test_parts_of_a_full_shuffle_are_parts_of_one_permutation(
    length: int, seed: int, data: st.DataObject
) -> None:
    whole = permuted(np.arange(length), length, seed, 1)
    assert sorted(whole.tolist()) == list(range(length))
    places = np.array(data.draw(st.lists(st.integers(0, length - 1), max_size=20)), np.int64)
    assert permuted(places, length, seed, 1).tolist() == whole[places].tolist()


def test_a_full_shuffle_is_the_same_in_every_version_and_far_from_the_order_of_rows() -> None:
    assert permuted(np.arange(10), 10, 1, 2).tolist() == FULL_OF_TEN
    many = permuted(np.arange(100_000), 100_000, 7)
    distance = np.abs(many - np.arange(100_000)).mean() / 100_000
    assert abs(distance - 1 / 3) < 0.005  # that of a random permutation
    assert np.mean(np.diff(many) == 1) < 1e-4


@given(orders())
def test_an_epoch_takes_each_image_once_a_pass(order: EpochOrder) -> None:
    located = [image for piece in order.pieces([(0, len(order))]) for image in images(order, piece)]
    assert len(located) == len(order)
    assert max(Counter(located).values()) <= 2  # the end of a pass, and the start of the next


@given(mixtures(), st.none() | st.integers(0, 99), st.none() | st.integers(1, 2000))
def test_no_image_comes_again_before_all_others_of_its_archive(
    mixture: Mixture, seed: int | None, window_bytes: int | None
) -> None:
    came: list[Counter[tuple[int, int]]] = [Counter() for _ in mixture.ends]
    for epoch in range(4):
        order = EpochOrder(mixture, seed=seed, epoch=epoch, window_bytes=window_bytes)
        for piece in order.pieces([(0, len(order))]):
            for group, row in images(order, piece):
                archive = next(at for at, end in enumerate(mixture.ends) if group < end)
                came[archive][group, row] += 1
        firsts = [0, *mixture.ends]
        for archive, seen in enumerate(came):
            images_of = int(mixture.rows[firsts[archive] : firsts[archive + 1]].sum())
            assert sum(seen.values()) == (epoch + 1) * mixture.takes[archive]
            least = min(seen.values()) if len(seen) == images_of else 0
            assert max(seen.values()) - least <= 1


@given(mixtures(), st.integers(0, 99))
def test_archives_are_spread_evenly_over_an_epoch(mixture: Mixture, seed: int) -> None:
    found = mixture.segments(seed, 0)
    largest = int(mixture.rows.max())
    firsts = [0, *mixture.ends]
    came = np.cumsum(found.rows)
    for archive, take in enumerate(mixture.takes):
        own = (found.groups >= firsts[archive]) & (found.groups < firsts[archive + 1])
        expected = came * take / len(mixture)
        off = np.abs(np.cumsum(found.rows * own) - expected)
        assert off.max() <= largest * len(mixture.takes) + 1


def test_proportions_are_kept_and_the_first_archive_that_ends_ends_the_epoch() -> None:
    assert shares_of([1000, 1000], [0.7, 0.3]) == (1000, 429)
    assert shares_of([100, 10_000], [1, 3]) == (100, 300)
    assert shares_of([5, 7], None) == (5, 7)
    for mix, reason in (
        ([1.0], "1 proportions for 2 archives"),
        ([1.0, 0.0], "numbers above 0"),
        ([1.0, float("nan")], "numbers above 0"),
    ):
        with pytest.raises(UsageError, match=reason):
            shares_of([5, 7], mix)
    with pytest.raises(UsageError, match="archive number 2 has no images"):
        shares_of([5, 0], [0.5, 0.5])


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
