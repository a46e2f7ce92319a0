"""Compare a small classifier on coarse layers with the same one on AVIF files of equal size.

    python docs/examples/classify_from_coarse.py PHOTOS --work FOLDER [--layers 2]

PHOTOS holds ImageNet photos named by their WordNet ids (n02088364_beagle.jpg), which are grouped
into a dozen coarse classes. FOLDER receives an archive of their coarsest layers, and tar files of
AVIF pictures. One tar file holds whole photos, with at most the bytes of the layers if the
lowest quality allows it. For each number of layers, another tar file holds photos shrunken until
they fit in the bytes of these layers. The same trunk is trained from scratch on each by
cross-validation. Reading, decoding and conversion to tensors are timed on one core, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from PIL import AvifImagePlugin, Image
from torch import nn
from torch.nn import functional

from underpaint import Codec, mirrored_coefficients
from underpaint.codec.archive import Archive, ArchiveWriter, LayerDataset, Row, publish
from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.codec.image_io.read import read_picture
from underpaint.codec.reconstruct.backend import fast_dtype

GROUPS: dict[str, tuple[tuple[int, int], ...]] = {
    "fish": ((1440000, 1499000), (2514000, 2656000)),
    "bird": ((1514000, 1623000), (1795000, 1861000), (2002000, 2059000)),
    "reptile or amphibian": ((1629000, 1757000),),
    "insect or spider": ((1768000, 1785000), (2165000, 2282000)),
    "sea creature": ((1910000, 1991000), (2066000, 2078000), (2317000, 2322000)),
    "dog": ((2085000, 2117000),),
    "cat, fox or bear": ((2119000, 2139000),),
    "hoofed animal": ((2389000, 2438000), (2504000, 2505000)),
    "other mammal": (
        (1871000, 1884000),
        (2325000, 2365000),
        (2441000, 2501000),
        (2509000, 2511000),
    ),
    "thing": ((2666000, 4614000),),
    "food": ((7565000, 7933000),),
    "plant, fungus or landscape": ((9193000, 9473000), (11879000, 13134000)),
}
"""Coarse classes, as ranges of WordNet 3.0 noun ids: neighbours in the taxonomy have near ids."""

MOST_THINGS = 120
"""Most photos of one class: half of ImageNet's classes are things."""

GRID = 26
"""Rows and columns of the trunk's input: the positions of a photo of up to 416 pixels a side."""

STEM_STEPS = 2
"""Number of strided convolutions that halve a picture before the trunk."""

PICTURE_SIDE = GRID << STEM_STEPS
"""Pictures are scaled to fit a square of this side, which has as many values as the latents have
coefficients (two levels below a position)."""

GREY = 128

WIDTH = 32
EPOCHS = 20
BATCH = 32
AVIF_QUALITIES = (0, 6, 12, 20, 28, 36, 44, 52, 60)
PASSES = 5
"""Number of timed passes over each kind; the fastest counts."""


def group_of(name: str) -> int | None:
    """Return the coarse class of a file named by its WordNet id, or None."""
    found = re.match(r"n(\d{8})", name)
    if not found:
        return None
    number = int(found[1])
    for place, ranges in enumerate(GROUPS.values()):
        if any(first <= number < end for first, end in ranges):
            return place
    return None


def labelled_photos(folder: Path) -> list[tuple[Path, int]]:
    """Return photos with their classes, in random order, at most `MOST_THINGS` of a class."""
    paths = sorted(path for path in folder.rglob("n*") if path.is_file())
    if not paths:
        raise UsageError(f"no photos named by WordNet ids in {folder}")
    counts, chosen = [0] * len(GROUPS), []
    for index in np.random.default_rng(0).permutation(len(paths)):
        label = group_of(paths[index].name)
        if label is not None and counts[label] < MOST_THINGS:
            counts[label] += 1
            chosen.append((paths[index], label))
    if not chosen:
        raise UsageError(f"no photos of the classes {', '.join(GROUPS)} in {folder}")
    return chosen


