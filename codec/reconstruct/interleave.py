"""Pictures with the colours of each pixel side by side, as arrays of pixels have them."""

from __future__ import annotations

import numpy as np

from underpaint.codec.reconstruct.backend import Picture
from underpaint.codec.runtime.jit import kernel


def interleaved(picture: Picture) -> np.ndarray:
    """Return uint8 [H, W, 3] of a picture uint8 [3, H, W] on any device."""
    if not isinstance(picture, np.ndarray):
        if picture.device.type != "cpu":
            return picture.permute(1, 2, 0).contiguous().cpu().numpy()
        picture = picture.numpy()
    planes = np.ascontiguousarray(picture)
    pixels = np.empty((*planes.shape[1:], 3), np.uint8)
    _interleave(planes, pixels)
    return pixels


@kernel()
def _interleave(planes, pixels):
    """Write `pixels` of three planes; indices in one row, so that the loop is vectorised."""
    for y in range(planes.shape[1]):
        red, green, blue, row = planes[0, y], planes[1, y], planes[2, y], pixels[y].reshape(-1)
        for x in range(red.size):
            at = np.uint64(3 * x)
            row[at] = red[x]
            row[at + np.uint64(1)] = green[x]
            row[at + np.uint64(2)] = blue[x]
