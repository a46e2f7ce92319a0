"""Contact sheet of one image: its decoded states in a row, with class maps below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from underpaint.codec.archive.tools.view import StateView
from underpaint.codec.transform.subbands import BLOCK

PANEL_WIDTH = 300
"""In pixels; an image is scaled to this width."""

_CAPTION, _GAP = 26, 6
_MAPS = 2
"""Number of states whose class map is shown: those of the palette chain."""


def contact_sheet(states: Sequence[StateView], title: str = "") -> Image.Image:
    """Draw the states side by side with their bits per pixel, and the first class maps below."""
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
        text = f"state {column + 1}: {state.bpp:.3f} bpp"
        draw.text((left + 2, _CAPTION + size[1] + 3), text, "black", font)
        if column < _MAPS:
            below = 2 * _CAPTION + size[1]
            sheet.paste(_map_picture(state, width, height).resize(size, 0), (left, below))
            text = f"its palette: {len(state.palette)} classes"
            draw.text((left + 2, below + size[1] + 3), text, "black", font)
    detail = _detail(states, size)
    sheet.paste(detail, (_MAPS * (size[0] + _GAP), 2 * _CAPTION + size[1]))
    text = f"detail of states {_MAPS + 1} to {columns}, enlarged"
    place = (_MAPS * (size[0] + _GAP) + 2, 2 * _CAPTION + 2 * size[1] + 3)
    draw.text(place, text, "black", font)
    return sheet


def _map_picture(state: StateView, width: int, height: int) -> Image.Image:
    """Paint each position in the mean colour of its class in this image."""
    colours = np.zeros((int(state.class_map.max()) + 1, 3), np.uint8)
    for entry in state.palette:
        colours[entry.index] = entry.colour
    painted = colours[state.class_map].repeat(BLOCK, 0).repeat(BLOCK, 1)
    return Image.fromarray(painted[:height, :width])


def _detail(states: Sequence[StateView], size: tuple[int, int]) -> Image.Image:
    """Enlarge the middle of the finer states to the width of their panels."""
    finer = states[_MAPS:]
    row = Image.new("RGB", (len(finer) * (size[0] + _GAP) - _GAP, size[1]), "white")
    for column, state in enumerate(finer):
        height, width = state.pixels.shape[:2]
        middle = state.pixels[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8]
        if middle.size:
            enlarged = Image.fromarray(middle).resize(size, Image.Resampling.BICUBIC)
            row.paste(enlarged, (column * (size[0] + _GAP), 0))
    return row
