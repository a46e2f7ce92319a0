"""The example that trains a residual network on normalised latents learns from a few pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from skimage import data

from docs.examples import resnet_on_latents as example
from underpaint import ArchiveWriter, Codec, LayerDataset
from underpaint.codec.archive import Row, publish

PICTURES = 24


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of two photos, of several sizes; the label says which."""
    root, codec = tmp_path_factory.mktemp("two"), Codec.load()
    with ArchiveWriter(
        root,
        "unit",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        label_schema=pa.schema([("photo", pa.string())]),
    ) as writer:
        for at in range(PICTURES):
            name = ("chelsea", "rocket")[at % 2]
            photo = getattr(data, name)()[8 * (at // 2) :, 16 * at :][:96, : 80 + at]
            (stream,) = codec.encode([np.ascontiguousarray(photo)])
            height, width, _ = photo.shape
            writer.add(Row(f"{at:02}", stream, width, height, labels={"photo": name}))
    publish(root)
    return root


def test_it_tells_two_photos_apart(root: Path) -> None:
    network, loss = example.train(str(root), label="photo", layers=2, epochs=12)
    assert loss < 0.2  # that of guessing is 0.69
    network.eval()
    [batch] = LayerDataset(root, layers=2, normalize=True, label="photo", batch_size=PICTURES)
    right = network(batch["coefficients"], batch["mask"]).argmax(1)
    assert [("chelsea", "rocket")[at] for at in right] == batch["label"]


def test_padding_does_not_count() -> None:
    network, rng = example.Network(3).eval(), torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=rng)
    photo = torch.randn(1, example.CHANNELS, 6, 8, generator=rng)
    mask = torch.zeros(2, 16, 16, dtype=torch.bool)
    mask[:, :6, :8] = True
    padded = torch.zeros(2, example.CHANNELS, 16, 16)
    padded[:, :, :6, :8] = photo
    padded[1, :, 10:] = 5  # beyond the reach of positions inside
    one, other = network(padded, mask)
    assert torch.equal(one, other)
    assert not torch.equal(one, network(padded[1:], torch.ones_like(mask[1:]))[0])
