"""Costs of classes that count what their steps save and show."""

import numpy as np
import pytest
import torch

from underpaint.codec.palette.step_choice import costs_by_sight

MASKS = np.array([0.7, 1.0, 1.4], np.float32)


def chosen(shown, coded, costs=None, class_map=None, strength=4.0) -> np.ndarray:
    shape = shown.shape
    costs = np.zeros((*shape, 3), np.float32) if costs is None else costs
    class_map = np.ones(shape, np.int64) if class_map is None else class_map
    found = costs_by_sight(costs, MASKS, class_map, (shown, coded), strength)
    assert found.dtype == np.float32
    return found.argmin(-1)


def test_steps_stay_where_errors_show_as_bits_are_spent():
    coded = torch.rand(9, 12, generator=torch.Generator().manual_seed(1)) * 40
    assert (chosen(2.5 * (coded + 3), coded) == 1).all()


def test_steps_grow_where_little_shows_and_shrink_where_much_does():
    shown, coded = torch.ones(12, 24), torch.full((12, 24), 30.0)
    shown[:, 12:] = 4
    found = chosen(shown, coded)
    assert (found[:, :10] == 2).all()
    assert (found[:, 14:] == 0).all()


def test_a_class_that_fits_much_better_is_kept():
    shown, coded = torch.ones(12, 24), torch.full((12, 24), 30.0)
    shown[:, 12:] = 4
    costs = np.zeros((12, 24, 3), np.float32)
    costs[..., [0, 2]] = 1000
    assert (chosen(shown, coded, costs) == 1).all()


def test_bits_saved_are_a_bit_for_each_coefficient_and_doubled_step():
    masks = np.array([1.0, 2.0], np.float32)
    fields = torch.zeros(1, 2), torch.full((1, 2), 27.0)
    fields[0][0, 0] = 1e-9
    found = costs_by_sight(
        np.zeros((1, 2, 2), np.float32), masks, np.zeros((1, 2), int), fields, 1.0
    )
    assert found[..., 0].tolist() == [[0, 0]]
    assert found.sum() == pytest.approx(2 * (30 / np.log(2) - 30), rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2)])
def test_costs_stay_where_nothing_shows(shape):
    costs = np.random.default_rng(1).random((*shape, 3)).astype(np.float32)
    shown, coded = torch.zeros(shape), torch.ones(shape)
    assert costs_by_sight(costs, MASKS, np.ones(shape, int), (shown, coded), 4.0) is costs
