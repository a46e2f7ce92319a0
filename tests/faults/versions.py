"""Decode the conformance vectors under two sets of versions, with 1 and with 2 threads.

    python tests/faults/versions.py --other numpy==2.2.6 --other torch==2.12.0

Makes a virtual environment with the other versions (some gigabytes: only the pinned torch is there
without libraries for GPUs), or takes a Python that has them (--python). Prints what each came to:
the symbols of every prefix of every vector must be those that the vector states. Exit status 0 if
they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"

NEEDED = ("fsspec", "numba", "numpy", "pillow", "pyarrow", "safetensors", "torch")
"""What reading streams needs; versions as here where no other is asked for."""


def check(threads: int) -> dict[str, object]:
    """Decode all prefixes of all vectors in this process; versions, how many agree, one digest.

    The pictures of one batch are decoded side by side in as many threads.
    """
    import numpy as np
    import torch

    from underpaint import Codec
    from underpaint.codec.bitstream import picture_header
    from underpaint.codec.runtime.threads import in_threads
    from underpaint.codec.transform.subbands import BANDS, geometry, view

    torch.set_num_threads(threads)
    codec = Codec.load()
    jobs: list[tuple[list[bytes], str]] = []
    for path in sorted(GOLDEN.glob("*.json")):
        vector = json.loads(path.read_text("utf-8"))
        ends = np.cumsum(vector["layer_bytes"])
        joined = path.with_suffix(".underpaint").read_bytes()
        layers = [joined[e - n : e] for n, e in zip(vector["layer_bytes"], ends, strict=True)]
        jobs += [(layers[: n + 1], digest) for n, digest in enumerate(vector["symbols"])]

    def digest(job: tuple[list[bytes], str]) -> tuple[str, str]:
        turn, *maps, cells = codec.symbols(job[0])
        header = picture_header(job[0])
        layout = geometry(header.height, header.width)
        found = hashlib.sha256()
        for array in (turn, *maps, *(view(cells, layout, band) for band in range(BANDS))):
            found.update(array.astype("<i2").tobytes())
        return found.hexdigest(), job[1]

    results = in_threads(digest, jobs)
    return {
        "versions": {name: metadata.version(name) for name in ("numpy", "torch", "numba")},
        "threads": torch.get_num_threads(),
        "prefixes": len(results),
        "agree": sum(found == stated for found, stated in results),
        "digest": hashlib.sha256("".join(found for found, _ in results).encode()).hexdigest()[:16],
    }


def ask(python: str, threads: int) -> dict[str, object]:
    """What `check` says in another process."""
    with tempfile.TemporaryDirectory(prefix="versions-") as cache:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [python, __file__, "--check", str(threads)],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{python}: {(done.stderr.splitlines() or ['failed'])[-1]}")
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def install(folder: str, others: list[str]) -> str:
    """Make a virtual environment; its Python. SystemExit where that cannot be."""
    venv.create(folder, with_pip=True)
    python = f"{folder}/bin/python"
    asked = {text.split("==")[0] for text in others}
    same = [f"{name}=={metadata.version(name)}" for name in NEEDED if name not in asked]
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *others, *same], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise SystemExit(f"{' '.join(others)}: {(said or ['cannot be installed'])[-1]}")
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", action="append", default=[], metavar="NAME==VERSION")
    parser.add_argument("--python", help="a Python that has other versions already")
    parser.add_argument("--check", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.check:
        print(json.dumps(check(arguments.check)))
        return 0
    if not arguments.other and not arguments.python:
        parser.error("name other versions (--other) or a Python that has them (--python)")
    with tempfile.TemporaryDirectory(prefix="versions-") as scratch:
        other = arguments.python or install(scratch, arguments.other)
        answers = [ask(python, threads) for python in (sys.executable, other) for threads in (1, 2)]
    for answer in answers:
        versions = ", ".join(f"{name} {found}" for name, found in answer["versions"].items())  # type: ignore[attr-defined]
        print(
            f"{versions}, threads {answer['threads']}: {answer['agree']} of {answer['prefixes']} "
            f"prefixes as stated, digest {answer['digest']}"
        )
    equal = len({answer["digest"] for answer in answers}) == 1
    stated = all(answer["agree"] == answer["prefixes"] for answer in answers)
    print("all equal" if equal and stated else "NOT all equal")
    return int(not (equal and stated))


if __name__ == "__main__":
    sys.exit(main())
