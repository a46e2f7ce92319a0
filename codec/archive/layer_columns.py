"""The columns that hold layers, one for each layer and size.

    layer_0_256 │ layer_1_256 │ … │ layer_0_512 │ layer_1_512 │ … │ layer_0 │ layer_1 │ …
    └──── picture of 256 pixels ────┘ └── what 512 needs more ──┘ └─ what the full one does ─┘

Columns are increments: a picture of a size needs the columns up to that size. A cell is null where
a picture gains nothing: small pictures, and layers that were not cut, are whole in the first
columns. An archive without named sizes has one column a layer, `layer_0` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from underpaint.codec.bitstream import Frame, frames
from underpaint.codec.errors import RowInvalid, StreamError, UsageError
from underpaint.codec.transform.sizes import cut_levels

FULL = 0
"""Stands for the full size in a list of sizes."""

_NAME = re.compile(r"layer_(\d{1,3})(?:_(\d{1,6}))?")

_NAMES_KEPT = 1024
"""Names whose meaning is kept: reading a single picture asks for it ten times a column."""


def layer_column(layer: int, size: int = FULL) -> str:
    """Return the name of a column; layer 0 is the coarsest, `size` a short side in pixels."""
    return f"layer_{layer}_{size}" if size else f"layer_{layer}"


@lru_cache(_NAMES_KEPT)
def is_layer(name: str) -> bool:
    """Return whether a column holds a part of a layer."""
    return _NAME.fullmatch(name) is not None


def columns_for(layers: int, sizes: Sequence[int]) -> list[str]:
    """Return the columns of the coarsest layers for some sizes, in the order of a data file."""
    return [layer_column(layer, size) for size in sizes for layer in range(layers)]


def sizes_in(names: Sequence[str]) -> tuple[int, ...]:
    """Return the sizes that columns are for, in increasing order, the full size last."""
    found = {_parsed(name)[1] for name in names if is_layer(name)}
    return tuple(sorted(found, key=_order))


def by_layer(names: Sequence[str]) -> list[list[str]]:
    """Return the columns of each layer among some columns, smallest size first."""
    layers: dict[int, dict[int, str]] = {}
    for name in filter(is_layer, names):
        layer, size = _parsed(name)
        layers.setdefault(layer, {})[size] = name
    return [
        [of_size[size] for size in sorted(of_size, key=_order)]
        for _, of_size in sorted(layers.items())
    ]


def sizes_for(stored: Sequence[int], size: int | None) -> tuple[int, ...]:
    """Return those of an archive's sizes whose columns a picture needs.

    `size` is the wanted short side in pixels, None the largest that the archive has. Raises
    UsageError if the archive has no size as large.
    """
    if size is None:
        return tuple(stored)
    needed: list[int] = []
    for one in stored:
        needed.append(one)
        if one == FULL or one >= size:
            return tuple(needed)
    raise UsageError(f"size: {size}; the archive has pictures up to size {stored[-1]}")


def _order(size: int) -> tuple[bool, int]:
    """Return the sort key of a size: increasing, the full size last."""
    return size == FULL, size


@lru_cache(_NAMES_KEPT)
def _parsed(name: str) -> tuple[int, int]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name}: not a column of a layer")
    return int(found[1]), int(found[2] or FULL)


def split_layers(
    layers: Sequence[bytes], sides: tuple[int, int], count: int, sizes: Sequence[int]
) -> list[bytes | None]:
    """Return the value of each column of a row, in the order of a data file.

    Args:
        layers: layers of a picture, coarsest first, cut for these sizes.
        sides: height and width of the picture in pixels.
        count: number of layers of the archive.
        sizes: its sizes.

    Raises RowInvalid if the layers were cut for other sizes.
    """
    if tuple(sizes) == (FULL,):
        return [*layers, *[None] * (count - len(layers))]
    cells = _cells(layers, sides, sizes)
    return [cells.get((layer, size)) for size in range(len(sizes)) for layer in range(count)]


def _cells(
    layers: Sequence[bytes], sides: tuple[int, int], sizes: Sequence[int]
) -> dict[tuple[int, int], bytes]:
    named = [size for size in sizes if size != FULL]
    cells = {}
    try:
        for frame in frames(layers):
            _check_cuts(frame, sides, named)
            if frame.size >= len(sizes):
                raise RowInvalid(f"a part of size {frame.size + 1} for {len(sizes)} sizes")
            cells[frame.layer, frame.size] = frame.tobytes()
    except StreamError as error:
        raise RowInvalid(str(error)) from error
    return cells


def _check_cuts(frame: Frame, sides: tuple[int, int], named: Sequence[int]) -> None:
    if frame.picture is None:
        return
    expected = cut_levels(*sides, named)[: len(named)]
    if frame.picture.cuts[: len(named)] != expected:
        raise RowInvalid(f"its layers were cut for other sizes than {', '.join(map(str, named))}")
