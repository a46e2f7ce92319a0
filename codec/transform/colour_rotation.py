"""Colours that turn with the picture: three angles bring its main colours onto the fixed axes.

The opponent colours of `wavelet` lie close to the principal axes of photos at large. Those of one
photo may lie elsewhere: a sunset is bright where it is red. Turned onto its own axes, its second
and third components have less to tell. Only levels 2 to 6 and the low band turn: most files hold
chroma at half the size, and so the finest details of most photos are grey.

A turn is three angles in units of pi / 256, each -128 to 127: of components 1 and 2, then of 0 and
1, then of 0 and 2, where a positive angle takes the second axis towards the first. It is a
rotation, so squared error in turned colours is squared error in RGB.

Source: the Karhunen-Loève transform of colours, of one picture at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from underpaint.codec.runtime.jit import kernel
from underpaint.codec.transform.lifting import mix_colours
from underpaint.codec.transform.wavelet import ORIENTATIONS, in_loops

Turn = tuple[int, int, int]

NO_TURN: Turn = (0, 0, 0)

ANGLE_BITS = 8
"""Plain bits of an angle, which is written from -128 on."""

TURNED_PROFILES = frozenset({"fidelity"})
"""What weights are made for whose encoder turns colours. It is fewer bits at equal error, but a
segmenter needed a third more for the same score, probably because hues that are rare in a picture
then lie between its axes, where coarse states lose them (see `codec/profiles/README.md`)."""

FIRST_TURNED = 2
"""The finest level that turns."""

LEAST_GAIN = 0.05
"""Bits of each position that a turn must promise, or there is none."""

_UNIT = math.pi / 256
_ORDERS = tuple(itertools.permutations(range(3)))

_EVEN = np.float64(20)
"""Magnitude in pixel units above which all coefficients count alike, not by their square."""


def matrix_of(turn: Turn) -> np.ndarray:
    """Return what takes opponent colours to turned ones, float64 [3, 3]; its transpose is back."""
    a, b, c = (angle * _UNIT for angle in turn)
    sin_a, sin_b, sin_c = math.sin(a), math.sin(b), math.sin(c)
    cos_a, cos_b, cos_c = math.cos(a), math.cos(b), math.cos(c)
    light = (cos_b, sin_b * cos_a, sin_b * sin_a)  # turned by the first two angles
    other = (0.0, -sin_a, cos_a)
    return np.array([
        [cos_c * x + sin_c * y for x, y in zip(light, other, strict=True)],
        [-sin_b, cos_b * cos_a, cos_b * sin_a],
        [cos_c * y - sin_c * x for x, y in zip(light, other, strict=True)],
    ])  # fmt: skip


def matrix_back(turn: Turn) -> np.ndarray:
    """Return what takes turned colours to opponent ones, float32 [3, 3]."""
    return matrix_of(turn).T.astype(np.float32, order="C")


def turn_of(matrix: np.ndarray) -> Turn:
    """Return the turn whose matrix is next to a rotation [3, 3] with a positive diagonal."""
    angles = (
        math.atan2(matrix[1, 2], matrix[1, 1]),
        -math.asin(max(-1.0, min(1.0, matrix[1, 0]))),
        math.atan2(-matrix[2, 0], matrix[0, 0]),
    )
    first, second, third = (max(-128, min(127, round(angle / _UNIT))) for angle in angles)
    return first, second, third


def find_turns(bands: Sequence[torch.Tensor], profile: str) -> list[Turn]:
    """Return the turn that suits each picture, from bands float32 [N, 3, ...] in opponent colours.

    It is that of the principal axes of what levels 2 and 3 hold, or none where it would gain next
    to nothing, or where a profile has none. It does not depend on the other pictures of the batch.
    """
    if profile not in TURNED_PROFILES:
        return [NO_TURN] * len(bands[0])
    seen = [band.cpu().numpy() for band in bands[ORIENTATIONS : 3 * ORIENTATIONS]]
    turns = []
    for image in range(len(bands[0])):
        scatter = np.zeros((3, 3))
        for band in seen:
            _add_scatter(band[image], scatter)
        scatter += np.triu(scatter, 1).T
        turns.append(_turn_onto_axes(scatter))
    return turns


def turned(
    bands: Sequence[torch.Tensor], turns: Sequence[Turn], finest: int = 1, *, back: bool = False
) -> list[torch.Tensor]:
    """Turn the bands of a batch, float [N, 3, ...], of which the first are of level `finest`.

    With `back`, from turned colours to opponent ones.
    """
    if not any(any(turn) for turn in turns):
        return list(bands)
    fixed = ORIENTATIONS * max(0, FIRST_TURNED - finest)
    matrices = np.stack([matrix_of(turn) for turn in turns])
    mixing = torch.from_numpy(matrices.swapaxes(1, 2).copy() if back else matrices).to(bands[0])
    return [*bands[:fixed], *(_mixed(band, mixing) for band in bands[fixed:])]


def _mixed(band: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Multiply the colours of each picture of [N, 3, H, W] by its own matrix."""
    if in_loops(band):
        mixed = torch.empty(band.shape)
        for one, matrix, target in zip(band, matrices, mixed, strict=True):
            mix_colours(one[None].numpy(), matrix.numpy(), target[None].numpy())
        return mixed
    rows = []
    for component in range(3):
        factors = matrices[:, component, :, None, None]
        a, b, c = (factors[:, i] * band[:, i] for i in range(3))
        rows.append(a + b + c)
    return torch.stack(rows, 1)


def _turn_onto_axes(scatter: np.ndarray) -> Turn:
    """Return the turn onto the principal axes, in the order and with the signs that turn least."""
    axes = np.linalg.eigh(scatter)[1].T
    along = np.abs(axes).tolist()
    order = max(_ORDERS, key=lambda o: along[o[0]][0] + along[o[1]][1] + along[o[2]][2])
    axes = axes[list(order)]
    axes *= np.copysign(1.0, np.diag(axes))[:, None]
    if np.linalg.det(axes) < 0:
        return NO_TURN
    turn = turn_of(axes)
    matrix = matrix_of(turn)
    least = 1e-6 * np.trace(scatter) + 1e-12
    before, after = np.diag(scatter) + least, np.diag(matrix @ scatter @ matrix.T) + least
    gain = 0.5 * np.log2(before / after).sum()
    return turn if gain >= LEAST_GAIN else NO_TURN


@kernel()
def _add_scatter(band, scatter):
    """Add the products of the components of float32 [3, h, w], evened, to half of [3, 3]."""
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


@kernel()
def mix_in_place(planes, matrix):
    """Write `matrix`, float32 [3, 3], times the colours of [3, h, w] over them."""
    for y in range(planes.shape[1]):
        for x in range(planes.shape[2]):
            a, b, c = planes[0, y, x], planes[1, y, x], planes[2, y, x]
            for component in range(3):
                planes[component, y, x] = (
                    matrix[component, 0] * a + matrix[component, 1] * b + matrix[component, 2] * c
                )
