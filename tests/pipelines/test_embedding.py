"""`encode --embedding` and `search`: vectors by an extractor from Cloud Storage, held to it."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from tests.helpers.networks import CHANNELS, network, saved
from tests.helpers.pictures import encode, make_photos, underpaint
from underpaint import LayerDataset
from underpaint.codec.archive import Archive
from underpaint.codec.extractors import open_extractor
from underpaint.codec.image_io.read import read_picture
from underpaint.codec.storage import download as fetching

pytestmark = pytest.mark.slow

PLAIN = "mean=0,0,0&std=1,1,1"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven photos, and a black one that has no features."""
    make_photos(tmp_path / "photos", 7)
    Image.new("RGB", (60, 50)).save(tmp_path / "photos" / "black.png")
    return tmp_path / "photos"


@pytest.fixture
def extractor(gs_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a network on Cloud Storage, by its digest."""
    monkeypatch.setenv(fetching.CACHE, str(tmp_path / "cache"))
    path, digest = saved(tmp_path, network(logarithm=True))
    fsspec.filesystem("gs").put_file(str(path), f"{gs_folder}/net.onnx")
    return f"onnx:{gs_folder}/net.onnx#sha256={digest}&{PLAIN}"


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict]:
    """What `underpaint search --json` prints."""
    capsys.readouterr()
    assert underpaint("search", *arguments, "--json") == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_vectors_are_stored_resumed_and_searched(
    tmp_path: Path,
    photos: Path,
    extractor: str,
    gs_folder: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = tmp_path / "archive"
    command = (photos, "--output", archive, "--unit-size", "5k", "--embedding", extractor)
    assert encode(*command) == 1
    whole = Archive.open(archive)
    assert [(one.key, one.stage) for one in whole.dead_letters()] == [("black.png", "embed")]
    assert len(whole) == 7
    made = open_extractor(extractor)
    wanted = {}
    for row in whole.rows():
        pixels = read_picture((photos / row.key).read_bytes()).pixels
        wanted[row.key] = made.features(made.preprocessing.fit(pixels)[None])[0]
        assert row.embedding is not None
        np.testing.assert_allclose(row.embedding, wanted[row.key], atol=1e-3)

    # a run that was cut off goes on, from the cache where the file is gone
    fsspec.filesystem("gs").rm_file(f"{gs_folder}/net.onnx")
    lost = sorted((archive / "commits").iterdir())[:2]
    for commit in lost:
        commit.unlink()
    (archive / "manifest.json").unlink()
    assert encode(*command) == 1
    assert Archive.open(archive).manifest == whole.manifest

    # samples of a training job
    samples = list(LayerDataset(str(archive), layers=1, output="latent", features=True))
    for sample in samples:
        assert sample["features"].shape == (CHANNELS,)
        assert sample["features"].numpy() == pytest.approx(wanted[sample["key"]], abs=1e-3)

    # a search by key, by a photo, and for near duplicates
    keys = sorted(wanted)
    cosine = {key: float(wanted[key] @ wanted[keys[0]]) for key in keys[1:]}
    found = lines(capsys, archive, "--like", keys[0], "--count", 3)
    assert [one["key"] for one in found] == sorted(cosine, key=lambda key: -cosine[key])[:3]
    photo = ("--like", photos / keys[2], "--embedding", extractor)
    (found,) = lines(capsys, archive, *photo, "--count", 1)
    assert found["key"] == keys[2]
    assert found["similarity"] == pytest.approx(1, abs=1e-3)
    pairs = lines(capsys, archive, "--duplicates", "99%")
    close = {
        (one, other)
        for one in keys
        for other in keys
        if other < one and float(wanted[one] @ wanted[other]) >= 0.99
    }
    assert {tuple(sorted((p["key"], p["like"]), reverse=True)) for p in pairs} == close


def test_another_extractor_is_refused(
    tmp_path: Path, photos: Path, extractor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    assert encode(photos, "--output", archive, "--embedding", extractor) == 1
    before = Archive.open(archive).manifest
    others = (
        ("--embedding", "underpaint"),
        ("--embedding", extractor.replace(PLAIN, "mean=1,1,1&std=2,2,2")),
        (),
    )
    for other in others:
        capsys.readouterr()
        assert encode(photos, "--output", archive, *other) == 2
        assert "made with extractor onnx#sha256=" in capsys.readouterr().err
    assert Archive.open(archive).manifest == before
    for name, text in (("underpaint", "the embeddings are of"), (None, "say by --embedding")):
        options = ("--embedding", name) if name else ()
        photo = next(photos.glob("*/*.jpg"))
        assert underpaint("search", archive, "--like", photo, *options) == 2
        assert text in capsys.readouterr().err


def test_a_file_that_is_another_by_now_is_refused(
    tmp_path: Path, photos: Path, extractor: str, gs_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fsspec.filesystem("gs").pipe_file(f"{gs_folder}/net.onnx", network())
    assert encode(photos, "--output", tmp_path / "archive", "--embedding", extractor) == 1
    assert "its SHA-256 is" in capsys.readouterr().err
    assert not (tmp_path / "archive").exists()


def test_our_own_features_need_no_file(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    command = (photos, "--output", archive, "--embedding", "underpaint")
    assert underpaint("encode", *command, "--workers", 2, "--unit-size", "5k") == 0
    assert len(Archive.open(archive)) == 8
    for photo in photos.glob("*/*"):
        best, *_ = lines(capsys, archive, "--like", photo)
        assert best["key"] == str(photo.relative_to(photos))
    capsys.readouterr()
    assert underpaint("inspect", archive, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    made = open_extractor("underpaint")
    assert (shown["embedding"], shown["extractor"]) == (made.size, made.identity)
    assert underpaint("search", archive, "--like", tmp_path / "nothing.jpg") == 2
    assert "no key of the archive, and no photo" in capsys.readouterr().err
    (tmp_path / "text.jpg").write_text("text")
    for path, why in ((tmp_path / "text.jpg", "no known"), (photos, "neither a file nor a link")):
        assert underpaint("search", archive, "--like", path) == 2
        assert f"--like {path}: {why}" in capsys.readouterr().err
