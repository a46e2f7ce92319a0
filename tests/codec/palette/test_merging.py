"""The palette chain: states nest, backward undoes forward, budgets decide the number of entries."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint.codec.entropy import rans
from underpaint.codec.entropy.palette_map_coder import PALETTE_TABLES, code_labels
from underpaint.codec.entropy.tables import cumulative
from underpaint.codec.palette.classes import TEXTURE_BANDS
from underpaint.codec.palette.merging import (
    MergeWeights,
    PaletteState,
    diffuse,
    map_bits,
    merge_descriptors,
    texture_descriptors,
)
from underpaint.codec.palette.semantic_head import OWN_INPUTS, unit_length


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
budgets = st.lists(st.floats(0.05, 3), min_size=1, max_size=5).map(lambda b: tuple(sorted(b)))


def _described(seed: int, class_map: np.ndarray, weights: MergeWeights) -> np.ndarray:
    """Random inputs of the head and embeddings, alike within a class, as merge descriptors."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(20, OWN_INPUTS))[class_map]
    own = (own + 0.3 * rng.normal(size=own.shape)).astype(np.float32)
    embedded = unit_length(rng.normal(size=(20, 6))[class_map] + 0.3)
    return merge_descriptors(weights, own, embedded.astype(np.float32))


def _undone(coarse: np.ndarray, state: PaletteState, children: np.ndarray) -> np.ndarray:
    """The backward process: the label of each position from its parent and which child it is."""
    return state.starts()[coarse] + children


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


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**31), height=sides, width=sides, budgets=budgets,
    weights=st.builds(MergeWeights, *[st.sampled_from([0.0, 1.0, 30.0])] * 4),
)  # fmt: skip
def test_every_state_of_any_chain_is_undone_by_the_next(seed, height, width, budgets, weights):
    class_map, distance = _image(seed, height, width)
    descriptors = _described(seed, class_map, weights)
    states = diffuse(class_map, weights.latent * distance, budgets, descriptors)
    assert len(states) == len(budgets)
    labels = np.zeros(class_map.shape, np.int64)  # the root, to which every state merges
    forward = np.eye(len(states[-1].classes), dtype=int)
    for state in states:
        assert sorted(set(state.labels.ravel())) == list(range(len(state.classes)))
        np.testing.assert_array_equal(state.parents[state.labels], labels)  # forward
        children = state.labels - state.starts()[labels]
        assert (children >= 0).all()
        assert (state.labels < state.starts()[labels + 1]).all()
        np.testing.assert_array_equal(_undone(labels, state, children), state.labels)  # backward
        labels = state.labels
    for state in states[:0:-1]:  # the matrices of the steps make that of the whole way
        forward = forward @ state.transition.astype(int)
    assert (forward.sum(1) == 1).all()
    np.testing.assert_array_equal(forward.argmax(1)[states[-1].labels], states[0].labels)
    kept = [set(state.classes.tolist()) for state in states]
    assert all(coarse <= fine for coarse, fine in pairwise(kept))


def test_each_affinity_merges_what_is_alike_in_it():
    class_map = np.repeat(np.arange(4), 8).reshape(4, 8)
    far = np.ones((4, 4), np.float32) - np.eye(4, dtype=np.float32)
    own = np.zeros((4, 8, OWN_INPUTS), np.float32)
    own[[0, 1], :, 0], own[[2, 3], :, 1] = 3, 3  # the same stripes, along x and along y
    own[[0, 2], :, TEXTURE_BANDS] = 1
    embedded = np.zeros((4, 8, 2), np.float32)
    embedded[[0, 3], :, 0], embedded[[1, 2], :, 1] = 1, 1

    def pairs(weights: MergeWeights) -> list[list[int]]:
        descriptors = merge_descriptors(weights, own, embedded)
        states = diffuse(class_map, far, tuple(np.linspace(0.1, 4, 80)), descriptors)
        labels = next(state.labels[:, 0] for state in states if len(state.classes) == 2)
        return sorted(np.flatnonzero(labels == label).tolist() for label in (0, 1))

    assert pairs(MergeWeights(0, 0, 1, 0)) == [[0, 3], [1, 2]]
    assert pairs(MergeWeights(0, 0, 0, 1)) == [[0, 2], [1, 3]]
    own[[0, 1], :, 2] = 5  # now what is high along both tells them apart, not the direction
    assert pairs(MergeWeights(0, 1, 0, 0)) == [[0, 1], [2, 3]]


def test_texture_descriptors_forget_quarter_turns():
    rng = np.random.default_rng(7)
    logs = rng.normal(size=(3, 5, TEXTURE_BANDS)).astype(np.float32)
    turned = logs.reshape(3, 5, -1, 3)[..., [1, 0, 2]].reshape(logs.shape)
    assert np.abs(turned - logs).max() > 1
    np.testing.assert_allclose(texture_descriptors(turned), texture_descriptors(logs), atol=1e-6)
    louder = texture_descriptors(logs + 1) - texture_descriptors(logs)
    np.testing.assert_allclose(np.square(louder).sum(-1), 1, rtol=1e-4)


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
def test_labels_round_trip(seed, height, width):
    class_map, distance = _image(seed, height, width)
    coarse, fine = diffuse(class_map, distance, (0.5, 2.5))
    frequencies = np.zeros((1 + PALETTE_TABLES, 5), np.uint16)
    frequencies[:, :2] = 1 << 15
    frequencies[3:, :2] = 20000, (1 << 16) - 20000
    sums = cumulative(frequencies)
    coder = rans.encoder(sums, np.ascontiguousarray(sums[:, 1]), 64 * class_map.size)
    count = code_labels(coder, 1, coarse.labels.ravel(), fine.starts(), fine.labels.ravel(), width)
    payload = rans.pack_intervals(coder.intervals[: rans.recorded(coder)])
    decoder = rans.decoder(sums, np.ascontiguousarray(sums[:, 1]), payload)
    labels = np.zeros(class_map.size, np.int16)
    again = code_labels(decoder, 1, coarse.labels.ravel(), fine.starts(), labels, width)
    assert again == count
    assert rans.finished(decoder)
    np.testing.assert_array_equal(labels.reshape(class_map.shape), fine.labels)


def test_one_class_is_one_entry():
    states = diffuse(np.full((3, 5), 9), np.ones((20, 20), np.float32), (0.5, 1.0))
    assert [list(state.classes) for state in states] == [[9], [9]]
    assert states[1].transition == pytest.approx(np.ones((1, 1)))
