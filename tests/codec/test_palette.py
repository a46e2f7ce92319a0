"""The palette chain: states nest, backward undoes forward, budgets decide the number of entries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import rans
from codec.palette import diffuse, map_bits
from codec.palette_walk import PALETTE_TABLES, walk_palette
from codec.tables import cumulative


def _image(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A class map of patches with some noise, and a random divergence between its 20 classes."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 20, (-(-height // 4), -(-width // 4)))
    class_map = np.kron(patches, np.ones((4, 4), int))[:height, :width]
    noisy = rng.random(class_map.shape) < 0.2
    class_map[noisy] = rng.integers(0, 20, noisy.sum())
    place = rng.normal(size=(20, 3))
    return class_map, np.square(place[:, None] - place[None]).sum(-1).astype(np.float32)


sides = st.integers(1, 24)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), sides, sides, st.floats(0.1, 2), st.floats(0, 3))
def test_forward_and_backward_are_inverse(seed, height, width, budget, more):
    class_map, distance = _image(seed, height, width)
    states = diffuse(class_map, distance, (budget, budget + more))
    coarse, fine = states
    np.testing.assert_array_equal(fine.parents[fine.labels], coarse.labels)
    one_hot = np.eye(len(fine.classes), dtype=np.float32)[fine.labels]
    forward = one_hot @ fine.transition
    np.testing.assert_array_equal(forward.argmax(-1), coarse.labels)
    assert (fine.transition.sum(1) == 1).all()
    starts = fine.starts()
    child = fine.labels - starts[coarse.labels]
    assert (child >= 0).all()
    assert (fine.labels < starts[coarse.labels + 1]).all()
    np.testing.assert_array_equal(starts[coarse.labels] + child, fine.labels)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), sides, sides, st.floats(0.2, 2))
def test_states_keep_to_their_budget(seed, height, width, budget):
    class_map, distance = _image(seed, height, width)
    for state in diffuse(class_map, distance, (budget,)):
        entries = len(state.classes)
        assert sorted(set(state.labels.ravel())) == list(range(entries))
        assert entries == 1 or map_bits(state.labels, entries) <= budget * class_map.size


def test_a_wider_budget_keeps_more_entries():
    class_map, distance = _image(5, 40, 60)
    kept = [len(diffuse(class_map, distance, (b,))[0].classes) for b in (0.2, 1, 2, 8)]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1] == len(np.unique(class_map))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), sides, sides)
def test_walk_round_trip(seed, height, width):
    class_map, distance = _image(seed, height, width)
    coarse, fine = diffuse(class_map, distance, (0.5, 2.5))
    frequencies = np.zeros((1 + PALETTE_TABLES, 5), np.uint16)
    frequencies[:, :2] = 1 << 15
    frequencies[3:, :2] = 20000, (1 << 16) - 20000
    sums, no_counts = cumulative(frequencies), np.zeros((1, 1), np.int64)
    coder = rans.begin_encoding(64 * class_map.size)
    count = walk_palette(
        rans.ENCODE, *coder, no_counts, sums, 1,
        coarse.labels.ravel(), fine.starts(), fine.labels.ravel(), width,
    )  # fmt: skip
    payload = rans.write_intervals(coder[2][:count]).astype("<u4").tobytes()
    decoder = rans.begin_decoding(payload)
    labels = np.zeros(class_map.size, np.int16)
    again = walk_palette(
        rans.DECODE, *decoder, no_counts, sums, 1,
        coarse.labels.ravel(), fine.starts(), labels, width,
    )  # fmt: skip
    assert again == count
    assert rans.finished(decoder[0], decoder[1])
    np.testing.assert_array_equal(labels.reshape(class_map.shape), fine.labels)


def test_one_class_is_one_entry():
    states = diffuse(np.full((3, 5), 9), np.ones((20, 20), np.float32), (0.5, 1.0))
    assert [list(state.classes) for state in states] == [[9], [9]]
    assert states[1].transition == pytest.approx(np.ones((1, 1)))
