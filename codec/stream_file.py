"""A stream as one file (`.underpaint`): all parts in order, cut anywhere.

The file of a whole picture is its layers joined. A file that was cut, or that was exported for a
smaller size, still holds a picture: the largest for which all layers are complete, or all but the
last, which is then left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from underpaint.codec.bitstream import (
    PictureHeader,
    complete_layers,
    frames,
    picture_header,
)
from underpaint.codec.counts import plural
from underpaint.codec.errors import LayerDamaged
from underpaint.codec.transform.levels import DYADIC_LEVELS
from underpaint.codec.transform.sizes import shrunk_sides

CUT = "S1"
"""The rule of the specification that a part breaks whose end is missing."""


@dataclass(frozen=True)
class StreamFile:
    """The whole parts of a file; checksums are compared when they are decoded.

    layers      the parts of each layer joined, coarsest first; finer parts may be missing
    picture     the header: sides of the full picture and id of the weights
    cut         whether the file ends within a part
    """

    layers: tuple[bytes, ...]
    picture: PictureHeader
    cut: bool

    @property
    def shrink_level(self) -> int:
        """Number of finest levels that the largest picture of this file does without, 0 to 4."""
        levels = range(DYADIC_LEVELS + 1)
        enough = max(1, len(self.layers) - 1)
        return next(level for level in levels if complete_layers(self.layers, level) >= enough)

    def sides(self, shrink_level: int) -> tuple[int, int]:
        """Return height and width in pixels of the picture at a shrink level."""
        return shrunk_sides(self.picture.height, self.picture.width, shrink_level)

    def prefix(self, shrink_level: int, most: int | None = None) -> Sequence[bytes]:
        """Return the layers, at most `most`, that are complete for a shrink level."""
        return self.layers[: complete_layers(self.layers, shrink_level)][:most]


def read_stream_file(data: bytes) -> StreamFile:
    """Return the whole parts at the beginning of a file.

    Raises UnknownVersion, and LayerDamaged if not even the first part is whole, or if a later part
    is malformed. A later part whose end is missing is left out.
    """
    layers: list[list[bytes]] = []
    cut, whole, rest = False, False, len(data)
    try:
        for frame in frames([data]):
            if frame.size == 0:
                layers.append([])
            layers[-1].append(frame.tobytes())
            whole, rest = frame.last, rest - frame.nbytes
    except LayerDamaged as error:
        if error.rule != CUT and whole:
            behind = f"{plural(rest, 'byte')} after the last whole part"
            raise LayerDamaged(error.layer, error.rule, f"{behind}: {error.reason}") from None
        if error.rule != CUT or not layers:
            raise
        cut = True
    joined = tuple(b"".join(parts) for parts in layers)
    return StreamFile(joined, picture_header(joined), cut)
