"""A sample of an archive as a page with picture files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from tests.helpers.galleries import HOSTILE, make_gallery
from tests.helpers.pictures import underpaint
from tests.helpers.static_servers import static_server
from underpaint import Archive, Codec
from underpaint.codec.foreign_text import escaped
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
        (("--output", "S", "--archive-url", "../a"), "--archive-url: no effect without --html"),
        (("--html", "S", "--archive-url", "gs://b/a"), "storage.googleapis.com/BUCKET"),
        (("--html", "S", "--archive-url", "s3://b/a"), "amazonaws.com/ARCHIVE"),
        (("--html", "S", "--archive-url", "ftp://host/a"), "want https://HOST/ARCHIVE"),
        (("--html", "S", "--archive-url", "https:///a"), "want https://HOST/ARCHIVE"),
        (("--html", "S", "--archive-url", "https://h;script-src *"), "is no host"),
        (("--html", "S", "--archive-url", "https://*/a"), "is no host"),
        (("--html", "S", "--archive-url", "https://u:p@host/a"), "has a user name or a query"),
        (("--html", "S", "--archive-url", "https://host/a?token=1"), "has a user name or a query"),
    ],
)
def test_mistakes(
    root: Path, tmp_path: Path, options: tuple[str, ...], message: str, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert underpaint("export", root, *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# with the address of the archive

SIDE = 600


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive, and beside it a sheet of its pictures."""
    folder = tmp_path_factory.mktemp("bucket")
    make_gallery(folder / "archive", 12, side=SIDE)
    sheet = "export", folder / "archive", "--html", folder / "sheet", "--layers", 2
    assert underpaint(*sheet, "--archive-url", "../archive") == 0
    return folder


class Opened:
    """A contact sheet in the browser; notes the ranges that it asks the archive for."""

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_page()
        self.page.set_default_timeout(60_000)
        self.ranges: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._said)
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]")

    def _asked(self, request: Any) -> None:
        if "/archive/" in request.url:
            self.ranges.append(request.headers["range"].removeprefix("bytes="))

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def choose(self, layers: int, place: int) -> np.ndarray:
        """The picture at a state, uint8 [H, W, 3], once it is decoded."""
        self.page.get_by_label("Size").fill(str(place))
        self.page.get_by_label("Layers").fill(str(layers))
        side = [300, SIDE, SIDE][place]
        self.page.wait_for_function(
            """([layers, side]) => {
                const canvas = document.getElementById("drawn");
                return canvas.dataset.layers == layers && canvas.width === side
                    && canvas.checkVisibility()
                    && document.getElementById("stage").ariaBusy === "false"
                    && !document.getElementById("status").textContent.includes("refining");
            }""",
            arg=[layers, side],
        )
        address = self.page.evaluate("document.getElementById('drawn').toDataURL('image/png')")
        data = io.BytesIO(base64.b64decode(address.partition(",")[2]))
        return np.asarray(Image.open(data).convert("RGB"))


def test_a_static_page_decodes_the_layers_of_its_archive(browser: Any, beside: Path) -> None:
    archive = Archive.open(beside / "archive")
    row = list(archive.rows())[4]
    codec = Codec.load()
    with static_server(beside) as address, Opened(browser, f"{address}/sheet/") as sheet:
        assert sheet.ranges == []
        sheet.page.locator("#pictures a").nth(4).click()
        coarse = sheet.choose(2, 2)
        [expected] = codec.decode([row.layers[:2]], refine=False)
        assert np.abs(coarse.astype(int) - expected).max() <= 4

        # the bytes of layers 1 and 2, and the four bytes in front of each of their parts
        place = archive.place(row.key)
        ranges = archive.data.layer_ranges(place.file, place.group, place.row)
        parts = [of_size[:2] for of_size in ranges]
        assert set(sheet.ranges) == {f"{a - 4}-{b - 1}" for p in parts for a, b in filter(None, p)}
        assert len(sheet.ranges) == len(set(sheet.ranges))
        asked = sum(int(b) - int(a) + 1 for a, b in (one.split("-") for one in sheet.ranges))
        assert asked == sum(map(len, row.layers[:2])) + 4 * len(sheet.ranges)

        small = sheet.choose(2, 0)
        [expected] = codec.decode([archive.get(row.key, 2, size=256).layers], size=256)
        assert np.abs(small.astype(int) - expected).max() <= 4
        assert asked == sum(int(b) - int(a) + 1 for a, b in (x.split("-") for x in sheet.ranges))
        full = sheet.choose(6, 2)
        [expected] = codec.decode([row.layers], refine=False)
        assert np.abs(full.astype(int) - expected).max() <= 4
        assert "decoded plainly" in sheet.page.inner_text("#status")
        first = sheet.page.inner_text("#picture-key")
        sheet.page.keyboard.press("Escape")
        assert not sheet.page.locator("#picture").is_visible()
        assert sheet.page.evaluate("document.activeElement.href").endswith("pictures/00005.jpg")
        assert first == escaped(row.key)
        assert sheet.errors == []


