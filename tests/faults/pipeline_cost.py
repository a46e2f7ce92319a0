"""What the pipeline costs over a bare loop of the codec, and how it grows.

    python tests/faults/pipeline_cost.py PHOTOS --count 4000 --grown 10 --repeats 2

A bare loop of the codec on the same photos in memory: their files lie in memory as bytes, and one
process with one thread goes from bytes to pixels (`read_picture`) to layers (`Codec.encode`, 16
photos a call), which it drops; imports, weights and a first photo are over before the clock starts.
The pipeline is the whole command, from its start to its exit: it imports, lists, plans, reads
files, hashes, decodes in a helper process, encodes, writes, syncs and publishes.

Measured are the bare loop, `underpaint encode` with one process and with two, and with one process
`--grown` times as many photos (the same ones under other names). A folder of fewer photos than
`--count` is gone through again. Each is run `--repeats` times, in turns, the grown one once and
last, and the least wall time and the least processor time of all its processes count: others' work
on the machine can only add to them. Ratios of processor time are told beside those of wall time;
where the machine is not idle they are the ones to look at. Peak memory is that of the worker that
held most, and of the driver (with one process they are the same), as `job.json` tells it; of
several runs the most counts.

A job's start and end take some seconds, mostly for imports; the count should make them a small part
of the whole, as they are of a corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from underpaint.codec.image_io.read import PICTURE_SUFFIXES

BARE = """
import sys, time
import torch
from underpaint import Codec
from underpaint.codec.image_io.read import read_picture
torch.set_num_threads(1)
torch.set_flush_denormal(True)
codec = Codec.load()
files = [open(path, "rb").read() for path in sys.stdin.read().splitlines()]
codec.encode([read_picture(files[0]).pixels])
pixels = 0
wall, used = time.monotonic(), time.process_time()
for first in range(0, len(files), 16):
    pictures = [read_picture(data).pixels for data in files[first : first + 16]]
    codec.encode(pictures)
    pixels += sum(picture.size // 3 for picture in pictures)
print(time.monotonic() - wall, time.process_time() - used, pixels)
"""


@dataclass(frozen=True)
class Cost:
    """Of one run, or the least of several."""

    wall: float
    """Seconds."""
    used: float
    """Seconds of processors, of all processes."""
    worker: int = 0
    driver: int = 0
    """Peak memory of both, in bytes."""

    def least(self, other: Cost | None) -> Cost:
        """The lower one in times, the higher one in memory."""
        if other is None:
            return self
        return Cost(
            min(self.wall, other.wall),
            min(self.used, other.used),
            max(self.worker, other.worker),
            max(self.driver, other.driver),
        )

    def over(self, other: Cost) -> str:
        """Both ratios."""
        return f"wall {self.wall / other.wall:5.2f}   processor {self.used / other.used:5.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=4000, help="photos (default 4000)")
    parser.add_argument("--grown", type=int, default=10, help="times the photos (default 10)")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each (default 2)")
    parser.add_argument("--only", default="bare,one,two,grown", help="which, by commas")
    arguments = parser.parse_args()
    found = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    chosen = [found[number % len(found)] for number in range(arguments.count)]
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    wanted = arguments.only.split(",")
    best: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory(prefix="pipeline-cost-") as scratch:
        photos = prepare(Path(scratch, "once"), chosen)
        prepare(Path(scratch, "few"), photos[:16])
        run(scratch, "few", 1)  # compiles what is compiled
        turns = [name for name in wanted if name != "grown"] * arguments.repeats
        if "grown" in wanted:
            prepare(Path(scratch, "grown"), photos * arguments.grown)
            turns.append("grown")
        for name in turns:
            if name == "bare":
                cost = bare(photos)
            else:
                cost = run(scratch, "grown" if name == "grown" else "once", 1 + (name == "two"))
            best[name] = cost.least(best.get(name))
            print(line(name, cost), flush=True)
    print(f"\n{arguments.count} photos; the least of {arguments.repeats} runs each, of one grown:")
    for name, cost in best.items():
        print(line(name, cost))
    if {"one", "bare"} <= best.keys():
        print(f"one process / bare loop         {best['one'].over(best['bare'])}   (most 1.15)")
    if {"one", "two"} <= best.keys():
        print(f"one process / two processes     {best['one'].over(best['two'])}   (least 1.7)")
    if {"one", "grown"} <= best.keys():
        one, grown = best["one"], best["grown"]
        print(f"{arguments.grown} times the photos / once     {grown.over(one)}   (9.5 to 10.5)")
        start = (one.wall * arguments.grown - grown.wall) / (arguments.grown - 1)
        print(f"so {start:.1f} s of one run are start and end, whatever the number of photos")
        print(f"peak memory of both             {grown.worker / one.worker:10.2f}")
    return 0


def line(name: str, cost: Cost) -> str:
    memory = f"   peak {cost.worker >> 20} MiB worker {cost.driver >> 20} MiB driver"
    shown = f"{name:6} {cost.wall:8.2f} s wall {cost.used:8.2f} s processor"
    return shown + (memory if cost.worker else "")


def prepare(folder: Path, photos: list[Path]) -> list[Path]:
    """Links (copies, from another disk) under names of their own."""
    folder.mkdir()
    named = [folder / f"{number:06d}{photo.suffix.lower()}" for number, photo in enumerate(photos)]
    for photo, name in zip(photos, named, strict=True):
        link(photo, name)
    return named


def link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def bare(photos: list[Path]) -> Cost:
    """The codec alone."""
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        input="\n".join(map(str, photos)),
        capture_output=True,
        text=True,
        check=True,
    )
    wall, used, _ = map(float, done.stdout.split())
    return Cost(wall, used)


def run(scratch: str, photos: str, workers: int) -> Cost:
    """Encode with the command, into a new archive."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    output = Path(scratch, f"archive-{time.monotonic_ns()}")
    command = [
        sys.executable,
        "-P",
        "-m",
        "underpaint",
        "encode",
        str(Path(scratch, photos)),
    ]
    command += ["--output", str(output), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True)
    wall = time.monotonic() - begin
    if done.returncode:
        raise SystemExit(f"pipeline_cost: {done.stderr.strip().splitlines()[-1]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads((output / "job.json").read_text())
    shutil.rmtree(output)
    return Cost(wall, used, report["counts"]["peak_memory"], report["driver_peak_memory"])


if __name__ == "__main__":
    sys.exit(main())
