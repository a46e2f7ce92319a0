"""A small classifier from coarse layers, beside one from AVIF pictures of as many bytes.

    python -m pipelines.examples.classify_from_coarse PHOTOS --work FOLDER [--layers 2]

PHOTOS holds ImageNet photos named by their WordNet ids (n02088364_beagle.jpg), which are grouped
into a dozen coarse classes. Each photo goes into two archives in FOLDER: as layers, and as the
AVIF file with the most bytes that its coarsest layers leave room for (smaller pictures where even
the lowest quality of a whole one does not fit). The same trunk is trained from scratch on both, by
cross-validation; and both are read and decoded to tensors, on one core, against the clock.
"""

from __future__ import annotations

import argparse
import io
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import AvifImagePlugin, Image
from torch import nn
from torch.nn import functional

from codec import Codec
from codec.archive import ArchiveWriter, LayerDataset, Row, publish
from codec.errors import UsageError
from codec.picture import read_picture

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
"""Photos of one class at most: half of ImageNet's classes are things."""

GRID = 16
"""Rows and columns of what the trunk sees."""

PICTURE_SIDE = 128
"""AVIF pictures are scaled to squares of this side before the stem."""

WIDTH = 32
EPOCHS = 20
BATCH = 32
AVIF_QUALITIES = (0, 6, 12, 20, 28, 36, 44, 52, 60)


@dataclass(frozen=True)
class Labelled:
    """What one kind of tensor gave: inputs float32 [N, C, S, S] and labels int64 [N] by key."""

    inputs: torch.Tensor
    labels: torch.Tensor
    images_a_second: float
    bytes_an_image: float


def group_of(name: str) -> int | None:
    """The coarse class of a file named by its WordNet id; None where it has none."""
    found = re.match(r"n(\d{8})", name)
    if not found:
        return None
    number = int(found[1])
    for place, ranges in enumerate(GROUPS.values()):
        if any(first <= number < end for first, end in ranges):
            return place
    return None


def labelled_photos(folder: Path) -> list[tuple[Path, int]]:
    """Photos with their classes, in random order, at most `MOST_THINGS` of a class."""
    paths = sorted(path for path in folder.rglob("n*") if path.is_file())
    if not paths:
        raise UsageError(f"no photos named by WordNet ids in {folder}")
    counts, chosen = [0] * len(GROUPS), []
    for index in np.random.default_rng(0).permutation(len(paths)):
        label = group_of(paths[index].name)
        if label is not None and counts[label] < MOST_THINGS:
            counts[label] += 1
            chosen.append((paths[index], label))
    return chosen


def write_archives(photos: Sequence[tuple[Path, int]], work: Path, layers: int) -> None:
    """Write both archives: `layers`, and `avif` with one column of AVIF files."""
    codec = Codec.load()
    labels = pa.schema([("class", pa.int64())])
    with (
        ArchiveWriter(
            work / "layers", "photos", layers=codec.layer_names[:layers],
            weights_id=codec.weights_id, label_schema=labels,
        ) as coarse,
        ArchiveWriter(
            work / "avif", "photos", layers=["avif"], weights_id="0" * 16, label_schema=labels
        ) as pictures,
    ):  # fmt: skip
        for path, label in photos:
            pixels = read_picture(path.read_bytes()).pixels
            (stream,) = codec.encode([pixels], layers=layers)
            picture = avif_within(pixels, sum(map(len, stream)))
            height, width, _ = pixels.shape
            for writer, blobs in ((coarse, stream), (pictures, (picture,))):
                writer.add(Row(path.name, blobs, width, height, labels={"class": label}))
    for name in ("layers", "avif"):
        publish(str(work / name))


def avif_within(pixels: np.ndarray, most_bytes: int) -> bytes:
    """The best AVIF file of at most so many bytes: full size if that fits, else 3/4, 1/2, …"""
    picture, scale, smallest = Image.fromarray(pixels), 1.0, b""
    while min(picture.size) * scale >= 16:
        size = (round(picture.width * scale), round(picture.height * scale))
        scaled = picture.resize(size, Image.Resampling.LANCZOS) if scale < 1 else picture
        best = b""
        for quality in AVIF_QUALITIES:
            out = io.BytesIO()
            scaled.save(out, "AVIF", quality=quality, speed=6, max_threads=1)
            smallest = out.getvalue() if not smallest else min(smallest, out.getvalue(), key=len)
            if len(out.getvalue()) > most_bytes:
                break
            best = out.getvalue()
        if best:
            return best
        scale *= 0.75
    return smallest


def read_latents(archive: Path) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield latents as float32 [C, h, w] with the label."""
    for sample in LayerDataset(archive, output="latent", seed=None):
        maps = torch.cat([sample["coefficients"], sample["embedding"]])
        yield maps, sample["labels"]["class"]


def read_avif(archive: Path) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield decoded pictures as uint8 [3, H, W] with the label."""
    for sample in LayerDataset(archive, output="bytes", seed=None):
        picture = np.asarray(Image.open(io.BytesIO(sample["layers"][0])).convert("RGB"))
        yield torch.from_numpy(picture.copy()).permute(2, 0, 1), sample["labels"]["class"]


