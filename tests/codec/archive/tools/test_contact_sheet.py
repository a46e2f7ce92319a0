"""The contact sheet of a picture: panels, class maps and details, at any number of layers."""

import numpy as np
import pytest

from underpaint.codec.archive.tools.contact_sheet import PANEL_WIDTH, contact_sheet
from underpaint.codec.archive.tools.view import PaletteEntry, StateView


def state(height: int, width: int, shrink: int) -> StateView:
    """A grey picture whose class map is 0 on the left half of the positions and 1 on the right."""
    rows, columns = -(-height // 16), -(-width // 16)
    class_map = np.zeros((rows, columns), np.int64)
    class_map[:, columns // 2 :] = 1
    red, blue = (200, 0, 0), (0, 0, 200)
    palette = tuple(PaletteEntry(index=i, share=0.5, colour=c) for i, c in enumerate((red, blue)))
    pixels = np.full((-(-height >> shrink), -(-width >> shrink), 3), 128, np.uint8)
    return StateView("state", 10, 10, pixels, class_map, palette)


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_a_sheet_has_one_column_for_each_number_of_layers(layers):
    sheet = contact_sheet([state(64, 96, 0)] * layers, "title")
    assert sheet.width == layers * (PANEL_WIDTH + 6) - 6


@pytest.mark.parametrize("shrink", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(320, 480), (321, 481), (1, 31)])
def test_the_whole_class_map_is_shown_at_every_size(height, width, shrink):
    one = state(height, width, shrink)
    sheet = np.asarray(contact_sheet([one, one]))
    below = 2 * 26 + max(1, round(PANEL_WIDTH * one.pixels.shape[0] / one.pixels.shape[1]))
    line = sheet[below, :PANEL_WIDTH]
    share = (line == (200, 0, 0)).all(1).mean()
    columns = -(-width // 16)
    assert share == pytest.approx(columns // 2 * 16 / width, abs=0.12)
    assert (line == (0, 0, 200)).all(1).mean() == pytest.approx(1 - share)
