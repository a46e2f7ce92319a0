"""Equal numbers of samples and batches on all ranks, whatever the workers and the batch size."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain, zip_longest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.orders import orders
from underpaint.codec.archive.torch.division import Division
from underpaint.codec.archive.torch.mixture import Mixture
from underpaint.codec.archive.torch.order import (
    EpochOrder,
    Interval,
    Piece,
    count,
    subtract,
    union,
    without,
)
from underpaint.codec.errors import UsageError


@st.composite
def divisions(draw: st.DrawFn) -> Division:
    batch_size = draw(st.none() | st.integers(1, 7))
    return Division(
        ranks=draw(st.integers(1, 6)),
        even=draw(st.sampled_from(["pad", "drop", "uneven"])),
        batch_size=batch_size,
        drop_last=batch_size is not None and draw(st.booleans()),
    )


def positions(pieces: list[Piece]) -> list[int]:
    return [at for piece in pieces for at in range(piece.start, piece.stop)]


def images(pieces: list[Piece]) -> list[int]:
    """The position of each image: that of the repeated image for padding."""
    return [at for p in pieces for at in range(p.first, p.first + p.stop - p.start)]


def batches(workers: list[list[Piece]], size: int, drop_last: bool) -> list[list[int]]:
    """The batches of a DataLoader: each worker forms its own; workers take turns."""
    lists = []
    for pieces in workers:
        own = positions(pieces)
        cut = [own[at : at + size] for at in range(0, len(own), size)]
        lists.append([batch for batch in cut if len(batch) == size or not drop_last])
    return [batch for turn in zip_longest(*lists) for batch in turn if batch is not None]


@given(orders(), divisions(), st.sets(st.integers(0, 60)), st.integers(1, 4))
def test_each_position_comes_once_with_at_most_one_repeat_a_rank(
    order: EpochOrder, division: Division, done: set[int], workers: int
) -> None:
    taken = union((at, at + 1) for at in done)  # those beyond the images are used-up padding
    left = len(order) - sum(at < len(order) for at in done)
    shares = division.shares(order, taken)
    sizes = [len(positions(share)) for share in shares]
    assert sizes == [division.length(left, rank) for rank in range(division.ranks)]
    dealt = positions([piece for share in shares for piece in share])
    assert len(dealt) == len(set(dealt))
    assert not set(dealt) & done
    for share in shares:
        repeats = [piece for piece in share if piece.repeats is not None]
        assert count((piece.start, piece.stop) for piece in repeats) <= 1
        spread = division.spread(share, workers)
        assert sorted(positions(list(chain(*spread)))) == sorted(positions(share))
    came = Counter(images([piece for share in shares for piece in share]))
    lost = left - len(came)
    if division.drop_last:
        assert lost < division.ranks * division.batch_size
    else:
        assert lost == (left % division.ranks if division.even == "drop" else 0)
    if division.even != "pad":
        assert max(came.values(), default=0) <= 1


@given(
    orders(),
    divisions(),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 7),
    st.booleans(),
    st.data(),
)
def test_ranks_come_to_equal_numbers_of_batches_also_after_a_stop(
    order: EpochOrder,
    division: Division,
    workers: int,
    workers_later: int,
    size: int,
    drop_last: bool,
    data: st.DataObject,
) -> None:
    if division.even == "uneven":
        division = replace(division, even="pad")
    if division.batch_size is not None:
        size, drop_last = division.batch_size, division.drop_last
    shares = division.shares(order, [])
    runs = [batches(division.spread(share, workers), size, drop_last) for share in shares]
    steps = {len(run) for run in runs}
    assert len(steps) == 1
    if division.batch_size is not None:
        assert steps == {division.steps(len(order), 0)}
    stop = data.draw(st.integers(0, steps.pop()))
    consumed = [union((at, at + 1) for batch in run[:stop] for at in batch) for run in runs]
    whole: list[Interval] = union(interval for own in consumed for interval in own)
    if data.draw(st.booleans(), label="same ranks"):
        rests = [without(share, own) for share, own in zip(shares, consumed, strict=True)]
        assert division.balanced(order, [], whole)
    else:
        division = replace(division, ranks=data.draw(st.integers(1, 6)))
        rests = division.shares(order, whole)
        lost = set(positions(order.pieces(subtract([(0, len(order))], whole))))
        lost -= set(positions([piece for share in rests for piece in share]))
        assert len(lost) < division.ranks * (size if division.drop_last else 1)
    again = [batches(division.spread(rest, workers_later), size, drop_last) for rest in rests]
    assert len({len(run) for run in again}) == 1
    came = [at for run in again for batch in run for at in batch]
    assert len(came) == len(set(came))
    assert not set(came) & {at for start, end in whole for at in range(start, end)}


@given(orders(), st.integers(1, 4))
def test_windows_are_cut_only_to_make_shares_equal(order: EpochOrder, ranks: int) -> None:
    windows = len(order.pieces([(0, len(order))]))
    shares = Division(ranks).shares(order, [])
    assert sum(len(share) for share in shares) <= windows + 3 * ranks
    for share in Division(1).spread(shares[0], 3):
        assert set(share) <= set(shares[0])


def test_ranks_stopped_after_unequal_steps_are_not_balanced() -> None:
    eight = Mixture(np.array([8]), np.array([8]), (1,), (8,))
    order = EpochOrder(eight, seed=0, epoch=0, window_bytes=1)
    [first, second] = (share[0] for share in Division(2).shares(order, []))
    equal = union([(first.start, first.start + 2), (second.start, second.start + 2)])
    assert Division(2).balanced(order, [], equal)
    assert not Division(2).balanced(order, [], [(first.start, first.start + 2)])
    assert Division(2, "uneven").balanced(order, [], [(first.start, first.start + 2)])


def test_mistakes_get_one_line() -> None:
    with pytest.raises(UsageError, match="even 'no': choose pad, drop or uneven"):
        Division(2, "no")
    with pytest.raises(UsageError, match="batch_size: 0"):
        Division(2, batch_size=0)
    with pytest.raises(UsageError, match="drop_last: needs batch_size"):
        Division(2, drop_last=True)