def write_all(photos: Sequence[tuple[Path, int]], work: Path, layers: int) -> None:
    """Write the archive `layers` and the tar files `whole.tar`, `shrunken-1.tar`, …"""
    codec = Codec.load()
    names = ["whole", *(f"shrunken-{count}" for count in range(1, layers + 1))]
    with (
        ArchiveWriter(
            work / "layers", "photos", layers=codec.layer_names[:layers],
            weights_id=codec.weights_id, label_schema=pa.schema([("class", pa.int64())]),
        ) as coarse,
        contextlib.ExitStack() as tars,
    ):  # fmt: skip
        opened = [tars.enter_context(tarfile.open(work / f"{name}.tar", "w")) for name in names]
        for number, (path, label) in enumerate(photos):
            try:
                pixels = read_picture(path.read_bytes()).pixels
            except UnderpaintError as error:
                raise UsageError(f"{path}: {error}") from None
            (stream,) = codec.encode([pixels], layers=layers)
            height, width, _ = pixels.shape
            coarse.add(Row(path.name, stream, width, height, labels={"class": label}))
            budgets = np.cumsum([len(blob) for blob in stream]).tolist()
            files = [best_avif(Image.fromarray(pixels), budgets[-1])]
            files += [shrunken_avif(pixels, budget) for budget in budgets]
            for tar, file in zip(opened, files, strict=True):
                entry = tarfile.TarInfo(f"{number:06}.{label}.avif")
                entry.size = len(file)
                tar.addfile(entry, io.BytesIO(file))
    publish(str(work / "layers"))


def best_avif(picture: Image.Image, most_bytes: int) -> bytes:
    """Return the AVIF file of the highest quality within `most_bytes`, or of the lowest quality."""
    best = b""
    for quality in AVIF_QUALITIES:
        out = io.BytesIO()
        picture.save(out, "AVIF", quality=quality, speed=6, max_threads=1)
        if best and len(out.getvalue()) > most_bytes:
            break
        best = out.getvalue()
    return best


def shrunken_avif(pixels: np.ndarray, most_bytes: int) -> bytes:
    """Return the best AVIF file within `most_bytes`, of the picture scaled by 1, 3/4, 9/16, …

    Pictures are not scaled below 16 pixels a side, even if the file is larger.
    """
    picture, scale = Image.fromarray(pixels), 0.75
    file = best_avif(picture, most_bytes)
    while len(file) > most_bytes and min(picture.size) * scale >= 16:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        file = best_avif(picture.resize(size, Image.Resampling.LANCZOS), most_bytes)
        scale *= 0.75
    return file


