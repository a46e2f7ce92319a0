"""Speed of each codec on the same cores in the same run, in megapixels per second.

Every codec runs as in the conversion of a corpus: one process for each core, each with one thread
and its share of the photos in memory. Throughput is the number of all pixels over the time of the
slowest process. The codecs take turns for several rounds, of which the median counts, so that a
temporary slowdown of the machine affects all of them alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from queue import Empty
from typing import Any

import numpy as np

from underpaint.codec.errors import MeasurementFailed
from underpaint.codec.runtime.child_process import deaf_children
from underpaint.pipelines.evaluation.measurement import CODEC, load_codec, single_thread
from underpaint.pipelines.evaluation.peers import peer_named
from underpaint.pipelines.runners.worker import use_one_thread

ROUNDS = 3
BATCH = 8
"""Number of photos in one call of the codec."""

REPLY_SECONDS = 900


@dataclass(frozen=True)
class Speed:
    """Throughput of one codec at one setting over all processes, in megapixels per second."""

    name: str
    label: str
    bpp: float
    """Total bits over total pixels of the encoded photos."""
    encode: float
    decode: float


Setting = tuple[str, float]
"""A codec's name, and its quality or number of layers."""

Timed = tuple[str, float, str]
"""A setting and the name of an operation."""

Operation = Callable[[], int]
"""Processes the share of one process; returns the number of bytes written, or 0."""


def throughputs(
    photos: Sequence[np.ndarray],
    settings: Sequence[Setting],
    *,
    weights: str | None,
    workers: int,
    rounds: int = ROUNDS,
) -> dict[Timed, tuple[float, float]]:
    """Measure megapixels per second and total bits per pixel of each operation at each setting.

    A setting is a codec and its quality: ("avif", 44), or for `CODEC` a number of layers. The
    operations of a peer are "encode" and "decode"; the codec has also "check" (parsing and entropy
    decoding alone) and "latents" (decoding without synthesis).
    """
    use_one_thread()  # every library of the processes, before they load it
    context = get_context("spawn")
    workers = min(workers, len(photos))
    barrier = context.Barrier(workers)
    results = context.Queue()
    processes = [
        context.Process(
            target=_work,
            args=(share, list(settings), weights, rounds, barrier, results),
            daemon=True,
        )
        for share in _shares(photos, workers)
    ]
    with deaf_children():
        for process in processes:
            process.start()
    replies: list[dict[Timed, tuple[list[float], int]]] = []
    try:
        while len(replies) < workers:
            try:
                reply = results.get(timeout=1)
            except Empty:
                if any(process.exitcode not in (None, 0) for process in processes):
                    raise MeasurementFailed("a process of the speed measurement died") from None
                continue
            if isinstance(reply, str):
                raise MeasurementFailed(f"speed measurement: {reply}")
            replies.append(reply)
    finally:
        for process in processes:
            if len(replies) < workers:
                process.terminate()
            process.join()
    pixels = sum(photo.shape[0] * photo.shape[1] for photo in photos)
    return {
        key: (
            pixels
            / 1e6
            / statistics.median(
                max(reply[key][0][turn] for reply in replies) for turn in range(rounds)
            ),
            8 * sum(reply[key][1] for reply in replies) / pixels,
        )
        for key in replies[0]
    }


def speeds(
    photos: Sequence[np.ndarray],
    settings: Sequence[tuple[str, float, str]],
    *,
    weights: str | None,
    workers: int,
) -> list[Speed]:
    """Measure encoding and decoding speed of (name, quality, label) triples, in the given order."""
    found = throughputs(
        photos, [(name, q) for name, q, _ in settings], weights=weights, workers=workers
    )
    return [
        Speed(
            name=name,
            label=label,
            bpp=found[name, quality, "encode"][1],
            encode=found[name, quality, "encode"][0],
            decode=found[name, quality, "decode"][0],
        )
        for name, quality, label in settings
    ]


def _shares(photos: Sequence[np.ndarray], workers: int) -> list[list[np.ndarray]]:
    """Distribute photos so that shares have about equal numbers of pixels: the largest first."""
    shares: list[list[np.ndarray]] = [[] for _ in range(workers)]
    sizes = [0] * workers
    for photo in sorted(photos, key=lambda p: p.size, reverse=True):
        lightest = sizes.index(min(sizes))
        shares[lightest].append(photo)
        sizes[lightest] += photo.size
    return shares


def _work(
    share: list[np.ndarray],
    settings: list[Setting],
    weights: str | None,
    rounds: int,
    barrier: Barrier,
    results: Any,
) -> None:
    """Run every operation on the share of one process, started together with the others."""
    single_thread()
    try:
        prepared = {
            (name, quality, what): run
            for name, quality in settings
            for what, run in _operations(name, quality, share, weights).items()
        }
        seconds: dict[Timed, list[float]] = {key: [] for key in prepared}
        sizes = dict.fromkeys(prepared, 0)
        for _ in range(rounds):
            for key, run in prepared.items():
                barrier.wait(REPLY_SECONDS)
                start = time.perf_counter()
                sizes[key] = run()
                seconds[key].append(time.perf_counter() - start)
        results.put({key: (seconds[key], sizes[key]) for key in prepared})
    except Exception as error:
        barrier.abort()
        results.put(f"{type(error).__name__}: {error}")


def _operations(
    name: str, quality: float, share: list[np.ndarray], weights: str | None
) -> dict[str, Operation]:
    """Return the operations of a codec to time; each is run once, so that it is compiled."""
    if name == CODEC:
        return _codec_operations(share, int(quality), weights)
    peer = peer_named(name)
    files = [peer.encode(photo, quality) for photo in share]

    def encode() -> int:
        return sum(len(peer.encode(photo, quality)) for photo in share)

    def decode() -> int:
        for data in files:
            peer.decode(data)
        return 0

    decode()
    return {"encode": encode, "decode": decode}


def _codec_operations(
    share: list[np.ndarray], layers: int, weights: str | None
) -> dict[str, Operation]:
    codec = load_codec(weights)
    batches = [share[i : i + BATCH] for i in range(0, len(share), BATCH)]
    streams = [codec.encode(batch, layers=layers) for batch in batches]

    def encode() -> int:
        encoded = [one for batch in batches for one in codec.encode(batch, layers=layers)]
        return sum(len(layer) for one in encoded for layer in one)

    def decode() -> int:
        for batch in streams:
            codec.decode(batch)
        return 0

    def check() -> int:
        for batch in streams:
            for one in batch:
                codec.check(one)
        return 0

    def latents() -> int:
        for batch in streams:
            codec.latents(batch)
        return 0

    operations: dict[str, Operation] = {
        "encode": encode,
        "decode": decode,
        "check": check,
        "latents": latents,
    }
    for run in operations.values():
        run()
    return operations
