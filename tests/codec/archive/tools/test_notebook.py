"""What a notebook shows of archives, rows and states."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.helpers.galleries import HOSTILE, make_gallery
from underpaint import Archive, ArchiveWriter, Codec
from underpaint.codec.archive import Row, publish
from underpaint.codec.archive.tools.notebook import SHEET_PICTURES
from underpaint.codec.bitstream import frames

pytestmark = pytest.mark.slow


class Tags(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


HARMLESS = {"div", "p", "b", "img", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive.open(make_gallery(tmp_path_factory.mktemp("notebook") / "archive", 80))


def test_an_archive_is_a_contact_sheet_and_a_table(archive: Archive) -> None:
    before = archive.traffic.fetched
    html = archive._repr_html_()
    page = Tags(html)
    assert page.tags == HARMLESS
    assert page.attributes == {"alt", "src"}
    assert html.count("data:image/png") == 1
    assert "80 pictures" in page.text
    total = sum(archive.statistics().layer_bytes)
    assert f"{total:,}" in page.text
    assert archive.traffic.fetched - before < total
    assert SHEET_PICTURES <= 80


def test_a_row_is_a_picture_and_a_table_and_escaped(archive: Archive) -> None:
    row = next(archive.rows())
    html = row._repr_html_()
    assert html is not None
    page = Tags(html)
    assert page.tags <= HARMLESS
    assert page.attributes == {"alt", "src"}
    assert HOSTILE[0] in page.text
    assert len(page.text) < 5000
    assert f"{sum(map(len, row.layers)):,}" in page.text
    assert Row("key", (), 8, 8)._repr_html_() is None
    assert f"source{row.source_uri}" in page.text.replace("\n", "")
    short = archive[row.key]
    assert short.source_uri == ""  # read without its source: nothing is said about it
    assert "source" not in Tags(short._repr_html_() or "").text


def test_tools_without_html_get_png(archive: Archive) -> None:
    row = next(archive.rows())
    [state] = Codec.load().latents([row.layers[:2]])
    for shown, size in ((archive, (768, 256)), (row, (96, 96)), (state, (252, 252))):
        data = shown._repr_png_()
        assert data is not None
        assert base64.b64encode(data).decode() in (shown._repr_html_() or "")
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.size) == ("PNG", size)
    assert Row("key", (), 8, 8)._repr_png_() is None


def test_a_state_is_its_class_map(archive: Archive) -> None:
    row = next(archive.rows())
    [state] = Codec.load().latents([row.layers[:2]])
    html = state._repr_html_()
    assert re.search(r"class_map.*int64 \[6, 6\]", html)
    assert html.count("data:image/png") == 1


def test_what_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path, "unit", layers=["a"], weights_id="0" * 16) as writer:
        writer.add(Row("key", (bytes(30),), 8, 8))
    publish(tmp_path)
    archive = Archive.open(tmp_path)
    assert "cannot be shown" in archive._repr_html_()
    assert ">1 picture, " in archive._repr_html_()
    assert "1 picture, 1 layer, " in repr(archive)
    assert "cannot be shown" in (next(archive.rows())._repr_html_() or "")
    assert archive._repr_png_() is None
    assert next(archive.rows())._repr_png_() is None
    empty = tmp_path / "empty"
    with ArchiveWriter(empty, "unit", layers=["a"], weights_id="0" * 16):
        pass
    publish(empty)
    assert "0 pictures" in Archive.open(empty)._repr_html_()
    assert Archive.open(empty)._repr_png_() is None


def test_large_pictures_are_shown_small() -> None:
    pixels = np.zeros((1400, 1200, 3), np.uint8)
    [layers] = Codec.load().encode([pixels], layers=1)
    html = Row("large", layers, 1200, 1400)._repr_html_()
    assert html is not None
    assert len(html) < 100_000


def test_a_row_of_a_small_size_is_shown_at_that_size() -> None:
    [layers] = Codec.load().encode([data.coffee()], sizes=(64, 128))
    small = tuple(part.tobytes() for part in frames(layers[:4]) if part.size == 0)
    row = Row("small", small, 600, 400)
    png = row._repr_png_()
    assert png is not None
    assert Image.open(io.BytesIO(png)).size == (150, 100)
    assert "cannot be shown" not in (row._repr_html_() or "")
