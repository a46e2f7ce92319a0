"""Pixels of pictures: colours side by side, from arrays and tensors of any memory layout."""

import numpy as np
import pytest
import torch

from underpaint.codec.reconstruct.interleave import interleaved


@pytest.mark.parametrize("sides", [(1, 1), (3, 70), (70, 3), (33, 129)])
def test_pixels_are_the_colours_of_the_planes(sides: tuple[int, int]) -> None:
    planes = np.random.default_rng(1).integers(0, 256, (3, *sides), np.uint8)
    wanted = planes.transpose(1, 2, 0)
    assert np.array_equal(interleaved(planes), wanted)
    assert np.array_equal(interleaved(torch.from_numpy(planes)), wanted)


def test_planes_may_be_part_of_a_larger_array() -> None:
    whole = np.random.default_rng(1).integers(0, 256, (3, 40, 50), np.uint8)
    part = whole[:, 2:30:2, 3:40]
    wanted = part.transpose(1, 2, 0)
    assert np.array_equal(interleaved(part), wanted)
    assert np.array_equal(interleaved(torch.from_numpy(whole)[:, 2:30:2, 3:40]), wanted)


def test_pixels_are_contiguous_and_writable() -> None:
    pixels = interleaved(np.zeros((3, 4, 5), np.uint8))
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
