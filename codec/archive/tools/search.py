"""Finds the nearest pictures of an archive by their embeddings; no layer is read."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.schema import EMBEDDING
from underpaint.codec.archive.tables import vectors_of
from underpaint.codec.errors import UsageError

BLOCK_ROWS = 1024
"""Number of rows that are compared with all others at once."""


@dataclass(frozen=True)
class Match:
    """One picture, and the cosine between its embedding and that of the query."""

    key: str
    similarity: float


def embeddings(archive: Archive) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield keys and embeddings of each row group: unit vectors, float32 [rows, size].

    Reads only the columns `key` and `embedding`. Raises UsageError if the archive has no
    embeddings, ArchiveDamaged if they cannot be read.
    """
    _check(archive)
    for group in archive.row_groups(["key", EMBEDDING]):
        vectors = vectors_of(group.table.column(EMBEDDING))
        yield group.table.column("key").to_pylist(), _unit(vectors)


def nearest(archive: Archive, vector: np.ndarray, count: int) -> list[Match]:
    """Return the `count` pictures most similar to `vector`, float [size], the most similar first.

    Holds one row group in memory. Raises as `embeddings` does, and UsageError for another size.
    """
    _check(archive)
    size = archive.manifest.embedding_size
    if vector.shape != (size,):
        raise UsageError(f"embeddings of {size} values, not {list(vector.shape)}")
    wanted = _unit(vector[None])[0]
    best: list[tuple[float, int, str]] = []
    seen = 0
    for keys, vectors in embeddings(archive):
        similarity = vectors @ wanted
        for row in np.argsort(-similarity, kind="stable")[:count]:
            found = (float(similarity[row]), -seen - int(row), keys[row])
            if len(best) < count:
                heapq.heappush(best, found)
            else:
                heapq.heappushpop(best, found)
        seen += len(keys)
    return [Match(key, similarity) for similarity, _, key in sorted(best, reverse=True)]


def near_duplicates(archive: Archive, least: float) -> Iterator[tuple[str, Match]]:
    """Yield pairs of pictures whose similarity is at least `least`, in the order of the archive.

    Compares each picture with all before it and holds all embeddings in memory, 2 bytes a value:
    for up to a
    few hundred thousand pictures. Raises as `embeddings` does.
    """
    keys: list[str] = []
    blocks: list[np.ndarray] = []
    for some, vectors in embeddings(archive):
        for first in range(0, len(some), BLOCK_ROWS):
            block = vectors[first : first + BLOCK_ROWS]
            blocks.append(block.astype(np.float16))
            start = len(keys)
            keys += some[first : first + BLOCK_ROWS]
            pairs = [
                (start + int(row), before + int(column), float(similarity[row, column]))
                for before, similarity in _compared(block, blocks)
                for row, column in np.argwhere(similarity >= least)
                if before + column < start + row
            ]
            for row, column, value in sorted(pairs):
                yield keys[row], Match(keys[column], value)


def _compared(block: np.ndarray, blocks: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    first = 0
    for other in blocks:
        yield first, block @ other.astype(np.float32).T
        first += len(other)


def _check(archive: Archive) -> None:
    if archive.files and archive.manifest.embedding_size is None:
        raise UsageError(f"{archive.storage.root}: no embeddings; encode with --embedding NAME")


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return the rows of [N, size] as float32 of length 1; zero rows stay zero."""
    vectors = vectors.astype(np.float32)
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