def test_an_archive_on_another_server_is_read_if_it_allows_pages(
    browser: Any, beside: Path, tmp_path: Path
) -> None:
    for cors in (True, False):
        with static_server(beside, cors=cors) as bucket:
            folder = tmp_path / f"sheet-{cors}"
            address = f"{bucket}/archive/"
            pictures = "--pictures", 3, "--archive-url", address
            assert underpaint("export", beside / "archive", "--html", folder, *pictures) == 0
            with static_server(folder) as page, Opened(browser, f"{page}/") as sheet:
                sheet.page.locator("#pictures a").first.click()
                if cors:
                    assert sheet.choose(3, 0).any()
                else:
                    sheet.page.wait_for_selector("#message >> text=does not allow this page (CORS)")
                    assert sheet.page.locator("#file").is_visible()  # the JPEG file stays


def answering(status: int, body: bytes) -> Callable[[Any], None]:
    """A route of the browser that answers itself."""
    return lambda route: route.fulfill(status=status, body=body)


def test_servers_without_ranges_and_damage_are_named(
    browser: Any, beside: Path, tmp_path: Path
) -> None:
    with static_server(beside) as address, Opened(browser, f"{address}/sheet/") as sheet:
        for status, body, message in [
            (200, b"the whole file", "sends whole files where a byte range is requested"),
            (404, b"", "answers with status 404"),
            (206, b"abc", "the archive sent 3 of"),
        ]:
            sheet.page.route("**/archive/**", answering(status, body))
            sheet.page.locator("#pictures a").nth(2).click()
            sheet.page.wait_for_selector(f"#message >> text={message}")
            assert sheet.page.locator("#message").evaluate("it => it.closest('dialog') !== null")
            assert "picture of the page" in sheet.page.inner_text("#status")
            assert sheet.page.is_visible("#file")
            sheet.page.keyboard.press("Escape")


def test_a_page_without_scripts_shows_its_files(browser: Any, beside: Path) -> None:
    page = Page((beside / "sheet" / "index.html").read_text("utf-8"))
    assert "pictures/00001.jpg" in page.addresses
    context = browser.new_context(java_script_enabled=False)
    with static_server(beside) as address:
        opened = context.new_page()
        opened.goto(f"{address}/sheet/")
        opened.locator("#pictures a").first.click()
        opened.wait_for_url("**/pictures/00001.jpg")
    context.close()


@pytest.mark.parametrize(
    ("store", "told"), [("gs_folder", "contentType"), ("s3_folder", "ContentType")]
)
def test_a_bucket_knows_what_the_files_are(
    beside: Path, store: str, told: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(store)
    pictures = "--pictures", 2, "--archive-url", "../archive"
    assert underpaint("export", beside / "archive", "--html", folder, *pictures) == 0
    files, _ = fsspec.core.url_to_fs(folder)
    for name, media_type in [
        ("index.html", "text/html"),
        ("sheet.js", "text/javascript"),
        ("decoder/worker.js", "text/javascript"),
        ("picture.css", "text/css"),
        ("sheet.json", "application/json"),
        ("pictures/00001.jpg", "image/jpeg"),
    ]:
        assert files.info(f"{folder}/{name}")[told].partition(";")[0] == media_type
    assert not files.exists(f"{folder}/gallery.js")
