"""The folder of a phone and a camera, and a tar of scraped pictures with doubtful names."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from skimage import data

from tests.helpers.pictures import underpaint
from underpaint.codec.archive import Archive


def crop(number: int) -> Image.Image:
    return Image.fromarray(data.astronaut()[number : number + 32, :48])


def saved(number: int, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    crop(number).save(out, format, **options)
    return out.getvalue()


def heic(number: int) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(crop(number)).save(out)
    return out.getvalue()


def raw(number: int, *fields: tuple[int, int, object]) -> bytes:
    """A TIFF file with the fields (tag, type, value) by which a raw photo is known."""
    directory = ImageFileDirectory_v2()
    for tag, kind, value in fields:
        directory.tagtype[tag] = kind
        directory[tag] = value
    return saved(number, "TIFF", tiffinfo=directory)


BYTE, ASCII, LONG = 1, 2, 4
VIDEO = b"\0\0\0\x18ftypqt  " + bytes(200)
SIDECAR = b"<?xml version='1.0'?><x:xmpmeta/>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven pictures, four files that are pictures but cannot be read, and other files."""
    two = [crop(40), crop(50)]
    mpo = io.BytesIO()
    two[0].save(mpo, "MPO", save_all=True, append_images=two[1:])
    files = {
        "2019/IMG_0001.jpg": saved(0, "JPEG"),
        "2020/IMG_0001.jpg": saved(10, "JPEG"),
        "2020/IMG_0002.HEIC": heic(20),
        "2020/IMG_0002.MOV": VIDEO,
        "2020/IMG_0002.AAE": SIDECAR,
        "2020/IMG_0003.JPG": mpo.getvalue(),
        "2020/IMG_0004.HEIC": heic(30),
        "2020/IMG_0004.MOV": VIDEO,
        "2020/scan": saved(60, "PNG"),
        "2020/cut.jpg": saved(70, "JPEG")[:60],
        "card/DSC_1.CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(200),
        "card/DSC_2.DNG": raw(80, (50706, BYTE, bytes((1, 4, 0, 0)))),
        "card/DSC_3.NEF": raw(90, (254, LONG, 1), (330, LONG, 8), (271, ASCII, "NIKON")),
        "card/DSC_3.xmp": SIDECAR,
        "card/clip.mp4": VIDEO,
        "card/.DS_Store": b"\0\0\0\1Bud1",
        "card/._IMG_0001.jpg": b"\0\5\x16\7" + bytes(100),
        "card/Thumbs.db": b"\xd0\xcf\x11\xe0" + bytes(100),
        "card/notes.txt": b"a line of text\n",
    }
    for name, content in files.items():
        path = tmp_path / "phone" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(saved(100, "PNG"))
    (tmp_path / "phone" / "linked").symlink_to("../elsewhere")
    (tmp_path / "phone" / "latest").symlink_to("2020")
    (tmp_path / "phone" / "gone.jpg").symlink_to("nowhere.jpg")
    return tmp_path / "phone"


def test_a_phone_and_a_camera(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    command = ("encode", folder, "--output", archive)
    assert underpaint(*command) == 1
    found = Archive.open(archive)
    assert set(found.keys()) == {
        "2019/IMG_0001.jpg", "2020/IMG_0001.jpg", "2020/IMG_0002.HEIC", "2020/IMG_0003.JPG",
        "2020/IMG_0004.HEIC", "2020/scan", "linked/1.png",
    }  # fmt: skip
    assert {letter.key: letter.error for letter in found.dead_letters()} == {
        "2020/cut.jpg": "PictureDamaged",
        "card/DSC_1.CR2": "UnsupportedFormat",
        "card/DSC_2.DNG": "UnsupportedFormat",
        "card/DSC_3.NEF": "UnsupportedFormat",
    }
    statistics = found.statistics()
    assert statistics.skipped == {
        ".mov": 2, ".aae": 1, ".xmp": 1, ".mp4": 1, ".db": 1, ".txt": 1, "dot file": 1,
        "macOS ._ file": 1, "link to a listed folder": 1, "broken link": 1,
    }  # fmt: skip
    published = (archive / "manifest.json").read_bytes()
    underpaint(*command)
    assert (archive / "manifest.json").read_bytes() == published
    assert underpaint("verify", archive) == 0


SCRAPED = {
    "/etc/1.jpg": "row",
    "../../2.jpg": "row",
    "a/../3.jpg": "row",
    "line\nbreak.jpg": "row",
    "no-suffix": "row",
    "UPPER.JPG": "row",
    "a b/ü?&#.jpg": "row",
    "x" * 230 + "/" + "y" * 230 + "/" + "z" * 700 + ".jpg": "row",
    "\udcff\udcfe.jpg": "row",
    "page.html": "skipped",
    "._1.jpg": "skipped",
}


def test_a_scraped_tar_with_doubtful_names(tmp_path: Path) -> None:
    shard, archive = tmp_path / "scraped.tar", tmp_path / "archive"
    number = 0
    with tarfile.open(shard, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, outcome in [*SCRAPED.items(), ("UPPER.JPG", "row")]:  # the last one again
            content = saved(10 * number, "JPEG") if outcome == "row" else b"<html></html>"
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            number += 1
    assert underpaint("encode", shard, "--output", archive) == 0
    found = Archive.open(archive)
    statistics = found.statistics()
    kinds = Counter(SCRAPED.values())
    assert statistics.images == kinds["row"] + 1
    assert statistics.failed == 0
    assert statistics.skipped == {".html": 1, "macOS ._ file": 1}
    keys = list(found.keys())
    assert len(set(keys)) == len(keys) == statistics.images
    for key in keys:
        assert key.startswith("scraped/")
        assert key.isprintable()
    assert underpaint("verify", archive) == 0
    out = tmp_path / "below" / "out"
    assert underpaint("decode", archive, "--output", out) == 1  # `..` in a key is refused
    assert not list(tmp_path.rglob("2.png"))
    assert (out / "scraped" / "UPPER.png").is_file()
