"""Batches: every picture once, bounded, alike; a failing batch costs only what must fail."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint.transforms.batching import halving, shape_batches

shapes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=30)


@settings(deadline=None)
@given(shapes, st.integers(1, 2000))
def test_each_picture_is_in_one_batch_within_the_bound(
    shapes: list[tuple[int, int]], pixels: int
) -> None:
    batches = list(shape_batches(shapes, pixels))
    assert sorted(index for batch in batches for index in batch) == list(range(len(shapes)))
    for batch in batches:
        assert len(batch) == 1 or sum(shapes[i][0] * shapes[i][1] for i in batch) <= pixels


@settings(deadline=None)
@given(st.sets(st.integers(0, 15)), st.integers(1, 16))
def test_only_bad_pictures_fail_and_batches_shrink_to_what_fits(bad: set[int], room: int) -> None:
    calls = []

    def encode(images):
        calls.append(len(images))
        if len(images) > room:
            raise MemoryError("out of memory")
        if any(int(image[0, 0, 0]) in bad for image in images):
            raise ValueError("bad picture")
        return [(bytes([image[0, 0, 0]]),) for image in images]

    images = [np.full((2, 2, 3), number, np.uint8) for number in range(16)]
    results = halving(encode, images)
    for number, result in enumerate(results):
        if number in bad:
            assert isinstance(result, ValueError)
        else:
            assert result == (bytes([number]),)
    assert max(calls) == 16
