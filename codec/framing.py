"""Framing of one picture: the parts that each layer is cut into, and their bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from underpaint.codec.bitstream import MOST_SIZES, PictureHeader, check_of, pack_part
from underpaint.codec.entropy.rans import pack_intervals
from underpaint.codec.transform.sizes import cut_levels

MOST_CUT_COST = 0.01
"""Most of a stream's bytes, up to any layer, that go into cutting it for sizes."""

PART_COST = 17
"""Bytes that a further part is taken to cost: its frame, the coder's state, rounding to words.

On average it costs 13."""


class Framing:
    """Turns the coded symbols of a picture into layers, coarsest first.

    A layer is cut at every size where the picture gains levels, unless that would take more than
    `MOST_CUT_COST` of the stream so far; then its finest parts are joined. So small pictures, and
    coarse layers, which hold little beyond the smallest size, come in one part.
    """

    def __init__(self, height: int, width: int, weights_id: str, sizes: Sequence[int]) -> None:
        """Take the sides of a picture and the sizes to cut for, short sides in pixels."""
        cuts = cut_levels(height, width, sizes)
        self._sizes = [size for size, cut in enumerate(cuts) if size == 0 or cut < cuts[size - 1]]
        self.finest_levels = [cuts[size] + 1 for size in self._sizes]
        """Finest wavelet level of each part of a layer that is cut everywhere."""
        padded = (*cuts, *[0] * MOST_SIZES)[:MOST_SIZES]
        self._header: PictureHeader | None = PictureHeader(height, width, weights_id, padded)
        self._checks: dict[int, int] = {}
        self._layer = self._bytes = self._cuts = 0

    def layer(self, intervals: Sequence[np.ndarray]) -> bytes:
        """Return the next layer: its parts one after the other.

        `intervals` are those of each part of a layer that is cut everywhere.
        """
        payloads = [pack_intervals(part) for part in intervals]
        count = len(payloads)
        while count > 1 and not self._affords(count - 1, sum(map(len, payloads))):
            count -= 1
            joined = np.concatenate(intervals[count - 1 :])
            payloads = [*payloads[: count - 1], pack_intervals(joined)]
        chunk = self._framed(payloads)
        self._cuts += count - 1
        self._bytes += len(chunk)
        self._layer += 1
        return chunk

    def _affords(self, cuts: int, payload: int) -> bool:
        return (self._cuts + cuts) * PART_COST <= MOST_CUT_COST * (self._bytes + payload)

    def _framed(self, payloads: Sequence[bytes]) -> bytes:
        parts, checks = [], {}
        check = 0
        for place, payload in enumerate(payloads):
            size, last = self._sizes[place], place + 1 == len(payloads)
            before = check_of(self._checks, size), check
            part, check = pack_part(self._layer, size, last, payload, before, self._header)
            checks[size] = check
            parts.append(part)
            self._header = None
        self._checks = checks
        return b"".join(parts)
