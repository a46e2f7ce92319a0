"""Mistakes in the arguments of the examples get one line that says what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from docs.examples import classify_from_coarse, resnet_on_latents, train_from_latents
from underpaint import ArchiveWriter, Codec
from underpaint.codec.archive import Row, publish
from underpaint.codec.errors import UnderpaintError

PICTURES = 17
"""One more than a batch, so that the last batch would be of one small picture."""

EXAMPLES = {"resnet_on_latents": resnet_on_latents, "train_from_latents": train_from_latents}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 32 pixels a side, and labels of which only `cls` and `kind` name classes."""
    root, codec = tmp_path_factory.mktemp("labels"), Codec.load()
    rng = np.random.default_rng(3)
    types = [
        ("cls", pa.int64()),
        ("kind", pa.string()),
        ("few", pa.int64()),
        ("score", pa.float64()),
    ]
    types.append(("boxes", pa.list_(pa.float64())))
    with ArchiveWriter(
        root,
        "unit",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        label_schema=pa.schema(types),
    ) as writer:
        for at in range(PICTURES):
            (stream,) = codec.encode([rng.integers(0, 256, (32, 32, 3), np.uint8)])
            labels = {"cls": at % 3, "kind": "ab"[at % 2], "few": at or None, "boxes": [0.5]}
            labels["score"] = at / 2 if at else float("nan")
            writer.add(Row(f"{at:02}", stream, 32, 32, labels=labels))
    publish(root)
    return root


MISTAKES = {
    "--label key": "no label 'key'; there are: cls, kind, few, score, boxes",
    "--label layer_0": "no label 'layer_0'",
    "--label few": "label 'few': some pictures have no value",
    "--label score": "label 'score': some pictures have no value",
    "--label boxes": "label 'boxes': its values are no classes: list<",
    "--label cls --layers 0": "layers: 0; want 1 or more",
    "--label cls --layers 7": "layers: 7; the archive has layers 1 to 6",
}


@pytest.mark.parametrize("text", MISTAKES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_arguments_that_do_not_fit_the_archive(root: Path, name: str, text: str) -> None:
    with pytest.raises(UnderpaintError, match=re.escape(MISTAKES[text])):
        EXAMPLES[name].main([str(root), *text.split()])


@pytest.mark.parametrize("name", EXAMPLES)
def test_numbers_below_one(root: Path, name: str) -> None:
    counted = "epochs" if name == "resnet_on_latents" else "steps"
    with pytest.raises(UnderpaintError, match=f"{counted}: 0; want 1 or more"):
        EXAMPLES[name].main([str(root), "--label", "cls", f"--{counted}", "0"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_archive_without_pictures(tmp_path: Path, name: str) -> None:
    codec = Codec.load()
    with ArchiveWriter(tmp_path, "unit", layers=codec.layer_names, weights_id=codec.weights_id):
        pass
    publish(tmp_path)
    with pytest.raises(UnderpaintError, match="pictures"):
        EXAMPLES[name].main([str(tmp_path), "--label", "cls"])


def test_a_last_batch_of_one_small_picture_is_left_out(root: Path) -> None:
    resnet_on_latents.main([str(root), "--label", "kind", "--epochs", "1"])


def test_checkpoints_of_other_trainings_are_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()  # an empty folder is a checkpoint to be
    base = [str(root), "--checkpoint", str(folder)]
    train_from_latents.main([*base, "--label", "cls", "--steps", "3"])
    for extra, message in (
        (["--label", "cls", "--steps", "3"], "3 steps are done; want more --steps"),
        (["--label", "kind"], "a checkpoint of {'label': 'cls', 'layers': 2}"),
        (["--label", "cls", "--layers", "1"], "a checkpoint of {'label': 'cls', 'layers': 2}"),
    ):
        with pytest.raises(UnderpaintError, match=re.escape(message)):
            train_from_latents.main([*base, *extra])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("progress.json", ""),
        ("progress.json", "{"),
        ("progress.json", "{}"),
        ("progress.json", "[]"),
        ("progress.json", '{"step": 1}'),
        ("progress.json", '{"step": "x", "inputs": {}, "reader": {}}'),
        ("progress.json", "\udcff"),
        ("network.safetensors", ""),
        ("network.safetensors", "no tensors"),
    ],
)
def test_a_damaged_checkpoint_gets_one_line(
    root: Path, tmp_path: Path, name: str, content: str
) -> None:
    base = [str(root), "--label", "cls", "--checkpoint", str(tmp_path)]
    train_from_latents.main([*base, "--steps", "1"])
    (tmp_path / name).write_text(content, errors="surrogateescape")
    expected = f"^{re.escape(str(tmp_path))}: a damaged checkpoint \\([^\n]*\\); delete it"
    with pytest.raises(UnderpaintError, match=expected):
        train_from_latents.main([*base, "--steps", "2"])


def test_arguments_of_the_comparison_with_avif(tmp_path: Path) -> None:
    photos, work = tmp_path / "photos", str(tmp_path / "work")
    photos.mkdir()
    run = classify_from_coarse.main
    with pytest.raises(UnderpaintError, match="no photos named by WordNet ids"):
        run([str(photos), "--work", work])
    picture = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    picture.save(photos / "n06359193_web_site.png")
    with pytest.raises(UnderpaintError, match="no photos of the classes fish, bird"):
        run([str(photos), "--work", work])
    for at in range(2):
        picture.save(photos / f"n0212407{at}_cat.png")
    for folds in ("0", "1", "3"):
        with pytest.raises(UnderpaintError, match=f"--folds: {folds}; want 2 to 2"):
            run([str(photos), "--work", work, "--folds", folds])
    (photos / "n02124079_cat.png").write_bytes(b"no picture")
    with pytest.raises(UnderpaintError, match=r"n02124079_cat.png: "):
        run([str(photos), "--work", work, "--folds", "2"])
