"""Train a residual network on normalised latents: the usual blocks behind a stem of one 1x1 layer.

    python docs/examples/resnet_on_latents.py ARCHIVE --label cls --epochs 10

Latents lie at 1/16 of the sides of a photo, where a ResNet's third stage or the patches of a ViT
lie. So a 1x1 convolution takes the place of the stem and of the first stages: 48 coefficients of
each position in, the width of the network out. No picture is decoded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from underpaint import Archive, LayerDataset, mirrored_coefficients
from underpaint.codec.archive.class_numbers import class_numbers
from underpaint.codec.arguments import as_count
from underpaint.codec.errors import UnderpaintError, UsageError

CHANNELS, WIDTH, BATCH = 48, 64, 16


class Block(nn.Module):
    """The basic block of ResNet (He et al. 2016): two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = outputs // inputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        changed = stride > 1
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changed else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return maps of the same or half the sides."""
        return functional.relu(self.body(x) + self.shortcut(x))


class Network(nn.Module):
    """From normalised coefficients [N, 48, h, w] to scores of classes [N, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(CHANNELS, WIDTH, 1), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.stages = nn.Sequential(Block(WIDTH, WIDTH), Block(WIDTH, 2 * WIDTH))
        self.head = nn.Linear(2 * WIDTH, classes)

    def forward(self, coefficients: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return scores; positions outside of `mask`, the padding of small photos, do not count."""
        maps = self.stages(self.stem(coefficients))
        inside = mask[:, None, ::2, ::2].float()  # the second block halves the sides
        return self.head((maps * inside).sum((2, 3)) / inside.sum((2, 3)))


def train(source: str, *, label: str, layers: int, epochs: int) -> tuple[Network, float]:
    """Train on all photos of an archive; return the network and its last mean loss.

    Raises UsageError for an archive of less than two pictures, or a label that is no class of each.
    """
    as_count("epochs", epochs)
    torch.manual_seed(0)
    archive = Archive.open(source)
    if len(archive) < 2:
        raise UsageError(f"{source}: want two pictures or more")
    numbers = class_numbers(archive, label)
    dataset = LayerDataset(
        archive, layers=layers, output="latent", normalize=True, batch_size=BATCH,
        drop_last=len(archive) > BATCH, label=lambda labels: numbers[labels[label]],
    )  # fmt: skip
    network, loss = Network(len(numbers)), 0.0
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for epoch in range(epochs):
        losses = [step(network, optimizer, batch) for batch in DataLoader(dataset, batch_size=None)]
        loss = sum(losses) / len(losses)
        print(f"epoch {epoch} loss {loss:.4f}")
    return network, loss


def step(network: Network, optimizer: torch.optim.Optimizer, batch: dict[str, Any]) -> float:
    """Train on one batch, mirrored in half of all cases; return its loss."""
    coefficients = batch["coefficients"]
    if torch.rand(()) < 0.5:
        coefficients = mirrored_coefficients(coefficients, batch["mask"])
        batch["mask"] = batch["mask"].flip(-1)
    loss = functional.cross_entropy(network(coefficients, batch["mask"]), batch["label"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Train a residual network on latents.")
    parser.add_argument("archive", help="path or URL of the archive")
    parser.add_argument("--label", required=True, help="label column: numbers or names of classes")
    parser.add_argument("--layers", type=int, default=2, help="number of layers to read")
    parser.add_argument("--epochs", type=int, default=10, help="number of epochs")
    chosen = parser.parse_args(arguments)
    train(chosen.archive, label=chosen.label, layers=chosen.layers, epochs=chosen.epochs)


if __name__ == "__main__":
    try:
        main()
    except (UnderpaintError, OSError) as error:
        raise SystemExit(f"resnet_on_latents: {error}") from None