def prepared_latents(latents: torch.Tensor) -> torch.Tensor:
    """Latents on the trunk's grid: magnitudes are squeezed, so that edges do not drown the rest."""
    squeezed = torch.asinh(latents / 16)
    squeezed[:3] = latents[:3] / 1024  # the low band is colour, not texture
    return functional.interpolate(squeezed[None], (GRID, GRID), mode="bilinear", antialias=True)[0]


def prepared_picture(picture: torch.Tensor) -> torch.Tensor:
    """A picture scaled to a square."""
    size = (PICTURE_SIDE, PICTURE_SIDE)
    small = functional.interpolate(picture[None].float(), size, mode="bilinear", antialias=True)
    return small[0] / 128 - 1


def mirrored_latents(inputs: torch.Tensor) -> torch.Tensor:
    """Latents of the mirrored photo, but for a shift of half a coefficient, [N, C, S, S]."""
    flipped = inputs.flip(-1).clone()
    folded = flipped[:, 12:48]  # level 3: the two columns of each position change places
    flipped[:, 12:48] = folded.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
    return flipped


def mirrored_pictures(inputs: torch.Tensor) -> torch.Tensor:
    """Mirrored photos, [N, 3, S, S]."""
    return inputs.flip(-1)


Read = Callable[[Path], Iterator[tuple[torch.Tensor, int]]]
Change = Callable[[torch.Tensor], torch.Tensor]


def gather(archive: Path, read: Read, prepare: Change) -> Labelled:
    """Read an archive twice: once to see and compile all, once against the clock."""
    samples = [(prepare(tensor), label) for tensor, label in read(archive)]
    start = time.process_time()
    for _ in read(archive):
        pass
    seconds = time.process_time() - start
    blobs = (sample["layers"] for sample in LayerDataset(archive, output="bytes", seed=None))
    size = sum(len(blob) for layers in blobs for blob in layers)
    return Labelled(
        torch.stack([tensor for tensor, _ in samples]),
        torch.tensor([label for _, label in samples]),
        len(samples) / seconds,
        size / len(samples),
    )


def network(channels: int, side: int) -> nn.Module:
    """The trunk on 16 x 16 positions; pictures get a stem that takes them there."""
    steps: list[nn.Module] = []
    while side > GRID:
        steps += [nn.Conv2d(channels, WIDTH, 3, 2, 1), nn.BatchNorm2d(WIDTH), nn.ReLU()]
        channels, side = WIDTH, side // 2
    for stride in (1, 2, 2):
        steps += [nn.Conv2d(channels, WIDTH, 3, stride, 1), nn.BatchNorm2d(WIDTH), nn.ReLU()]
        channels = WIDTH
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(WIDTH, len(GROUPS))]
    return nn.Sequential(*steps, *pool)


def train(inputs: torch.Tensor, labels: torch.Tensor, mirrored: Change, seed: int) -> nn.Module:
    """Train from scratch; half of what is shown is mirrored."""
    torch.manual_seed(seed)
    net = network(inputs.shape[1], inputs.shape[2]).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    steps = EPOCHS * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels)).split(BATCH):
            seen = inputs[batch]
            turned = torch.rand(len(batch)) < 0.5
            seen[turned] = mirrored(seen[turned])
            loss = functional.cross_entropy(net(seen), labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.inference_mode()
def right(net: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> int:
    """How many are told right."""
    return int((net(inputs).argmax(1) == labels).sum())


def cross_validated(
    data: Labelled, mirrored: Change, folds: int, seeds: int
) -> tuple[float, float]:
    """Mean accuracy of classifiers on photos they never saw, and its deviation over seeds."""
    fold = torch.arange(len(data.labels)) % folds
    accuracies = []
    for seed in range(seeds):
        correct = 0
        for held_out in range(folds):
            known, asked = fold != held_out, fold == held_out
            net = train(data.inputs[known], data.labels[known], mirrored, seed)
            correct += right(net, data.inputs[asked], data.labels[asked])
        accuracies.append(correct / len(data.labels))
    return float(np.mean(accuracies)), float(np.std(accuracies))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for the two archives")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    photos = labelled_photos(chosen.photos)
    if not (chosen.work / "avif").exists():
        write_archives(photos, chosen.work, chosen.layers)
    counts = np.bincount([label for _, label in photos], minlength=len(GROUPS))
    print(f"{len(photos)} photos of {len(GROUPS)} classes; the largest has {max(counts)}")
    print(f"{'':24}{'bytes':>8}{'images/s':>10}{'accuracy':>10}{'spread':>8}")
    kinds: tuple[tuple[str, str, Read, Change, Change], ...] = (
        ("layers", f"{chosen.layers} layers, latents", read_latents, prepared_latents,
         mirrored_latents),
        ("avif", "AVIF pictures", read_avif, prepared_picture, mirrored_pictures),
    )  # fmt: skip
    for kind, name, read, prepare, mirrored in kinds:
        data = gather(chosen.work / kind, read, prepare)
        accuracy, spread = cross_validated(data, mirrored, chosen.folds, chosen.seeds)
        print(
            f"{name:24}{data.bytes_an_image:8.0f}{data.images_a_second:10.0f}"
            f"{100 * accuracy:9.1f}%{100 * spread:7.1f}%",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
