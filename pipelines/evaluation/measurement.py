"""Bytes and scores of peers and of the codec, photo by photo.

Results of peers are cached in a folder, in one JSON file for each photo, named by a hash of its
pixels. Within it they are keyed by the peer's settings and version, then by quality. A new version
of Pillow or a changed setting is therefore measured again, and new weights of the codec do not
affect the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from underpaint import Codec
from underpaint.codec.errors import UsageError
from underpaint.codec.runtime.child_process import ProcessPool
from underpaint.pipelines.evaluation.peers import Peer, peer_named
from underpaint.pipelines.evaluation.photos import LeftOut, Photo, read_or_leave
from underpaint.pipelines.evaluation.scores import Score, scores_named
from underpaint.pipelines.runners.worker import use_one_thread


@dataclass(frozen=True)
class Measure:
    """Bytes and scores of one picture at one setting."""

    size: int
    """Bytes of the file, or of all layers that are read."""
    pixels: int
    scores: dict[str, float]
    """By the score's name, on its own scale (MS-SSIM 0..1)."""

    @property
    def bpp(self) -> float:
        """Bits per pixel."""
        return 8 * self.size / self.pixels


@dataclass(frozen=True)
class PhotoMeasures:
    """All measures of one photo: for each codec a list over its settings."""

    name: str
    ladders: dict[str, list[Measure]]
    """By name of the peer, or `CODEC` for the states of the codec, coarse to fine."""


CODEC = "underpaint"


def measure_photos(
    photos: Sequence[Photo],
    peers: Sequence[str],
    scores: Sequence[str],
    *,
    weights: str | None,
    effort: int,
    with_codec: bool,
    cache: Path | None,
    workers: int,
) -> Iterator[PhotoMeasures | LeftOut]:
    """Measure each photo with every peer and the codec; yields in the order of `photos`.

    A photo that cannot be read is left out, with the reason.

    `workers` processes share the photos; each runs in one thread, so scores are the same whatever
    their number. Raises the errors of `codec.errors`.
    """
    jobs = [
        (photo, tuple(peers), tuple(scores), weights, effort, with_codec, cache) for photo in photos
    ]
    if workers == 1:
        yield from map(_measure_photo, jobs)
        return
    use_one_thread()
    with ProcessPool(workers, single_thread) as pool:
        yield from pool.map(_measure_photo, jobs)


def single_thread() -> None:
    """Limit this process to one thread, as the peers are."""
    torch.set_num_threads(1)


Job = tuple[Photo, tuple[str, ...], tuple[str, ...], "str | None", int, bool, "Path | None"]


def _measure_photo(job: Job) -> PhotoMeasures | LeftOut:
    photo, peer_names, score_names, weights, effort, with_codec, cache = job
    pixels = read_or_leave(photo.name, photo.read)
    if isinstance(pixels, LeftOut):
        return pixels
    scores = scores_named(score_names)
    ladders: dict[str, list[Measure]] = {}
    if with_codec:
        ladders[CODEC] = measure_states(pixels, scores, weights, effort)
    store = PeerCache(cache, pixels)
    for name in peer_names:
        peer = peer_named(name)
        ladders[name] = [measure_peer(peer, q, pixels, scores, store) for q in peer.qualities]
        store.save()
    return PhotoMeasures(photo.name, ladders)


def measure_peer(
    peer: Peer, quality: float, pixels: np.ndarray, scores: Sequence[Score], store: PeerCache
) -> Measure:
    """Measure one quality of a peer on one photo, or take it from the store.

    Raises UsageError if the peer fails on the photo.
    """
    size, known = store.get(peer.key, quality)
    missing = [score for score in scores if score.name not in known]
    if missing:
        try:
            data = peer.encode(pixels, quality)
            decoded = peer.decode(data)
        except (OSError, ValueError, RuntimeError) as error:
            height, width = pixels.shape[:2]
            raise UsageError(f"{peer.label} fails on {width}x{height} pixels: {error}") from error
        size = len(data)
        known = known | {score.name: score.of_pictures(pixels, decoded) for score in missing}
        store.put(peer.key, quality, size, known)
    height, width = pixels.shape[:2]
    return Measure(size, height * width, {score.name: known[score.name] for score in scores})


def measure_states(
    pixels: np.ndarray, scores: Sequence[Score], weights: str | None, effort: int
) -> list[Measure]:
    """Measure every prefix of the layers of one photo, coarse to fine."""
    codec = load_codec(weights)
    (layers,) = codec.encode([pixels], effort=effort)
    height, width = pixels.shape[:2]
    measures = []
    for count in range(1, len(layers) + 1):
        (decoded,) = codec.decode([layers[:count]])
        size = sum(map(len, layers[:count]))
        figures = {score.name: score.of_pictures(pixels, decoded) for score in scores}
        measures.append(Measure(size, height * width, figures))
    return measures


_codecs: dict[str | None, Codec] = {}


def load_codec(weights: str | None) -> Codec:
    """Return the codec of these weights, loaded once in each process."""
    if weights not in _codecs:
        _codecs[weights] = Codec.load(weights)
    return _codecs[weights]


class PeerCache:
    """Results of peers on one photo, cached in one JSON file, or not at all without a folder."""

    def __init__(self, folder: Path | None, pixels: np.ndarray) -> None:
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        self._path = None if folder is None else folder / f"{digest}.json"
        self._results: dict[str, dict[str, dict[str, Any]]] = {}
        self._changed = False
        if self._path is not None and self._path.exists():
            try:
                self._results = json.loads(self._path.read_text())
            except ValueError as error:
                raise UsageError(f"{self._path} is not a cache of results: {error}") from error

    def get(self, key: str, quality: float) -> tuple[int, dict[str, Any]]:
        """Return the bytes and the known results by name; (0, {}) if there are none."""
        known = dict(self._results.get(key, {}).get(repr(quality), {}))
        return int(known.pop("bytes", 0)), known

    def put(self, key: str, quality: float, size: int, results: dict[str, Any]) -> None:
        """Store the bytes and the results of one quality."""
        self._results.setdefault(key, {})[repr(quality)] = {"bytes": size, **results}
        self._changed = True

    def save(self) -> None:
        """Write new results; the file is replaced atomically."""
        if self._path is None or not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(self._results, indent=1))
        part.replace(self._path)
        self._changed = False
