"""A sample of an archive as a page with picture files."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.galleries import HOSTILE, make_gallery
from tests.helpers.pictures import underpaint
from underpaint import Archive, Codec
from underpaint.codec.metrics import psnr

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Collects tags, addresses and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gallery(tmp_path_factory.mktemp("sheet") / "archive", 70)


def test_a_page_of_a_sample(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "sheet"
    assert underpaint("export", root, "--html", folder, "--pictures", 30, "--layers", 4) == 0
    assert "30 pictures in 31 files" in capsys.readouterr().out
    page = Page((folder / "index.html").read_text("utf-8"))
    files = sorted(path.relative_to(folder).as_posix() for path in folder.glob("pictures/*"))
    assert sorted(set(page.addresses)) == files
    assert len(files) == 30
    assert not page.tags & {"script", "iframe", "link", "object"}
    assert HOSTILE[0] in page.text
    assert "30 of 70 pictures, decoded from layers 1 to 4" in page.text
    assert "decode: PictureDamaged" in page.text
    first = next(Archive.open(root).rows(4))
    [expected] = Codec.load().decode([first.layers])
    assert psnr(np.asarray(Image.open(folder / files[0])), expected) > 30


def test_all_pictures_if_there_are_few(root: Path, tmp_path: Path) -> None:
    assert underpaint("export", root, "--html", tmp_path / "all", "--size", 48) == 0
    assert len(list((tmp_path / "all" / "pictures").iterdir())) == 70
    assert Image.open(tmp_path / "all/pictures/00001.jpg").size == (48, 48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--html", "S", "--format", "png"), "--format: no effect with --html"),
        (("--html", "S", "--as", "folder"), "--as: no effect with --html"),
        (("--html", "S", "--original"), "--original: no effect with --html"),
        (("--output", "S", "--pictures", "3"), "--pictures: no effect without --html"),
        (("--html", "S", "--output", "T"), "not allowed with argument"),
        ((), "one of the arguments --output --html is required"),
        (("--html", "S", "--layers", "9"), "layers: 9"),
    ],
)
def test_mistakes(
    root: Path, tmp_path: Path, options: tuple[str, ...], message: str, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert underpaint("export", root, *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
