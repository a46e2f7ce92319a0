"""Train a small classifier on the coarse layers of an archive; stop anywhere and resume exactly.

    python docs/examples/train_from_latents.py ARCHIVE --label cls --steps 200
    python docs/examples/train_from_latents.py ARCHIVE --label cls --steps 100 --checkpoint run
    python docs/examples/train_from_latents.py ARCHIVE --label cls --steps 200 --checkpoint run

The last two commands together give the same weights and the same loss as the first one, because the
checkpoint records which part of the epoch was consumed. The job reads only the columns of the first
`--layers` layers and decodes no picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader

from underpaint import Archive, LayerDataset
from underpaint.codec.archive.class_numbers import class_numbers
from underpaint.codec.arguments import as_count
from underpaint.codec.errors import UnderpaintError, UsageError

BATCH = 8
CHANNELS = 48
"""Number of coefficients of each position that the network uses; low frequencies come first."""


def features(sample: dict[str, Any]) -> torch.Tensor:
    """Return mean, deviation, maximum and minimum of each channel, float32 [4 x channels]."""
    maps = torch.cat([sample["coefficients"][:CHANNELS] / 64, sample["embedding"]]).flatten(1)
    return torch.cat([maps.mean(1), maps.std(1, correction=0), maps.amax(1), maps.amin(1)])


def batches(
    dataset: LayerDataset, label: str, numbers: dict[Any, int]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of features and class numbers, epoch after epoch."""

    def collate(samples: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        labels = [numbers[sample["labels"][label]] for sample in samples]
        return torch.stack([features(sample) for sample in samples]), torch.tensor(labels)

    while True:
        yield from DataLoader(dataset, batch_size=BATCH, collate_fn=collate)


def saved(checkpoint: Path) -> tuple[int, dict[str, Any], Any, dict[str, torch.Tensor]]:
    """Return steps done, inputs, state of the reader and parameters; UsageError if damaged."""
    try:
        progress = json.loads((checkpoint / "progress.json").read_text("utf-8"))
        found = int(progress["step"]), dict(progress["inputs"]), progress["reader"]
        return *found, load_file(checkpoint / "network.safetensors")
    except (KeyError, TypeError, ValueError, SafetensorError, FileNotFoundError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(
            f"{checkpoint}: a damaged checkpoint ({reason}); delete it or choose another folder"
        ) from None


def train(
    archive: str, *, label: str, layers: int, steps: int, checkpoint: Path | None = None
) -> tuple[float, nn.Module]:
    """Train to a total of `steps` steps, from the checkpoint if it exists.

    Returns the last loss and the network. Raises UsageError for an empty archive, a label that is
    no class of each picture, and a checkpoint of another training.
    """
    as_count("steps", steps)
    torch.manual_seed(0)
    opened = Archive.open(archive)
    if not len(opened):
        raise UsageError(f"{archive}: the archive has no pictures")
    dataset = LayerDataset(opened, layers=layers, output="latent", labels=label, seed=0)
    numbers = class_numbers(opened, label)
    network = nn.Sequential(nn.LazyLinear(64), nn.ReLU(), nn.Linear(64, len(numbers)))
    network(features(next(iter(dataset)))[None])  # tells the lazy layer its size
    done, inputs_of = 0, {"label": label, "layers": layers}
    if checkpoint and (checkpoint / "progress.json").exists():
        done, inputs, reader, parameters = saved(checkpoint)
        if inputs != inputs_of:
            raise UsageError(f"{checkpoint}: a checkpoint of {inputs}")
        if done >= steps:
            raise UsageError(f"{checkpoint}: {done} steps are done; want more --steps")
        dataset.load_state_dict(reader)
        try:
            network.load_state_dict(parameters)
        except RuntimeError:
            raise UsageError(f"{checkpoint}: a checkpoint of another network") from None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    loss = torch.zeros(())
    for step, (inputs, labels) in enumerate(batches(dataset, label, numbers), done + 1):
        loss = nn.functional.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"epoch {dataset.epoch} step {step:5d} loss {loss.item():.6f}")
        if step >= steps:
            break
    if checkpoint:
        checkpoint.mkdir(parents=True, exist_ok=True)
        save_file(network.state_dict(), checkpoint / "network.safetensors")
        progress = {"step": steps, "inputs": inputs_of, "reader": dataset.state_dict()}
        (checkpoint / "progress.json").write_text(json.dumps(progress))
    return loss.item(), network


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Train a small classifier from coarse layers.")
    parser.add_argument("archive", help="path or URL of the archive")
    parser.add_argument("--label", required=True, help="label column: numbers or names of classes")
    parser.add_argument("--layers", type=int, default=2, help="number of layers to read")
    parser.add_argument("--steps", type=int, default=200, help="total number of steps")
    parser.add_argument("--checkpoint", type=Path, help="folder to resume from and save to")
    chosen = parser.parse_args(arguments)
    loss, _ = train(
        chosen.archive,
        label=chosen.label,
        layers=chosen.layers,
        steps=chosen.steps,
        checkpoint=chosen.checkpoint,
    )
    print(f"last loss {loss:.9f}")


if __name__ == "__main__":
    try:
        main()
    except (UnderpaintError, OSError) as error:
        raise SystemExit(f"train_from_latents: {error}") from None
