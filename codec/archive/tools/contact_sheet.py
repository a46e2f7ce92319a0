"""Contact sheet of one picture at each number of layers, with class maps and details below."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from underpaint.codec.archive.tools.view import StateView
from underpaint.codec.transform.subbands import BLOCK

PANEL_WIDTH = 300
"""In pixels; a picture is scaled to this width."""

_CAPTION, _GAP = 26, 6
_MAPS = 2
"""Number of states whose class map is shown: those of the palette chain."""


def contact_sheet(states: Sequence[StateView], title: str = "") -> Image.Image:
    """Draw the picture at each number of layers, with class maps and details below."""
    height, width = states[0].pixels.shape[:2]
    size = (PANEL_WIDTH, max(1, round(PANEL_WIDTH * height / width)))
    columns = len(states)
    rows = 2
    sheet = Image.new(
        "RGB",
        (columns * (size[0] + _GAP) - _GAP, rows * (size[1] + _CAPTION) + _CAPTION),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    draw.text((2, 4), title, "black", font)
    for column, state in enumerate(states):
        left = column * (size[0] + _GAP)
        picture = Image.fromarray(state.pixels).resize(size, Image.Resampling.LANCZOS)
        sheet.paste(picture, (left, _CAPTION))
        span = "layer 1" if column == 0 else f"layers 1 to {column + 1}"
        text = f"{span}: {state.bpp:.3f} bpp"
        draw.text((left + 2, _CAPTION + size[1] + 3), text, "black", font)
        if column < _MAPS:
            below = 2 * _CAPTION + size[1]
            sheet.paste(_map_picture(state, size), (left, below))
            text = f"its palette: {len(state.palette)} classes"
            draw.text((left + 2, below + size[1] + 3), text, "black", font)
    for column, state in enumerate(states[_MAPS:], _MAPS):
        left, below = column * (size[0] + _GAP), 2 * _CAPTION + size[1]
        sheet.paste(_detail(state, size), (left, below))
        draw.text((left + 2, below + size[1] + 3), "its middle, enlarged", "black", font)
    return sheet


def _map_picture(state: StateView, size: tuple[int, int]) -> Image.Image:
    """Paint each position in the mean colour of its class in this picture.

    A position has `BLOCK` pixels on a side in the full picture and fewer in a smaller one. The last
    row and column may lie partly outside of the picture.
    """
    rows, columns = state.class_map.shape
    height, width = state.pixels.shape[:2]
    shrink = 0
    while -(-(height << shrink) // BLOCK) < rows or -(-(width << shrink) // BLOCK) < columns:
        shrink += 1
    inside = min((width << shrink) / BLOCK, columns), min((height << shrink) / BLOCK, rows)
    painted = Image.fromarray(state.coloured_map())
    return painted.resize(size, Image.Resampling.NEAREST, box=(0, 0, *inside))


def _detail(state: StateView, size: tuple[int, int]) -> Image.Image:
    """Enlarge the middle of the picture to the size of its panel; white if it has no middle."""
    height, width = state.pixels.shape[:2]
    middle = state.pixels[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8]
    if not middle.size:
        return Image.new("RGB", size, "white")
    return Image.fromarray(middle).resize(size, Image.Resampling.BICUBIC)
