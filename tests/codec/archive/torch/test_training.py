"""Training from an archive of the real codec: outputs, the example, memory."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
import torch

from underpaint.codec.archive import (
    Archive,
    ArchiveWriter,
    Damage,
    LayerDataset,
    LayerMap,
    Row,
    publish,
)
from underpaint.codec.codec import Codec
from underpaint.codec.errors import LayerDamaged, WeightsMismatch

EXAMPLE = Path(__file__).parents[4] / "docs" / "examples" / "train_from_latents.py"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def root(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of two kinds, smooth and rough, labelled."""
    root = tmp_path_factory.mktemp("kinds")
    rng = np.random.default_rng(3)
    images, labels = [], []
    for index in range(24):
        height, width = int(rng.integers(17, 60)), int(rng.integers(17, 60))
        ramp = np.linspace(60, 190, width)[None, :, None] + np.zeros((height, 1, 3))
        noise = rng.normal(0, 40 if index % 2 else 1, (height, width, 1))
        images.append(np.clip(ramp + noise, 0, 255).astype(np.uint8))
        labels.append(index % 2)
    with ArchiveWriter(
        root,
        "unit",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        label_schema=pa.schema([("cls", pa.int64())]),
        row_group_bytes=400,
    ) as writer:
        for index, stream in enumerate(codec.encode(images)):
            height, width, _ = images[index].shape
            writer.add(Row(f"{index:02}", stream, width, height, labels={"cls": labels[index]}))
    publish(str(root))
    return root


def test_samples_are_what_the_codec_decodes(root: Path, codec: Codec) -> None:
    rows = {row.key: row for row in Archive.open(root).rows()}
    for layers in (1, len(codec.layer_names)):
        for sample in LayerMap(root, layers=layers, output="latent").__getitems__([0, 7, 20]):
            assert sample is not None
            (latents,) = codec.latents([rows[sample["key"]].layers[:layers]])
            assert torch.equal(sample["class_map"], torch.as_tensor(latents.class_map))
            assert sample["coefficients"].shape == latents.coefficients.shape
            assert sample["embedding"].dtype == torch.float32


@pytest.mark.parametrize("refine", [False, True])
def test_pictures_are_what_the_codec_decodes(root: Path, codec: Codec, refine: bool) -> None:
    rows = {row.key: row for row in Archive.open(root).rows()}
    full = len(codec.layer_names)
    for layers in (1, full):
        dataset = LayerDataset(root, layers=layers, output="image", decode_batch=3, refine=refine)
        whole = LayerMap(root, layers=layers, output="image", refine=refine)
        for sample in [*itertools.islice(dataset, 4), whole[5]]:
            assert sample is not None
            stream = rows[sample["key"]].layers[:layers]
            refined, plain = (codec.decode([stream], refine=how)[0] for how in (True, False))
            expected = refined if refine else plain
            assert sample["image"].dtype == torch.uint8
            picture = sample["image"].permute(1, 2, 0).numpy()
            difference = np.abs(picture.astype(int) - expected)
            assert difference.max() <= 1  # rounding, by what is in the batch
            assert difference.sum() < np.abs(refined.astype(int) - plain).sum()


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_from_latents", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_stopped_and_resumed_training_ends_in_the_same_weights(
    root: Path, tmp_path: Path
) -> None:
    train = example().train
    settings = {"label": "cls", "layers": 1}
    loss, network = train(str(root), steps=8, **settings)
    for stop in (1, 3, 5, 8):  # 3 steps an epoch: in the middle and at ends of epochs
        resumed_loss, resumed = train(str(root), steps=stop, checkpoint=tmp_path / "c", **settings)
    assert resumed_loss == loss
    for one, two in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_layer_that_fails_its_own_check_is_named_or_skipped(
    root: Path, codec: Codec, tmp_path: Path
) -> None:
    """Page checksums hold, but what was stored is wrong: layers of two images were swapped."""
    rows = list(Archive.open(root).rows())[:12]
    with ArchiveWriter(
        tmp_path, "unit", layers=codec.layer_names, weights_id=codec.weights_id
    ) as writer:
        for index, row in enumerate(rows):
            layers = row.layers
            if index == 5:
                layers = (layers[0], rows[6].layers[1], *layers[2:])
            writer.add(Row(row.key, layers, row.width, row.height))
    publish(str(tmp_path))
    with pytest.raises(LayerDamaged, match="layer 2: picture '05'"):
        list(LayerDataset(tmp_path, layers=2, output="latent"))
    found: list[Damage] = []
    dataset = LayerDataset(tmp_path, layers=2, output="latent", on_damage=found.append)
    assert len(list(dataset)) == 11
    assert [(damage.key, damage.layer) for damage in found] == [("05", 1)]
    assert len(list(LayerDataset(tmp_path, layers=1, output="latent"))) == 12


def test_an_archive_of_other_weights_is_refused(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path, "unit", layers=("a",), weights_id="0" * 16) as writer:
        writer.add(Row("k", (b"x",), 1, 1))
    publish(str(tmp_path))
    with pytest.raises(WeightsMismatch, match="made with weights 0000000000000000, not"):
        list(LayerDataset(tmp_path, output="image"))


def test_an_epoch_holds_one_window_and_what_is_loaded_ahead(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(1 << 20)
    with ArchiveWriter(
        tmp_path, "unit", layers=("a",), weights_id="w", row_group_bytes=1 << 18
    ) as writer:
        for index in range(20_000):
            writer.add(Row(f"{index:05}", (noise[index : index + 2000],), 1, 1))
    publish(str(tmp_path))
    window, ahead = 4 << 20, 2 << 20
    dataset = LayerDataset(
        tmp_path, output="bytes", window_bytes=window, prefetch_bytes=ahead, threads=1
    )
    start = most = pa.total_allocated_bytes()
    for number, _ in enumerate(dataset):
        if number % 100 == 0:
            most = max(most, pa.total_allocated_bytes())
    assert most - start < window + ahead + (2 << 20)  # and the group that is being loaded
    assert pa.total_allocated_bytes() - start < 1 << 20


LOADED = """
import itertools
import sys
from numba.core.dispatcher import Dispatcher
from underpaint.codec.archive import LayerDataset

def loaded():
    modules = [module for name, module in sys.modules.items() if
    name.startswith("underpaint.codec.")]
    return {
        f"{module.__name__}.{name}": len(value.signatures)
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher)
    }

datasets = [
    LayerDataset(sys.argv[1], layers=layers, output=output, refine=refine, threads=1)
    for layers, (output, refine) in itertools.product(
        (1, 3, 6), (("image", True), ("image", False), ("latent", False))
    )
]
before = loaded()
assert before["underpaint.codec.entropy.coefficient_coder.code_step"] == 1
for dataset in datasets:
    assert len(list(itertools.islice(dataset, 5))) == 5
    assert loaded() == before, {name for name, count in loaded().items() if count != before[name]}
"""


@pytest.mark.slow
def test_forked_workers_find_every_compiled_loop_loaded(root: Path) -> None:
    """One that a worker loads itself may wait for ever for a lock that was taken at the fork."""
    subprocess.run([sys.executable, "-c", LOADED, str(root)], check=True, timeout=300)