class Kept(Protocol):
    """One way of storing photos. Iterating reads and decodes them, with their labels."""

    stem: int
    """Number of strided convolutions between its tensors and the trunk."""

    def __iter__(self) -> Iterator[tuple[Any, int]]: ...

    def sizes(self) -> list[int]:
        """Bytes of each photo."""

    def tensor(self, decoded: Any) -> torch.Tensor:
        """Return the input of the network for a decoded photo."""

    def mirrored(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the inputs of the mirrored photos, [N, C, S, S]."""


class CoarseLayers:
    """The coarsest layers of an archive, decoded to latents."""

    stem = 0

    def __init__(self, archive: Path, layers: int) -> None:
        self._archive, self._layers = Archive.open(archive), layers
        self._samples = LayerDataset(self._archive, layers=layers, output="latent", seed=None)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield samples of `LayerDataset`, and their labels."""
        for sample in self._samples:
            yield sample, sample["labels"]["class"]

    def sizes(self) -> list[int]:
        """Return the bytes of these layers, for each photo."""
        return [sum(map(len, row.layers)) for row in self._archive.rows(layers=self._layers)]

    def tensor(self, decoded: dict[str, Any]) -> torch.Tensor:
        """Return coefficients and embeddings, centred in the grid, float32 [C, GRID, GRID]."""
        return centred([decoded["coefficients"], decoded["embedding"]])

    @staticmethod
    def mirrored(inputs: torch.Tensor) -> torch.Tensor:
        """Return the latents of the mirrored photo, up to a shift of one pixel."""
        coefficients, embedding = inputs[:, :48], inputs[:, 48:]
        return torch.cat([mirrored_coefficients(coefficients), embedding.flip(-1)], 1)


class AvifFiles:
    """AVIF files in a tar file, decoded by Pillow."""

    stem = STEM_STEPS

    def __init__(self, tar: Path) -> None:
        self._tar = tar

    def _files(self) -> Iterator[tuple[bytes, int]]:
        with tarfile.open(self._tar) as tar:
            for entry in tar:
                file = tar.extractfile(entry)
                if file is not None:
                    yield file.read(), int(entry.name.split(".")[1])

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        """Yield decoded pictures and their labels."""
        for file, label in self._files():
            picture = Image.open(io.BytesIO(file))
            picture.load()
            yield picture, label

    def sizes(self) -> list[int]:
        """Return the bytes of each file."""
        return [len(file) for file, _ in self._files()]

    def tensor(self, decoded: Image.Image) -> torch.Tensor:
        """Return the picture, scaled to fit and centred on grey, uint8 [3, S, S]."""
        scale = PICTURE_SIDE / max(decoded.size)
        size = (max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale)))
        fitted = decoded.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        canvas = Image.new("RGB", (PICTURE_SIDE, PICTURE_SIDE), (GREY, GREY, GREY))
        canvas.paste(fitted, ((PICTURE_SIDE - size[0]) // 2, (PICTURE_SIDE - size[1]) // 2))
        return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)

    @staticmethod
    def mirrored(inputs: torch.Tensor) -> torch.Tensor:
        """Return the mirrored pictures."""
        return inputs.flip(-1)


def centred(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack maps float32 [C, h, w], centred in the grid; they are cropped to it."""
    height, width = parts[0].shape[1:]
    above, left = max(0, (height - GRID) // 2), max(0, (width - GRID) // 2)
    rows, columns = min(height, GRID), min(width, GRID)
    top, side = (GRID - rows) // 2, (GRID - columns) // 2
    within = torch.cat(list(parts))[:, above : above + rows, left : left + columns]
    return functional.pad(within, (side, GRID - columns - side, top, GRID - rows - top))


class Squeeze(nn.Module):
    """Scales inputs to the range that networks expect."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Scale pictures to -1..1; compress latents, so that edges do not dominate."""
        if inputs.dtype == torch.uint8:
            return inputs / GREY - 1
        colour, texture = inputs[:, :3], inputs[:, 3:]
        return torch.cat([colour / 1024, torch.asinh(texture / 16)], 1)


def network(channels: int, stem: int) -> nn.Module:
    """Return the trunk, behind a stem of strided convolutions for pictures."""
    steps: list[nn.Module] = [Squeeze()]
    for stride in (*[2] * stem, 1, 2, 2):
        steps += [nn.Conv2d(channels, WIDTH, 3, stride, 1), nn.BatchNorm2d(WIDTH), nn.ReLU()]
        channels = WIDTH
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(WIDTH, len(GROUPS))]
    return nn.Sequential(*steps, *pool)


def computing() -> torch.autocast:
    """Compute in bfloat16 if the CPU supports it."""
    dtype = fast_dtype(torch.device("cpu"))
    return torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16)


