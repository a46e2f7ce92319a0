"""Measures how archives are read in training: rate, bytes fetched and memory.

python -m tests.benchmarks.reading rate PHOTOS... [--limit N] [--workers N]
python -m tests.benchmarks.reading exact [--rows N] [--url gs://…]
python -m tests.benchmarks.reading memory [--rows N] [--shuffle windows|full]

`rate` reads JPEGs, bytes and refined pictures with N workers of a DataLoader; latents and plain
pictures, which need compiled code only, with N threads of one process.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from tests.helpers.streams import framed
from underpaint.codec.archive import Archive, ArchiveWriter, LayerDataset, Row, publish
from underpaint.codec.archive.torch.options import Output
from underpaint.codec.bitstream import PictureHeader
from underpaint.codec.codec import Codec
from underpaint.codec.errors import UnderpaintError, UsageError
from underpaint.codec.metrics import psnr
from underpaint.pipelines.evaluation.photos import Photo, find_photos

JPEG_QUALITY = 85
SHARDS = 4
JUDGED = 24
"""Most photos whose pictures with and without the network are compared."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.reading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    rate = commands.add_parser("rate", help="images a second beside a WebDataset of JPEGs")
    rate.add_argument("photos", nargs="+")
    rate.add_argument("--limit", type=int, default=200)
    rate.add_argument("--repeat", type=int, default=5, help="copies of each photo")
    rate.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1,
        help="processes of each loader, or threads; 0 to measure CPU time too (default: all cores)",
    )  # fmt: skip
    rate.add_argument("--device", default="cpu")
    rate.set_defaults(run=_rate)
    exact = commands.add_parser("exact", help="bytes fetched over bytes wanted")
    exact.add_argument("--rows", type=int, default=20_000)
    exact.add_argument("--url", help="folder to write to (default: a temporary one)")
    exact.set_defaults(run=_exact)
    memory = commands.add_parser("memory", help="memory over an epoch of synthetic rows")
    memory.add_argument("--rows", type=int, default=200_000)
    memory.add_argument("--shuffle", choices=["windows", "full"], default="windows")
    memory.set_defaults(run=_memory)
    try:
        chosen = parser.parse_args(arguments)
        for name, value, unit in chosen.run(chosen):
            print(f"{name:<52} {value:>12,.3f} {unit}".rstrip(), flush=True)
    except UnderpaintError as error:
        print(f"reading: {error}", file=sys.stderr)
        return 2
    return 0


Figure = tuple[str, float, str]


