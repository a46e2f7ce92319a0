"""An option that has no effect is refused with one line, instead of being accepted in silence."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tests.helpers.pictures import make_photos, underpaint
from underpaint.transforms.sources import Choice
from underpaint.transforms.sources.choice import DESCRIPTIONS, USED_BY

PHOTOS = ("encode", "PHOTOS", "--output", "OUT")
DECODE = ("decode", "ARCHIVE", "--output", "OUT")
EXPORT = ("export", "ARCHIVE", "--output", "OUT")

CASES = {
    "a column of photos": (
        (*PHOTOS, "--picture-column", "jpg"),
        "--picture-column: no effect on files of pictures, only on tar shards, zip shards, "
        "TFRecord shards, Parquet shards; leave it out",
    ),
    "addresses of photos": ((*PHOTOS, "--url-column", "url"), "only on tables of addresses"),
    "keys of photos": ((*PHOTOS, "--key-column", "id"), "--key-column: no effect on files of"),
    "labels of photos": ((*PHOTOS, "--label", "cls:int64"), "--label and --labels-schema: no eff"),
    "member names of photos": ((*PHOTOS, "--tar-key", "last-dot"), "--tar-key: no effect on file"),
    "a GPU without Dataflow": (
        (*PHOTOS, "--gpu", "nvidia-l4"),
        "--gpu: no effect on FnApiRunner, only on DataflowRunner; leave it out",
    ),
    "a project without Dataflow": (
        (*PHOTOS, "--project=p", "--num_workers=3"),
        "--project, --num_workers: no effect on FnApiRunner, only on DataflowRunner; leave it out, "
        "or give --runner DataflowRunner",
    ),
    "levels of pictures": ((*DECODE, "--levels", "2"), "--levels: no effect on pictures"),
    "latents without the network": (
        (*DECODE, "--format", "latents", "--no-refine"),
        "--no-refine: no effect on latents; leave it out",
    ),
    "layers of original files": (
        (*EXPORT, "--original", "--layers", "2", "--as", "folder"),
        "--as, --layers: no effect with --original; leave it out",
    ),
    "the size of no shards": (
        (*EXPORT, "--as", "folder", "--shard-size", "1M"),
        "--shard-size: no effect with --as folder; leave it out",
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("idle")
    make_photos(folder / "photos", 1)
    assert underpaint("encode", folder / "photos", "--output", folder / "archive") == 0
    return folder


@pytest.mark.parametrize("case", CASES)
def test_an_option_without_effect_is_refused(
    case: str, made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words, expected = CASES[case]
    names = {"ARCHIVE": made / "archive", "PHOTOS": made / "photos", "OUT": tmp_path / "out"}
    assert underpaint(*(names.get(word, word) for word in words)) == 2
    told = capfd.readouterr().err.strip()
    assert expected in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_options_of_sources_are_declared_for_known_kinds() -> None:
    assert USED_BY.keys() <= {field.name for field in fields(Choice)}
    for _, kinds in USED_BY.values():
        assert set(kinds) <= DESCRIPTIONS.keys()
