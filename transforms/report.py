"""The outcome of a job, and its machine-readable report `job.json` in the archive.

The last step of the pipeline writes the report, so that a job without a waiting driver leaves one
too. A driver that is still there writes it again with its own figures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from underpaint.codec.archive import Archive, DeadLetter, Statistics
from underpaint.codec.archive.records import JOB
from underpaint.codec.errors import ShardCut
from underpaint.codec.storage.files import Storage
from underpaint.codec.storage.redaction import redacted
from underpaint.transforms.job_plan import DUPLICATE
from underpaint.transforms.progress import Counts
from underpaint.transforms.records import LISTED_TWICE

LETTERS_SHOWN = 5


@dataclass(frozen=True)
class Facts:
    """Facts about a job that are known before it runs."""

    begun: float
    """Start time in seconds since 1970."""
    max_failed: float
    """Fraction of failed inputs up to which the job counts as a success."""
    shown: Mapping[str, Any]
    """Further content of the report, such as options and versions; JSON values."""
    strict: bool = False
    """Whether the job fails if inputs were skipped."""


@dataclass(frozen=True)
class EncodeResult:
    """The counts of a run, and the state of the archive after it."""

    counts: Counts
    statistics: Statistics
    seconds: float
    status: int
    """0, or 1 if more inputs failed than the options allow."""
    letters: tuple[DeadLetter, ...]
    """The first few dead letters of the archive."""

    @property
    def duplicates(self) -> int:
        """Number of dead letters of pictures that were left out as duplicates."""
        return _duplicates(self.statistics)

    @property
    def failed(self) -> int:
        """Number of dead letters of inputs that failed."""
        return self.statistics.failed - self.duplicates


def result_of(storage: Storage, counts: Counts, facts: Facts) -> EncodeResult:
    """Return the result of a job that has just ended, read from the published archive."""
    archive = Archive.open(storage.root)
    statistics = archive.statistics()
    letters = []
    for letter in archive.dead_letters():
        if letter.error != DUPLICATE:
            letters.append(letter)
        if len(letters) == LETTERS_SHOWN:
            break
    failed = statistics.failed - _duplicates(statistics)
    status = int(failed > facts.max_failed * (statistics.images + failed))
    cut = any(cause.endswith(f": {ShardCut.__name__}") for cause in statistics.failures)
    if cut and facts.max_failed < 1:  # the number of lost records is unknown
        status = 1
    if facts.strict and not statistics.skipped.keys() <= {LISTED_TWICE}:
        status = 1
    return EncodeResult(counts, statistics, time.time() - facts.begun, status, tuple(letters))


def write_report(storage: Storage, result: EncodeResult, facts: Facts, **more: Any) -> None:
    """Write `job.json`."""
    statistics = result.statistics
    rate = result.counts.pixels / 1e6 / result.seconds if result.seconds else 0.0
    report = {
        "format": "underpaint-job",
        "version": 1,
        "begun": _moment(facts.begun),
        **facts.shown,
        "ended": _moment(facts.begun + result.seconds),
        "seconds": round(result.seconds, 3),
        "megapixels_per_second": round(rate, 4),
        **more,
        "counts": asdict(result.counts),
        "archive": {
            "images": statistics.images,
            "pixels": statistics.pixels,
            "source_bytes": statistics.source_bytes,
            "failed": result.failed,
            "duplicates": result.duplicates,
            "failures": dict(statistics.failures),
            "skipped": dict(statistics.skipped),
            "layer_bytes": list(statistics.layer_bytes),
        },
        "exit_status": result.status,
    }
    text = redacted(json.dumps(report, indent=2, default=str, ensure_ascii=False))
    storage.put(JOB, f"{text}\n".encode("utf-8", "backslashreplace"))


def _duplicates(statistics: Statistics) -> int:
    causes = statistics.failures.items()
    return sum(count for cause, count in causes if cause.endswith(f": {DUPLICATE}"))


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
