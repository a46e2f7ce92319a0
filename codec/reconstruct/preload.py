"""Loading of the compiled functions ahead of their use; on a new machine, their compilation.

`load_kernels` is for processes that fork. A process that loads a compiled function registers its
unwind tables under a lock of the C runtime. A thread that ends takes the same lock; if another
thread forks the process just then, the lock stays taken in the child for ever, and the first
function that the child loads waits for it. So whatever forked workers call is loaded before the
fork; they share its memory, too.

`compile_ahead` is for commands that start several worker processes. Without it, each would compile
the same functions, and say nothing.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from underpaint.codec.runtime import compilation
from underpaint.codec.runtime.child_process import child, python_command
from underpaint.codec.runtime.parent_watch import end_with_parent
from underpaint.codec.storage.download import cache_folder

_SIDE = 64
"""Sides in pixels of the picture that is coded to call all functions."""


@dataclass(frozen=True)
class Group:
    """Functions that have been loaded: the number of them that were compiled, and the seconds."""

    name: str
    compiled: int
    seconds: float


@cache
def load_kernels() -> None:
    """Load all compiled functions of encoding and decoding on a CPU, once in a process.

    It takes half a second where they are cached.
    """
    for _ in load_groups():
        pass


def load_groups() -> Iterator[Group]:
    """Load the compiled functions group by group, by calling what uses them."""
    import numpy as np

    from underpaint.codec.codec import Codec
    from underpaint.codec.transform.prediction_rows import DetailPredictor
    from underpaint.codec.transform.prediction_shape import PredictionShape
    from underpaint.codec.transform.subbands import COMPONENTS

    codec = Codec.load("fidelity")  # rotates colours
    stripes = np.indices((_SIDE, _SIDE)).sum(0) // 4 % 2
    orange = (stripes[..., None] * np.array([255, 128, 0])).astype(np.uint8)
    pixel = orange[:1, :1].copy()  # of one position: numba compiles for its array layouts as well
    streams: list[Sequence[bytes]] = []

    def encode() -> None:
        for stream in codec.encode([orange, pixel]):
            streams.extend((stream[:1], stream))

    def check() -> None:
        for stream in streams:
            codec.check(stream)

    def predict() -> None:  # for weights with a learned lifting step
        shape = PredictionShape(widths=(1,), states=1)
        parameters = {n: np.zeros(size, np.float16) for n, size in shape.parameters().items()}
        DetailPredictor(shape, parameters, 1).details(1, np.zeros((COMPONENTS, 1, 1), np.float32))

    steps: dict[str, Callable[[], object]] = {
        "encoding": encode,
        "entropy decoding": check,
        "latents": lambda: codec.latents(streams, levels=4),
        "predicted details": predict,
        "pictures": lambda: codec.decode(streams, refine=False),
        "small pictures": lambda: codec.decode(streams, shrink=2, refine=False),
        "refined pictures": lambda: codec.decode(streams),
        "pictures with texture": lambda: codec.decode(streams, texture=1),
    }
    for name, step in steps.items():
        start, before = time.perf_counter(), compilation.functions_compiled()
        step()
        compiled = compilation.functions_compiled() - before
        yield Group(name, compiled, time.perf_counter() - start)


def compile_ahead() -> None:
    """Compile what is not cached, in a child process that prints notices on standard error.

    After the first call on a machine it takes no time: a mark in the cache folder tells. Where
    numba has no cache, it only says so.
    """
    if not _is_marked():
        with child(python_command(__name__)) as running:
            running.wait()


def numba_folder() -> Path | None:
    """Return the folder in which numba keeps one of the functions; None if it keeps none."""
    from underpaint.codec.runtime.jit import unsigned

    folder = unsigned.stats.cache_path  # type: ignore[attr-defined]
    return Path(folder) if folder else None


def mark_as_cached() -> None:
    """Record that all functions are cached: for these sources, this numba and this processor."""
    folder = numba_folder()
    if folder:
        with suppress(OSError):  # no writable home: the next job looks again
            _mark().parent.mkdir(parents=True, exist_ok=True)
            _mark().write_text(json.dumps({"folder": str(folder), "files": _files(folder)}))


def _is_marked() -> bool:
    """Tell whether all functions were cached and numba's folder still has its files."""
    try:
        marked = json.loads(_mark().read_text())
        return 0 < marked["files"] <= _files(Path(marked["folder"]))
    except (OSError, ValueError, KeyError):
        return False


def _files(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.nbi"))


def _mark() -> Path:
    """Return the path of the mark; its name changes with whatever numba compiles for."""
    package = Path(__file__).parents[1]
    seen = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        status = path.stat()
        seen.update(f"{path} {status.st_mtime_ns} {status.st_size}\n".encode())
    versions = (sys.version, metadata.version("numba"), metadata.version("llvmlite"))
    seen.update(repr((versions, platform.machine(), _processor())).encode())
    return cache_folder() / f"compiled-{seen.hexdigest()[:16]}.json"


def _processor() -> str:
    """Return what tells processors apart: code for one may not run on another."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return repr(sorted({line for line in lines if line.startswith("flags")}))
    return platform.processor()


def _main() -> None:
    if numba_folder() is None:  # nothing that this process compiles would help another
        print(f"compiling functions: {compilation.IN_MEMORY}", file=sys.stderr)
        return
    compilation.announce(sys.stderr)
    end_with_parent()
    load_kernels()
    mark_as_cached()


if __name__ == "__main__":
    _main()
