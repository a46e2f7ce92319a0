"""Rotation of a picture's colours: three angles bring its principal colours onto the fixed axes.

The opponent colours of `colours` lie close to the principal axes of photos at large. Those of one
photo may lie elsewhere: a sunset is bright where it is red. Rotated onto its own axes, its second
and third components carry less information. Only levels 2 to 6 and the low band are rotated: most
files store chroma at half the size, so the finest details of most photos are grey.

A rotation keeps squared error in rotated colours equal to squared error in RGB.

Source: the Karhunen-Loève transform of colours, of one picture at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.colours import mix_colours, runs_compiled
from underpaint.codec.transform.subbands import ORIENTATIONS

if TYPE_CHECKING:
    import torch

ANGLE_BITS = 8
"""Plain bits of an angle, which is coded from -128 on."""

ROTATED_PROFILES = frozenset({"fidelity"})
"""Profiles of weights whose encoder rotates colours. Rotation takes fewer bits at equal error, but
a segmenter needed a third more for the same score, probably because hues that are rare in a picture
then lie between its axes, where coarse states lose them (see `codec/profiles/README.md`)."""

FINEST_ROTATED = 2
"""The finest level that is rotated."""

LEAST_GAIN = 0.05
"""Bits of each position that a rotation must promise to be used."""

_UNIT = math.pi / 256
_ORDERS = tuple(itertools.permutations(range(3)))

_EVEN = np.float64(20)
"""Magnitude in pixel units above which all coefficients count alike, not by their square."""


class ColourRotation(NamedTuple):
    """Three angles in units of pi / 256, each -128 to 127, applied in this order.

    chroma        of components 1 and 2
    light_first   of components 0 and 1
    light_second  of components 0 and 2

    A positive angle rotates the second axis of its pair towards the first.
    """

    chroma: int
    light_first: int
    light_second: int

    def matrix(self) -> np.ndarray:
        """Return the matrix from opponent to rotated colours, float64 [3, 3]."""
        a, b, c = (angle * _UNIT for angle in self)
        sin_a, sin_b, sin_c = math.sin(a), math.sin(b), math.sin(c)
        cos_a, cos_b, cos_c = math.cos(a), math.cos(b), math.cos(c)
        light = (cos_b, sin_b * cos_a, sin_b * sin_a)  # after the first two angles
        other = (0.0, -sin_a, cos_a)
        return np.array([
            [cos_c * x + sin_c * y for x, y in zip(light, other, strict=True)],
            [-sin_b, cos_b * cos_a, cos_b * sin_a],
            [cos_c * y - sin_c * x for x, y in zip(light, other, strict=True)],
        ])  # fmt: skip

    def inverse_matrix(self) -> np.ndarray:
        """Return the matrix from rotated to opponent colours, float32 [3, 3]."""
        return self.matrix().T.astype(np.float32, order="C")

    @classmethod
    def nearest(cls, matrix: np.ndarray) -> ColourRotation:
        """Return the rotation nearest to an orthogonal matrix [3, 3] with a positive diagonal."""
        angles = (
            math.atan2(matrix[1, 2], matrix[1, 1]),
            -math.asin(max(-1.0, min(1.0, matrix[1, 0]))),
            math.atan2(-matrix[2, 0], matrix[0, 0]),
        )
        return cls(*(max(-128, min(127, round(angle / _UNIT))) for angle in angles))


NO_ROTATION = ColourRotation(0, 0, 0)


def find_rotations(bands: Sequence[torch.Tensor], profile: str | None) -> list[ColourRotation]:
    """Return the rotation of each picture, from bands float32 [N, 3, ...] in opponent colours.

    It brings the principal axes of levels 2 and 3 onto the fixed ones. Where it would gain next to
    nothing, or for a profile without rotation, it is `NO_ROTATION`. The rotation of a picture does
    not depend on the other pictures of the batch.
    """
    if profile not in ROTATED_PROFILES:
        return [NO_ROTATION] * len(bands[0])
    seen = [band.cpu().numpy() for band in bands[ORIENTATIONS : 3 * ORIENTATIONS]]
    rotations = []
    for image in range(len(bands[0])):
        scatter = np.zeros((3, 3))
        for band in seen:
            _add_scatter(band[image], scatter)
        scatter += np.triu(scatter, 1).T
        rotations.append(_onto_principal_axes(scatter))
    return rotations


def rotate_colours(
    bands: Sequence[torch.Tensor],
    rotations: Sequence[ColourRotation],
    finest: int = 1,
    *,
    inverse: bool = False,
) -> list[torch.Tensor]:
    """Rotate the colours of bands, float [N, 3, ...], the first of which are of level `finest`.

    `inverse` goes from rotated colours to opponent ones.
    """
    import torch

    if not any(any(rotation) for rotation in rotations):
        return list(bands)
    fixed = ORIENTATIONS * max(0, FINEST_ROTATED - finest)
    matrices = np.stack([rotation.matrix() for rotation in rotations])
    mixing = torch.from_numpy(matrices.swapaxes(1, 2).copy() if inverse else matrices).to(bands[0])
    return [*bands[:fixed], *(_mixed(band, mixing) for band in bands[fixed:])]


def _mixed(band: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Multiply the colours of each picture of [N, 3, H, W] by its own matrix."""
    import torch

    if runs_compiled(band):
        mixed = torch.empty(band.shape)
        for one, matrix, target in zip(band, matrices, mixed, strict=True):
            mix_colours(one.numpy(), matrix.numpy(), target.numpy())
        return mixed
    rows = []
    for component in range(3):
        factors = matrices[:, component, :, None, None]
        a, b, c = (factors[:, i] * band[:, i] for i in range(3))
        rows.append(a + b + c)
    return torch.stack(rows, 1)


def _onto_principal_axes(scatter: np.ndarray) -> ColourRotation:
    """Return the rotation onto the principal axes, ordered and signed for the least rotation."""
    axes = np.linalg.eigh(scatter)[1].T
    along = np.abs(axes).tolist()
    order = max(_ORDERS, key=lambda o: along[o[0]][0] + along[o[1]][1] + along[o[2]][2])
    axes = axes[list(order)]
    axes *= np.copysign(1.0, np.diag(axes))[:, None]
    if np.linalg.det(axes) < 0:
        return NO_ROTATION
    rotation = ColourRotation.nearest(axes)
    matrix = rotation.matrix()
    least = 1e-6 * np.trace(scatter) + 1e-12
    before, after = np.diag(scatter) + least, np.diag(matrix @ scatter @ matrix.T) + least
    gain = 0.5 * np.log2(before / after).sum()
    return rotation if gain >= LEAST_GAIN else NO_ROTATION


@kernel()
def _add_scatter(band, scatter):
    """Add the weighted products of components of float32 [3, h, w] to the upper half of [3, 3]."""
    aa = ab = ac = bb = bc = cc = 0.0
    for y in range(band.shape[1]):
        for x in range(band.shape[2]):
            a = np.float64(band[0, y, x])
            b = np.float64(band[1, y, x])
            c = np.float64(band[2, y, x])
            weight = 1 / (abs(a) + abs(b) + abs(c) + _EVEN)
            aa += a * a * weight
            ab += a * b * weight
            ac += a * c * weight
            bb += b * b * weight
            bc += b * c * weight
            cc += c * c * weight
    scatter[0, 0] += aa
    scatter[1, 1] += bb
    scatter[2, 2] += cc
    scatter[0, 1] += ab
    scatter[0, 2] += ac
    scatter[1, 2] += bc