def train(inputs: torch.Tensor, labels: torch.Tensor, kept: Kept, seed: int) -> nn.Module:
    """Train from scratch; half of the inputs are mirrored."""
    torch.manual_seed(seed)
    net = network(inputs.shape[1], kept.stem).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    steps = EPOCHS * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels)).split(BATCH):
            seen = inputs[batch]
            turned = torch.rand(len(batch)) < 0.5
            seen[turned] = kept.mirrored(seen[turned])
            with computing():
                loss = functional.cross_entropy(net(seen), labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.inference_mode()
def right(net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> int:
    """Return the number of correct answers."""
    with computing():
        return int((net(inputs).argmax(1) == labels).sum())


def cross_validated(kept: Kept, folds: int, seeds: int) -> list[float]:
    """Return the accuracy on held-out photos, for each seed."""
    samples = [(kept.tensor(decoded), label) for decoded, label in kept]
    inputs = torch.stack([tensor for tensor, _ in samples]).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.tensor([label for _, label in samples])
    fold = torch.arange(len(labels)) % folds
    accuracies = []
    for seed in range(seeds):
        correct = 0
        for held_out in range(folds):
            known, asked = fold != held_out, fold == held_out
            net = train(inputs[known], labels[known], kept, seed)
            correct += right(net, inputs[asked], labels[asked])
        accuracies.append(correct / len(labels))
    return accuracies


def seconds_an_image(kinds: Iterable[Kept], tensors: bool) -> list[float]:
    """Return CPU seconds per image for reading and decoding, and making the tensor if asked."""
    best: dict[int, float] = {}
    for _ in range(1 + PASSES):  # the first compiles
        for place, kept in enumerate(kinds):
            start, images = time.process_time(), 0
            for decoded, _ in kept:
                images += 1
                if tensors:
                    kept.tensor(decoded)
            spent = (time.process_time() - start) / images
            best[place] = min(best.get(place, spent), spent)
    return list(best.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of ImageNet photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for archive and tar files")
    parser.add_argument("--layers", type=int, default=2, help="most layers to read")
    parser.add_argument(
        "--folds", type=int, default=4, help="parts of the photos that are held out in turn"
    )
    parser.add_argument(
        "--seeds", type=int, default=2, help="number of seeds; 0: measure speed only"
    )
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    photos = labelled_photos(chosen.photos)
    if chosen.seeds and not 2 <= chosen.folds <= len(photos):
        raise UsageError(f"--folds: {chosen.folds}; want 2 to {len(photos)}, the number of photos")
    if not (chosen.work / "layers").exists():
        chosen.work.mkdir(parents=True, exist_ok=True)
        write_all(photos, chosen.work, chosen.layers)
    counts = np.bincount([label for _, label in photos], minlength=len(GROUPS))
    print(f"{len(photos)} photos of {len(GROUPS)} classes; the largest has {max(counts)}")
    kinds: dict[str, Kept] = {"AVIF, whole": AvifFiles(chosen.work / "whole.tar")}
    for count in range(1, chosen.layers + 1):
        kinds[f"latents, layers: {count}"] = CoarseLayers(chosen.work / "layers", count)
        kinds[f"AVIF, bytes of {count}"] = AvifFiles(chosen.work / f"shrunken-{count}.tar")
    print("images per second of CPU time: read and decoded, and with the tensor made;")
    print("accuracy on held-out photos, by seed")
    print(f"{'':24}{'bytes':>8}{'decoded':>10}{'tensor':>10}  accuracy")
    decoding, making = (seconds_an_image(kinds.values(), made) for made in (False, True))
    for (name, kept), decoded, made in zip(kinds.items(), decoding, making, strict=True):
        print(f"{name:24}{np.mean(kept.sizes()):8.0f}{1 / decoded:10.0f}{1 / made:10.0f}", end="")
        for accuracy in cross_validated(kept, chosen.folds, chosen.seeds):
            print(f"{100 * accuracy:8.1f} %", end="")
        print(flush=True)


if __name__ == "__main__":
    try:
        main()
    except (UnderpaintError, OSError) as error:
        raise SystemExit(f"classify_from_coarse: {error}") from None
