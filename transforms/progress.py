"""The progress store: each worker writes its counts to a small file, and the driver adds them
up.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: a killed driver's folder cannot be recognised, so it stays
    fcntl = None  # type: ignore[assignment]

PERIOD_S = 0.5
"""Seconds between two updates of a worker's file."""


FOLDER_PREFIX = "underpaint-progress-"
"""Prefix of the stores' folders among the temporary files."""

_LOCK = "driver.lock"


@dataclass(frozen=True)
class Counts:
    """Counts of a run or of a part of it."""

    images: int = 0
    failed: int = 0
    duplicates: int = 0
    """Pictures left out because the archive or the inputs hold the same bytes already."""
    done_before: int = 0
    """Records that an earlier run had done."""
    pixels: int = 0
    bytes_in: int = 0
    """Source bytes of the encoded pictures."""
    bytes_out: int = 0
    """Bytes of their layers."""
    input_bytes: int = 0
    """Input bytes of finished units, as the plan counts them."""
    units: int = 0
    peak_memory: int = 0
    """Peak memory of a process in bytes; of several processes the largest."""
    causes: Mapping[str, int] = field(default_factory=dict)
    """Number of failures by "stage: error class"."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of inputs that are not pictures, by reason."""
    labels_left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of values of labels that were not stored, by label and reason."""

    def __add__(self, other: Counts) -> Counts:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)[:-4]}
        return Counts(
            **sums,
            peak_memory=max(self.peak_memory, other.peak_memory),
            causes=dict(Counter(self.causes) + Counter(other.causes)),
            skipped=dict(Counter(self.skipped) + Counter(other.skipped)),
            labels_left_out=dict(Counter(self.labels_left_out) + Counter(other.labels_left_out)),
        )


class ProgressStore:
    """A folder of counts that the driver and the workers of one machine share."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self._counts = Counts()
        self._noted = 0.0

    def add(self, counts: Counts, *, now: bool = False) -> None:
        """Add to the counts of this process; written at most every PERIOD_S, or at once with
        `now`.
        """
        with self._lock:
            self._counts += counts
            if (now or time.monotonic() - self._noted >= PERIOD_S) and self._folder.is_dir():
                note = self._folder / f"{os.getpid()}.tmp"
                note.write_text(json.dumps(asdict(self._counts)))
                note.rename(note.with_suffix(".json"))
                self._noted = time.monotonic()

    def total(self) -> Counts:
        """Return the sum over all processes."""
        total = Counts()
        for note in self._folder.glob("*.json"):
            total += Counts(**json.loads(note.read_text()))
        return total


@contextmanager
def progress_folder() -> Iterator[str]:
    """Yield a new folder for a progress store, and remove it at the end.

    Folders that killed drivers left behind are removed first: a driver holds a lock on its folder,
    which the operating system releases however the driver ends.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{FOLDER_PREFIX}*"):
        if _is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
    try:
        with open(os.path.join(folder, "new"), "wb") as lock:
            if fcntl:
                fcntl.flock(lock, fcntl.LOCK_EX)
                os.rename(lock.name, os.path.join(folder, _LOCK))  # visible only once it is locked
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    with suppress(OSError), open(folder / _LOCK, "rb") as lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def peak_memory() -> int:
    """Return this process's peak memory in bytes; 0 if the system does not report it."""
    try:
        import resource
        import sys
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
