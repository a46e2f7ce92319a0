"""The two forms of the subbands of a picture, and how one becomes the other.

Transforms work on a list of tensors [N, 3, ...], one a subband with all components, finest level
first, as `wavelet.analyse` returns it. The entropy coder works on one flat int16 array a picture:
see `subbands.Geometry`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.transform.subbands import (
    COMPONENTS,
    LEVELS,
    ORIENTATIONS,
    Geometry,
    band_index,
    view,
)


def band_group(level: int) -> slice:
    """Return the slice of a list of bands that belongs to a level; level 0 is the low band."""
    if level == 0:
        return slice(ORIENTATIONS * LEVELS, ORIENTATIONS * LEVELS + 1)
    return slice(ORIENTATIONS * (level - 1), ORIENTATIONS * level)


def levels_from(finest: int) -> list[int]:
    """Return the levels of a list of bands that begins at level `finest`; 0 is the low band."""
    return [*range(finest, LEVELS + 1), 0]


def flat_index(level: int) -> list[list[int]]:
    """Return the rows of `Geometry.bands` of a level, [orientation][component]."""
    orientations = ORIENTATIONS if level else 1
    return [
        [band_index(level, component, orientation) for component in range(COMPONENTS)]
        for orientation in range(orientations)
    ]


def flatten(bands: list[torch.Tensor], image: int, layout: Geometry) -> np.ndarray:
    """Copy the int16 bands of one image of a batch to a flat array, int16 [size]."""
    flat = np.zeros(layout.size, np.int16)
    for level in range(LEVELS + 1):
        for band, index in zip(bands[band_group(level)], flat_index(level), strict=True):
            values = band[image].cpu().numpy()
            for component in range(COMPONENTS):
                view(flat, layout, index[component])[:] = values[component]
    return flat


def unflatten(flats: Sequence[np.ndarray], layout: Geometry, finest: int = 1) -> list[torch.Tensor]:
    """Gather the flat arrays of images of one padded size to a list of bands, int16 [N, 3, ...].

    The list begins at level `finest`.
    """
    bands = []
    for level in levels_from(finest):
        for index in flat_index(level):
            values = [[view(flat, layout, i) for i in index] for flat in flats]
            bands.append(torch.from_numpy(np.array(values)))
    return bands
