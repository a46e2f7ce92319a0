"""Nothing but an archive is written to a folder of an archive, however the folder is named."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from underpaint.codec.archive import ArchiveWriter, Row, publish
from underpaint.codec.archive.tools.export import export
from underpaint.codec.archive.tools.originals import export_originals
from underpaint.codec.archive.tools.repair import repair
from underpaint.codec.archive.tools.trim import trim
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.files import Storage
from underpaint.pipelines.cli.main import main
from underpaint.pipelines.jobs.decode import DecodeOptions, decode
from underpaint.pipelines.serve.web_sheet import export_sheet

WRITERS: dict[str, Callable[[str, str], object]] = {
    "export": lambda archive, out: export(archive, out, format="layers", overwrite=True),
    "originals": lambda archive, out: export_originals(archive, out, overwrite=True),
    "sheet": lambda archive, out: export_sheet(archive, out, overwrite=True),
    "decode": lambda archive, out: decode(DecodeOptions(archive, out, overwrite=True)),
}


def write(root: str, *, published: bool = True) -> None:
    with ArchiveWriter(
        root, "unit", layers=("a",), weights_id="w" * 16, keep_source=True
    ) as writer:
        writer.add(Row("key", (b"layer",), 8, 8, source=b"source"))
    if published:
        publish(root)


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """A folder with an archive, another one, one that is not published, and a link to the first."""
    write(f"{tmp_path}/archive")
    write(f"{tmp_path}/other")
    write(f"{tmp_path}/new", published=False)
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    return tmp_path


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("archive", "an archive, which other files would spoil; choose a folder outside of it"),
        ("link", "an archive, which "),
        ("other", "an archive, which "),
        ("new", "an archive, which "),
        ("archive/x", "lies in the archive .*/(archive|link); choose a folder outside of it"),
        ("archive/data/x/y", "lies in the archive .*/(archive|link);"),
        ("link/x", "lies in the archive .*/(archive|link);"),
        ("x/../archive/x", "lies in the archive .*/(archive|link);"),
        ("other/x", "lies in the archive .*/other;"),
        ("new/x", "lies in the archive .*/new;"),
    ],
)
def test_what_is_made_of_an_archive_goes_into_none(
    archives: Path, writer: str, scheme: str, out: str, reason: str
) -> None:
    before = files(archives)
    with pytest.raises(UsageError, match=f"{out}: {reason}"):
        WRITERS[writer](f"{archives}/archive", f"{scheme}{archives}/{out}")
    with pytest.raises(UsageError, match=f"{out}: {reason}"):
        WRITERS[writer](f"{archives}/link", f"{scheme}{archives}/{out}")
    assert files(archives) == before


def test_a_relative_folder_may_not_be_the_archive(
    archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archives / "archive")
    with pytest.raises(UsageError, match="an archive, which"):
        export(f"{archives}/archive", os.curdir, overwrite=True)


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("archive", "an archive, which "),
        ("archive/", "an archive, which "),
        ("archive/x", "lies in the archive memory://.*/archive;"),
        ("other", "an archive, which "),
    ],
)
def test_an_archive_behind_a_url_is_kept_too(out: str, reason: str) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    write(f"{root}/archive")
    write(f"{root}/other")
    with pytest.raises(UsageError, match=reason):
        export(f"{root}/archive", f"{root}/{out}", format="layers", overwrite=True)
    export(f"{root}/archive", f"{root}/archive-2", format="layers")
    assert Storage(f"{root}/archive-2").file_names("") == ["shard-000000.tar"]


def test_a_folder_beside_and_a_manifest_of_something_else_are_no_archive(archives: Path) -> None:
    page = archives / "page"
    page.mkdir()
    (page / "manifest.json").write_text('{"name": "a page"}')
    for out in (page, page / "x", archives / "archive-2"):
        export(archives / "archive", out, format="layers", overwrite=True)
        assert (out / "shard-000000.tar").exists()


def test_no_archive_is_written_into_another(archives: Path) -> None:
    for out, reason in (
        ("link", "cannot be written over itself"),
        ("archive/x", "lies in the archive"),
        ("other/x", "lies in the archive"),
    ):
        with pytest.raises(UsageError, match=reason):
            trim(archives / "archive", archives / out, 1)


@pytest.mark.parametrize("out", ["archive/x", "link/x/y", "other/data/x"])
def test_no_archive_is_made_or_repaired_in_another(
    archives: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(archives)
    Image.new("RGB", (64, 64)).save(archives.parent / "photo.png")
    command = ["encode", str(archives.parent / "photo.png"), "--output", str(archives / out)]
    assert main(command) == 2
    assert "lies in the archive" in capsys.readouterr().err
    with pytest.raises(UsageError, match="lies in the archive"):
        repair(archives / "archive", archives / out, [].append)
    assert files(archives) == before
