"""What the pipeline costs over a bare loop of the codec, and how it grows.

    python tests/faults/pipeline_cost.py PHOTOS --count 1000

Prints wall time, processor time and peak memory of: the codec alone on photos that lie decoded in
memory, in one thread; `pentimento encode` with one process, with two, and with a tenth of the
photos. On a machine that does other work, compare processor times.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import resource, sys, time
import torch
from codec import Codec
from codec.picture import read_picture
torch.set_num_threads(1)
codec = Codec.load()
pictures = [read_picture(open(path, "rb").read()).pixels for path in sys.stdin.read().splitlines()]
codec.encode(pictures[:1])
wall, used = time.monotonic(), time.process_time()
for first in range(0, len(pictures), 16):
    codec.encode(pictures[first : first + 16])
print(time.monotonic() - wall, time.process_time() - used, sum(p.size // 3 for p in pictures) / 1e6)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=1000, help="photos (default 1000)")
    arguments = parser.parse_args()
    found = sorted(p for p in arguments.photos.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    chosen = [found[number % len(found)] for number in range(arguments.count)]
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="pipeline-cost-") as scratch:
        for name, photos in (("all", chosen), ("tenth", chosen[::10])):
            Path(scratch, name).mkdir()
            for number, photo in enumerate(photos):
                shutil.copyfile(photo, Path(scratch, name, f"{number:05d}{photo.suffix}"))
        text = "\n".join(map(str, chosen))
        bare = subprocess.run(
            [sys.executable, "-c", BARE], input=text, capture_output=True, text=True, check=True
        )
        wall, used, pixels = map(float, bare.stdout.split())
        print(f"{len(chosen)} photos, {pixels:.1f} Mpx")
        print(f"bare loop            {wall:7.1f} s wall  {used:7.1f} s processor")
        one = run(scratch, "all", 1)
        two = run(scratch, "all", 2)
        tenth = run(scratch, "tenth", 1)
        print(f"one process / bare loop:  wall {one[0] / wall:.2f}  processor {one[1] / used:.2f}")
        print(f"one process / two:        wall {one[0] / two[0]:.2f}")
        print(f"all / a tenth of them:    wall {one[0] / tenth[0]:.2f}")
    return 0


def run(scratch: str, photos: str, workers: int) -> tuple[float, float]:
    """Encode with the command; wall and processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    output = Path(scratch, f"archive-{photos}-{workers}")
    command = [sys.executable, "-m", "pipelines.main", "encode", str(Path(scratch, photos))]
    command += ["--output", str(output), "--workers", str(workers)]
    subprocess.run(command, check=True, capture_output=True)
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{photos:5} {workers} process(es)  {wall:7.1f} s wall  {used:7.1f} s processor  "
        f"{after.ru_maxrss / 1024:.0f} MiB peak of one process",
        flush=True,
    )
    return wall, used


if __name__ == "__main__":
    sys.exit(main())
