"""Cells nest exactly: a state follows from the next finer one alone."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from underpaint.codec.quantize.cells import Cells, chain


def random_chain(draw) -> tuple[Cells, ...]:
    states = [Cells(0, 1)]
    for _ in range(draw(st.integers(1, 5))):
        finer = states[-1]
        parts = draw(st.integers(1, 3))
        spread = draw(st.integers(0, 2))
        states.append(Cells(finer.zero + spread * finer.width, parts * finer.width))
    return tuple(reversed(states))


@given(st.data())
def test_states_nest(data):
    states = random_chain(data.draw)
    assert chain([(state.zero, state.width) for state in states]) == states
    q = np.arange(-600, 601)
    for coarse, fine in pairwise(states):
        fine_index, coarse_index = fine.index(q), coarse.index(q)
        for cell in np.unique(fine_index):
            assert len(np.unique(coarse_index[fine_index == cell])) == 1


@given(st.integers(0, 50), st.integers(1, 20), st.integers(-900, 900))
def test_a_cell_holds_what_it_says(zero, width, q):
    index = int(Cells(zero, width).index(np.array([q]))[0])
    if index == 0:
        assert abs(q) <= zero
    else:
        assert np.sign(q) == np.sign(index)
        inner = zero + (abs(index) - 1) * width
        assert inner < abs(q) <= inner + width


@pytest.mark.parametrize("pairs", [[(3, 3), (0, 2)], [(1, 2), (2, 1)], [(9, 1), (0, 1)]])
def test_a_chain_that_does_not_nest_is_refused(pairs):
    with pytest.raises(ValueError, match="do not nest"):
        chain(pairs)
