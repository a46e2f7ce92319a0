"""A user's mistake gets one line that says what, where and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.pictures import make_photos, underpaint


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    make_photos(folder / "photos", 2)
    assert underpaint("encode", folder / "photos", "--output", folder / "archive") == 0
    return folder / "archive"


CASES = {
    "a profile that does not exist": (
        ("decode", "ARCHIVE", "--output", "OUT", "--weights", "nosuch"),
        "no weights at nosuch: No such file or directory; give a path, a URL or a profile "
        "(perceptual, fidelity)",
    ),
    "a layer too many": (
        ("decode", "ARCHIVE", "--output", "OUT", "--layers", "9"),
        "layers: 9; the archive has layers 1 to 6",
    ),
    "a picture in another format": (
        ("view", "ARCHIVE", "--picture", "foo.svg"),
        "--picture foo.svg: the suffix must be one of .png, .jpg, .jpeg, .webp",
    ),
    "a device that torch does not know": (
        ("decode", "ARCHIVE", "--output", "OUT", "--device", "gpu"),
        "device 'gpu': not a torch device; try cpu or cuda",
    ),
    "an archive without embeddings": (
        ("search", "ARCHIVE", "--like", "0.png"),
        "no embeddings; encode with --embedding NAME",
    ),
    "no archive": (("inspect", "OUT"), "no such folder"),
    "an empty folder": (("encode", "EMPTY", "--output", "OUT"), "no pictures or shards in"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_gets_one_line(
    case: str, archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words, expected = CASES[case]
    empty = tmp_path / "empty"
    empty.mkdir()
    names = {"ARCHIVE": archive, "OUT": tmp_path / "out", "EMPTY": empty}
    assert underpaint(*(names.get(word, word) for word in words)) == 2
    told = capfd.readouterr().err.strip()
    assert expected in told
    assert told.startswith("underpaint: ")
    assert len(told.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_gets_one_line(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("decode", archive, "--output", tmp_path / "out", "--device", "cuda")
    assert underpaint(*command) == 2
    told = capfd.readouterr().err.strip()
    assert told == "underpaint: device 'cuda': PyTorch finds no CUDA GPU here; use cpu"
