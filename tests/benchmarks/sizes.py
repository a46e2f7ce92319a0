"""Measures pictures of a size: bytes, rate, and what cutting the layers costs.

python -m tests.benchmarks.sizes bytes PHOTOS... [--sizes N,N] [--url gs://…]
python -m tests.benchmarks.sizes rate PHOTOS... [--limit N]
python -m tests.benchmarks.sizes cost PHOTOS... [--tiles N]
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from tests.benchmarks.reading import JPEG_QUALITY, SHARDS, clocked, loader
from underpaint.codec.archive import Archive, ArchiveWriter, LayerDataset, Row, publish
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.bitstream import frames
from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.transform.sizes import DEFAULT_SIZES
from underpaint.pipelines.cli.console import sizes as parse_sizes
from underpaint.pipelines.cli.console import table
from underpaint.pipelines.evaluation.photos import Photo, find_photos

SMALL_QUALITY = 90
"""Quality of the JPEGs that hold photos scaled to the size that is wanted."""

SHRINK = 4
LAYERS = (4, 5)

Rows = list[tuple[str, ...]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.sizes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[[argparse.Namespace], Rows], text: str) -> Any:
        added = commands.add_parser(name, help=text)
        added.add_argument("photos", nargs="+")
        added.add_argument("--limit", type=int, help="at most N photos, evenly spread")
        added.set_defaults(run=run)
        return added

    stored = command("bytes", _bytes, "bytes fetched for each size over those of full pictures")
    stored.add_argument("--sizes", type=parse_sizes, default=DEFAULT_SIZES, metavar="N,N")
    stored.add_argument("--url", help="folder to write to (default: a temporary one)")
    rate = command("rate", _rate, "images a second at 1/4 of the sides beside WebDatasets of JPEGs")
    rate.add_argument("--repeat", type=int, default=4, help="copies of each photo")
    cost = command("cost", _cost, "bytes that cutting takes, at every prefix")
    cost.add_argument("--tiles", type=int, help="N tiles of 64 to 224 pixels instead of photos")
    try:
        chosen = parser.parse_args(arguments)
        print(table(chosen.run(chosen)))
    except UnderpaintError as error:
        print(f"sizes: {error}", file=sys.stderr)
        return 2
    return 0


def _write(root: str, photos: Sequence[np.ndarray], sizes: tuple[int, ...]) -> Archive:
    codec = Codec.load()
    with ArchiveWriter(
        root,
        "photos",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        sizes=(*sizes, FULL),
        row_group_bytes=64 << 10,
    ) as writer:
        for number, pixels in enumerate(photos):
            (stream,) = codec.encode([pixels], sizes=sizes)
            writer.add(Row(f"{number:06}", stream, pixels.shape[1], pixels.shape[0]))
    publish(root)
    return Archive.open(root)


def _bytes(arguments: argparse.Namespace) -> Rows:
    photos = [photo.read() for photo in find_photos(arguments.photos, arguments.limit)]
    rows: Rows = [("layers", "size", "parts", "fetched", "fetched / parts", "of full pictures")]
    with tempfile.TemporaryDirectory(prefix="underpaint-") as temporary:
        archive = _write(arguments.url or temporary, photos, arguments.sizes)
        by_size = np.cumsum(archive.statistics().size_bytes, 0)
        for layers in range(3, len(archive.layer_names) + 1):
            whole = int(by_size[-1, :layers].sum())
            for place, size in enumerate(archive.sizes):
                opened = Archive.open(archive.storage.root)
                for _ in opened.row_groups([], layers=layers, size=size or None):
                    pass
                parts, fetched = int(by_size[place, :layers].sum()), opened.traffic.fetched
                rows.append(
                    (
                        str(layers), str(size or "full"), f"{parts:,}", f"{fetched:,}",
                        f"{fetched / parts:.3f}", f"{fetched / whole:.3f}",
                    )
                )  # fmt: skip
    return rows


class SmallJpegTars(IterableDataset[dict[str, Any]]):
    """Tar shards of JPEGs, decoded by Pillow to pictures of 1/4 of the sides."""

    def __init__(self, tars: Sequence[str], *, scaled: bool) -> None:
        self._tars, self._scaled = tars, scaled

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Pictures as uint8 [3, H, W]."""
        import webdataset

        for sample in webdataset.WebDataset(list(self._tars), shardshuffle=False):
            picture: Image.Image = Image.open(io.BytesIO(sample["jpg"]))
            if not self._scaled:
                sides = -(-picture.width // SHRINK), -(-picture.height // SHRINK)
                picture.draft("RGB", sides)
                picture = picture.convert("RGB").resize(sides, Image.Resampling.BICUBIC)
            pixels = np.asarray(picture.convert("RGB"))
            yield {"image": torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()}


def _rate(arguments: argparse.Namespace) -> Rows:
    photos = find_photos(arguments.photos, arguments.limit)
    read = [
        pixels for pixels in map(Photo.read, photos) if pixels.shape[0] * pixels.shape[1] >= 10**6
    ]
    torch.set_num_threads(1)
    rows: Rows = [("read", "bytes", "images/s", "CPU ms", "over originals", "over scaled")]
    with tempfile.TemporaryDirectory(prefix="underpaint-") as temporary:
        folder = Path(temporary)
        sizes = (-(-min(min(p.shape[:2]) for p in read) // SHRINK),)
        copies = [pixels for pixels in read for _ in range(arguments.repeat)]
        archive = _write(str(folder / "archive"), copies, sizes)
        images = len(copies)
        rates, times, counts = {}, {}, {}
        for name, scaled in (("original JPEGs", False), ("scaled JPEGs", True)):
            tars, counts[name] = _write_tars(folder / name, copies, scaled=scaled)
            jpegs = loader(SmallJpegTars(tars, scaled=scaled), 0)
            rates[name], times[name] = clocked(jpegs, images)
        for layers in LAYERS:
            name = f"{layers} layers"
            dataset = LayerDataset(
                archive.storage.root, layers=layers, size=sizes[0], output="image",
                window_bytes=1 << 20,
            )  # fmt: skip
            rates[name], times[name] = clocked(loader(dataset, 0), images)
            counts[name] = dataset.traffic.fetched
    for name, rate in rates.items():
        over = [
            f"{rate / rates[peer]:.2f} x rate, {counts[name] / counts[peer]:.3f} x bytes"
            for peer in ("original JPEGs", "scaled JPEGs")
        ]
        rows.append((name, f"{counts[name]:,}", f"{rate:.1f}", f"{times[name]:.2f}", *over))
    return rows


def _write_tars(
    folder: Path, photos: Sequence[np.ndarray], *, scaled: bool
) -> tuple[list[str], int]:
    """Write shards of JPEGs; return their paths and the bytes of the pictures."""
    folder.mkdir()
    total = 0
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(shard, len(photos), SHARDS):
                picture = Image.fromarray(photos[number])
                if scaled:
                    sides = -(-picture.width // SHRINK), -(-picture.height // SHRINK)
                    picture = picture.resize(sides, Image.Resampling.LANCZOS)
                out = io.BytesIO()
                picture.save(out, "JPEG", quality=SMALL_QUALITY if scaled else JPEG_QUALITY)
                info = tarfile.TarInfo(f"{number:06}.jpg")
                info.size = len(out.getvalue())
                total += info.size
                tar.addfile(info, io.BytesIO(out.getvalue()))
    return sorted(map(str, folder.glob("*.tar"))), total


def _cost(arguments: argparse.Namespace) -> Rows:
    """Bytes of cut streams over uncut ones at every prefix: mean, greatest, and above the bound."""
    codec = Codec.load()
    photos = [photo.read() for photo in find_photos(arguments.photos, arguments.limit)]
    pictures = list(_tiles(photos, arguments.tiles)) if arguments.tiles else photos
    rows: Rows = [("layers", "bytes", "parts", "mean", "greatest", "over 1 % and 4 bytes a part")]
    found = []
    for pixels in pictures:
        short = min(pixels.shape[:2])
        sizes = tuple(-(-short // shrink) for shrink in (8, 4, 2))
        (cut,), (whole,) = (codec.encode([pixels], sizes=s) for s in (sizes, ()))
        found.append(
            [
                (len(c), len(w), len(list(frames(cut[: n + 1]))))
                for n, (c, w) in enumerate(zip(cut, whole, strict=True))
            ]
        )
    lengths = np.array(found)
    sums = np.cumsum(lengths[..., :2], 1)
    for layer in range(lengths.shape[1]):
        cut, whole, parts = sums[:, layer, 0], sums[:, layer, 1], lengths[:, layer, 2]
        over = cut - whole > np.maximum(0.01 * whole, 4 * parts)
        mean, greatest = 100 * (cut.sum() / whole.sum() - 1), 100 * (cut / whole - 1).max()
        row = f"1 to {layer + 1}", f"{whole.sum():,}", f"{parts.mean():.1f}"
        rows.append(
            (*row, f"{mean:.2f} %", f"{greatest:.2f} %", f"{over.sum():,} of {len(over):,}")
        )
    return rows


def _tiles(photos: Sequence[np.ndarray], count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        photo = photos[rng.integers(len(photos))]
        sides = [int(rng.integers(64, min(224, side) + 1)) for side in photo.shape[:2]]
        top, left = (
            int(rng.integers(s - n + 1)) for s, n in zip(photo.shape[:2], sides, strict=True)
        )
        yield photo[top : top + sides[0], left : left + sides[1]]


if __name__ == "__main__":
    sys.exit(main())