def _rate(arguments: argparse.Namespace) -> Iterator[Figure]:
    photos = find_photos(arguments.photos, arguments.limit)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="underpaint-") as temporary:
        folder = Path(temporary)
        images, pixels = _write_both(photos, folder, arguments.repeat)
        yield "images", images, ""
        yield "mean size", pixels / images / 1e6, "Mpx"
        tars = sorted(str(path) for path in folder.glob("*.tar"))
        layers = len(Archive.open(folder / "archive").layer_names)
        workers = arguments.workers
        jpeg, jpeg_cpu = clocked(loader(JpegTars(tars), workers), images)
        yield f"WebDataset of JPEGs, Pillow, {workers} workers", jpeg, "images/s"
        kinds: tuple[tuple[Output, int, bool], ...] = (
            ("bytes", 1, False),
            ("bytes", layers, False),
            ("latent", 1, False),
            ("latent", 2, False),
            ("latent", layers, False),
            ("image", 1, True),
            ("image", 1, False),
            ("image", layers, True),
            ("image", layers, False),
        )
        for output, count, refine in kinds:
            dataset = LayerDataset(
                folder / "archive",
                layers=count,
                output=output,
                window_bytes=1 << 20,
                device=arguments.device,
                refine=refine,
            )
            plain = output == "image" and not refine
            how = f"{output}, {count} of {layers} layers" + (", unrefined" if plain else "")
            if output == "latent" or plain:  # compiled code alone: threads share it well
                torch.set_num_threads(max(workers, 1))
                speed, cpu = clocked(loader(dataset, 0), images)
                torch.set_num_threads(1)
            else:
                speed, cpu = clocked(loader(dataset, workers), images)
            yield how, speed, "images/s"
            yield f"{how}, over JPEG", speed / jpeg, "times"
            if not workers:
                yield f"{how}, CPU time", cpu, "ms an image"
                yield f"{how}, over JPEG in CPU time", jpeg_cpu / cpu, "times"
        yield from _worth_of_the_network(photos[:: -(-len(photos) // JUDGED)])


def _worth_of_the_network(photos: Sequence[Photo]) -> Iterator[Figure]:
    """What pictures of each number of layers lose where the network is left out."""
    codec = Codec.load()
    read = [photo.read() for photo in photos]
    streams = codec.encode(read)
    for layers in range(1, codec.layers + 1):
        lost = 0.0
        for pixels, stream in zip(read, streams, strict=True):
            refined, plain = (
                codec.decode([stream[:layers]], refine=refine)[0] for refine in (True, False)
            )
            lost += psnr(pixels, refined) - psnr(pixels, plain)
        yield f"unrefined, {layers} of {codec.layers} layers, loses", lost / len(read), "dB"


class JpegTars(IterableDataset[dict[str, Any]]):
    """Tar shards of JPEGs, which webdataset deals to workers, decoded by Pillow."""

    def __init__(self, tars: Sequence[str]) -> None:
        self._tars = tars

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Pictures as uint8 [3, H, W]."""
        import webdataset

        for sample in webdataset.WebDataset(list(self._tars), shardshuffle=False):
            picture = np.asarray(Image.open(io.BytesIO(sample["jpg"])).convert("RGB"))
            yield {"image": torch.from_numpy(picture.copy()).permute(2, 0, 1).contiguous()}


def _write_both(photos: Sequence[Photo], folder: Path, repeat: int) -> tuple[int, int]:
    codec = Codec.load()
    tars = [tarfile.open(folder / f"{n}.tar", "w") for n in range(SHARDS)]  # noqa: SIM115
    number = pixels_sum = 0
    with ArchiveWriter(
        folder / "archive",
        "photos",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        row_group_bytes=64 << 10,
    ) as writer:
        for photo in photos:
            pixels = photo.read()
            (stream,) = codec.encode([pixels])
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "JPEG", quality=JPEG_QUALITY)
            for _ in range(repeat):
                height, width, _ = pixels.shape
                writer.add(Row(f"{number:06}", stream, width, height))
                info = tarfile.TarInfo(f"{number:06}.jpg")
                info.size = len(out.getvalue())
                tars[number % SHARDS].addfile(info, io.BytesIO(out.getvalue()))
                number += 1
                pixels_sum += height * width
    for tar in tars:
        tar.close()
    publish(str(folder / "archive"))
    return number, pixels_sum


def loader(dataset: IterableDataset[Any], workers: int) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=None, num_workers=workers)


def clocked(samples: Iterable[Any], images: int) -> tuple[float, float]:
    """Return the images a second, and the milliseconds of this process's CPU time an image.

    Both are measured from the second tenth on: workers start and compile in the first.
    """
    coming = iter(samples)
    first = max(1, images // 10)
    for _ in itertools.islice(coming, first):
        pass
    begin, cpu = time.perf_counter(), time.process_time()
    rest = sum(1 for _ in coming)
    if first + rest != images:
        raise UsageError(f"{first + rest} images came of {images}")
    cpu = time.process_time() - cpu
    return rest / (time.perf_counter() - begin), 1e3 * cpu / rest


def _exact(arguments: argparse.Namespace) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="underpaint-") as temporary:
        folder = Path(temporary)
        root = arguments.url or str(folder)
        _write_noise(root, arguments.rows, coarse=2_000, fine=6_000)
        for layers in (1, 2):
            dataset = LayerDataset(root, layers=layers, output="bytes")
            begin = time.perf_counter()
            read = sum(len(blob) for sample in dataset for blob in sample["layers"])
            speed = read / 1e6 / (time.perf_counter() - begin)
            traffic = dataset.traffic
            yield f"{layers} of 2 layers: blobs", read / 1e6, "MB"
            yield f"{layers} of 2 layers: fetched", traffic.fetched / 1e6, "MB"
            yield f"{layers} of 2 layers: fetched / blobs", traffic.fetched / read, ""
            yield f"{layers} of 2 layers: fetched / wanted", traffic.ratio, ""
            yield f"{layers} of 2 layers: requests", traffic.requests, ""
            yield f"{layers} of 2 layers: speed", speed, "MB/s"


def _memory(arguments: argparse.Namespace) -> Iterator[Figure]:
    process = psutil.Process()
    with tempfile.TemporaryDirectory(prefix="underpaint-") as temporary:
        folder = Path(temporary)
        _write_noise(str(folder), arguments.rows, coarse=2_000, fine=4_000)
        for layers in (1, 2):
            dataset = LayerDataset(folder, layers=layers, output="bytes", shuffle=arguments.shuffle)
            start = process.memory_info().rss
            most = [start] * 4  # in each quarter of the epoch
            begin = time.perf_counter()
            for number, _ in enumerate(dataset):
                if number % 500 == 0:
                    quarter = 4 * number // arguments.rows
                    most[quarter] = max(most[quarter], process.memory_info().rss)
            speed = arguments.rows / (time.perf_counter() - begin)
            traffic = dataset.traffic
            yield f"{layers} of 2 layers: rate", speed, "images/s"
            yield f"{layers} of 2 layers: fetched / wanted", traffic.ratio, ""
            yield f"{layers} of 2 layers: requests an image", traffic.requests / arguments.rows, ""
            yield f"{layers} of 2 layers: level at the start", start / 1e6, "MB"
            for quarter, level in enumerate(most, 1):
                name = f"{layers} of 2 layers: most above it, quarter {quarter}"
                yield name, (level - start) / 1e6, "MB"


def _write_noise(root: str, rows: int, *, coarse: int, fine: int) -> None:
    noise = np.random.default_rng(0).bytes(4 * (coarse + fine) + (1 << 20))
    unit_rows = 10_000
    for first in range(0, rows, unit_rows):
        with ArchiveWriter(
            root, f"unit-{first:09}", layers=("coarse", "fine"), weights_id="0" * 16
        ) as writer:
            for index in range(first, min(first + unit_rows, rows)):
                at = index * 7919 % (1 << 20)
                end = at + coarse + index % 101 - 50
                whole = at, end - (end - at) % 4, end - (end - at) % 4 + fine
                header = PictureHeader(512, 512, "0" * 16)
                blobs = framed([noise[s:e] for s, e in pairwise(whole)], header)
                writer.add(
                    Row(f"{index:09}.jpg", tuple(blobs), 512, 512, source_uri="file:///none")
                )
    publish(root)


if __name__ == "__main__":
    sys.exit(main())
