"""Settings of encoding that all work units of a run share, and the memory that they imply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from underpaint.codec.archive import ArchiveWriter
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.transform.sizes import DEFAULT_SIZES
from underpaint.transforms.embedding import Embedding
from underpaint.transforms.prefetch import Prefetcher

BYTES_PER_PIXEL = 80
"""Peak memory of encoding for each pixel of a batch, in bytes: 60 measured, rounded up."""

READER_BYTES_PER_PIXEL = 24
READER_LEAST_BYTES = 256 << 20
"""Memory for decoding in the helper process: 16-bit samples, alpha, a copy."""

WINDOW_PIXELS = 1 << 20
"""Pixels collected before batches are formed, if memory allows: two batches of the codec."""

AHEAD_BYTES = 4 << 20
"""Bytes of decoded pictures and their sources that wait, for each fetching thread."""


@dataclass(frozen=True)
class Settings:
    """Options of encoding, the same for all units of a run."""

    archive: str
    weights_id: str
    layer_names: tuple[str, ...]
    """Names of the stored layers, coarsest first."""
    labels: pa.Schema
    """Label columns of the sources; units add those that are found later."""
    memory: int
    """Bytes that the pictures in one worker may take."""
    effort: int = 1
    """How long the codec searches for fewer bytes, 1 to 3."""
    on_conflict: str = "rename"
    """What becomes of a picture whose key belongs to another source, see `transforms.identity`."""
    generation: int = 0
    """See `Commit.generation`; the plan determines it."""
    stated_labels: frozenset[str] = frozenset()
    """Names of labels whose types the user states."""
    keep_source: bool = False
    metadata: str = "basic"
    """What rows hold about how a picture was taken: "basic", "exif" or "none"."""
    sizes: tuple[int, ...] = DEFAULT_SIZES
    """Short sides in pixels that have columns of their own, beside the full size."""
    embedding: Embedding | None = None
    """The extractor of the column `embedding`; None for no such column."""
    picture_timeout_s: float = 60.0
    readers: int = 1
    """Number of helper processes of one worker that decode pictures."""
    fetchers: int = 1
    """Number of threads of one worker that wait for storage."""

    @property
    def largest_pixels(self) -> int:
        """Most pixels of a picture that fits into the memory."""
        return self.memory * 3 // 4 // BYTES_PER_PIXEL

    @property
    def window_pixels(self) -> int:
        """Most pixels of a batch."""
        return min(WINDOW_PIXELS, self.memory // 2 // BYTES_PER_PIXEL)

    def writer(
        self,
        unit: str,
        retries: str | None = None,
        roots: Mapping[str, str] = MappingProxyType({}),
    ) -> ArchiveWriter:
        """Return the writer of one unit; `retries` names the commit whose records it retries.

        `roots` are the input folders to remember (see `ArchiveWriter`).
        """
        return ArchiveWriter(
            self.archive,
            unit,
            layers=self.layer_names,
            weights_id=self.weights_id,
            sizes=(*self.sizes, FULL),
            label_schema=self.labels,
            embedding_size=self.embedding.size if self.embedding else None,
            extractor=self.embedding.identity if self.embedding else None,
            keep_source=self.keep_source,
            metadata=self.metadata,
            row_group_limit=min(64 << 20, max(1 << 20, self.memory // 32)),
            retries=retries,
            generation=self.generation,
            supersedes=self.on_conflict == "replace",
            roots=roots,
        )

    def prefetcher(self) -> Prefetcher:
        """Return the prefetcher of one worker."""
        return Prefetcher(
            self.readers,
            self.fetchers,
            min(self.memory // 8, AHEAD_BYTES * (self.readers + self.fetchers)),
            timeout_s=self.picture_timeout_s,
            most_pixels=self.largest_pixels,
            reader_memory=READER_LEAST_BYTES + READER_BYTES_PER_PIXEL * self.largest_pixels,
            keep_source=self.keep_source,
        )
