"""Commit records and the manifest as values; `record_json` reads and writes their bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from underpaint.codec.archive.label_columns import Named, joined_names
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.errors import ArchiveDamaged, ArchiveError, UsageError

MANIFEST = "manifest.json"
DATA, FAILED, COMMITS = "data", "failed", "commits"
JOB, PLANS = "job.json", "plans"
"""The report of the last job and the plans of running jobs. No reader needs them; `sweep` removes
plans that dead jobs left."""

METADATA = ("basic", "exif", "none")
"""What the rows of an archive can hold about how a picture was taken."""

_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+@-]{0,159}")


@dataclass(frozen=True)
class FileEntry:
    """A Parquet file that belongs to the archive."""

    path: str
    """Path below the archive's folder, with `/`."""
    bytes: int
    sha256: str
    """SHA-256 of the whole file in hex."""
    footer_bytes: int
    """Length of the Parquet footer with its 8 closing bytes: one exact range at the end."""
    footer_sha256: str
    """SHA-256 of those bytes in hex (a Parquet footer has no checksum of its own)."""
    row_groups: tuple[int, ...]
    """Number of rows of each row group."""

    @property
    def rows(self) -> int:
        """Number of rows of the file."""
        return sum(self.row_groups)


@dataclass(frozen=True)
class Commit:
    """A committed work unit."""

    unit: str
    weights_id: str
    layer_names: tuple[str, ...]
    labels: Named
    """Name and Arrow type of each label column; they may differ between the units of an archive."""
    embedding_size: int | None
    keeps_source: bool
    content: str
    """SHA-256 (hex) of the unit's content, independent of the Parquet bytes: see the specification.
    """
    data: FileEntry | None = None
    failed: FileEntry | None = None
    pixels: int = 0
    source_bytes: int = 0
    layer_bytes: tuple[int, ...] = ()
    """Bytes of all blobs of each layer."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Number of dead letters by cause, "stage: error class"."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of inputs that are not pictures, by reason (".txt", "dot file")."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """Input folders by address, with the prefixes of the keys of their files."""
    first_key: str | None = None
    last_key: str | None = None
    """Smallest and greatest key of the rows, by code point."""
    retries: str | None = None
    """Unit that this unit has retried: its dead letters and skipped inputs no longer count."""
    replaces: str | None = None
    """Unit whose rows this unit holds instead: its rows no longer count."""
    extractor: str | None = None
    """Identity of the extractor that made the embeddings; None: unknown, or no embeddings."""
    generation: int = 0
    """Greater than that of all units that the archive held, of other inputs, when the run began."""
    supersedes: bool = False
    """Whether rows replace rows of the same key in units of a lower generation."""
    metadata: str = "none"
    """What rows hold about how a picture was taken: "basic", "exif" or "none"."""
    sizes: tuple[int, ...] = (FULL,)
    """Short sides in pixels that have columns of their own, then FULL if the full size has."""
    size_bytes: tuple[tuple[int, ...], ...] = ()
    """Bytes of all blobs by size and layer; () if there is one size."""

    @property
    def rows(self) -> int:
        """Number of images of the unit."""
        return self.data.rows if self.data else 0

    @property
    def dead_letters(self) -> int:
        """Number of dead letters of the unit."""
        return self.failed.rows if self.failed else 0

    @property
    def shape(self) -> tuple[object, ...]:
        """The properties that must be equal in all commits of one archive."""
        return tuple(getattr(self, name) for name in _SHARED)


_SHARED = {
    "weights_id": "weights",
    "layer_names": "layers",
    "embedding_size": "embedding size",
    "extractor": "extractor",
    "keeps_source": "kept sources",
    "metadata": "metadata",
    "sizes": "sizes",
}
"""Fields that must be equal in all commits of one archive -> their names in messages."""


def difference(one: Commit, other: Commit) -> str:
    """Return the first property in which commits of two archives differ, with both values.

    For example "weights (8e779c3e… and e5c7688b…)"; "" if the commits may be in one archive.
    """
    for name, shown in _SHARED.items():
        first, second = getattr(one, name), getattr(other, name)
        if first != second:
            return f"{shown} ({_shown(first)} and {_shown(second)})"
    return ""


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        items = [" ".join(item) if isinstance(item, tuple) else str(item) for item in value]
        return ", ".join(items) or "none"
    return "none" if value is None else str(value)


@dataclass(frozen=True)
class Manifest:
    """All commits of an archive."""

    units: tuple[Commit, ...]
    """Commits, in the order of their names; those that another one replaces are without rows."""

    def __post_init__(self) -> None:
        replaced = {unit.replaces for unit in self.units}
        units = tuple(_without_rows(u) if u.unit in replaced else u for u in self.units)
        object.__setattr__(self, "units", units)

    @property
    def weights_id(self) -> str:
        """Id of the weights that made every stream; "" for an archive without commits."""
        return self.units[0].weights_id if self.units else ""

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, coarsest first."""
        return self.units[0].layer_names if self.units else ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Short sides in pixels that have columns of their own, then FULL if the full size has."""
        return self.units[0].sizes if self.units else (FULL,)

    @cached_property
    def labels(self) -> Named:
        """Name and Arrow type of each label column of any unit (see `label_columns`)."""
        return joined_names(unit.labels for unit in self.units)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return tuple(name for name, _ in self.labels)

    @property
    def embedding_size(self) -> int | None:
        """Length of the embeddings; None if there are none."""
        return self.units[0].embedding_size if self.units else None

    @property
    def extractor(self) -> str | None:
        """Identity of the extractor; None if it is unknown or there are no embeddings."""
        return self.units[0].extractor if self.units else None

    @property
    def metadata(self) -> str:
        """What rows hold about how a picture was taken: "basic", "exif" or "none"."""
        return self.units[0].metadata if self.units else "none"

    @property
    def keeps_source(self) -> bool:
        """Whether rows hold the bytes of their sources."""
        return bool(self.units) and self.units[0].keeps_source

    @property
    def rows(self) -> int:
        """Number of images of the archive."""
        return sum(commit.rows for commit in self.units)

    @property
    def current_units(self) -> tuple[Commit, ...]:
        """Commits whose dead letters and skipped inputs count: no later unit has retried them."""
        retried = {commit.retries for commit in self.units}
        return tuple(unit for unit in self.units if unit.unit not in retried)

    @property
    def failed_units(self) -> tuple[Commit, ...]:
        """Current units that have dead letters."""
        return tuple(unit for unit in self.current_units if unit.failed)

    @property
    def identity(self) -> str:
        """16 hex digits that change with the rows of the archive and their order."""
        parts = [(unit.data.sha256, unit.data.row_groups) for unit in self.units if unit.data]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def check_unit(unit: str) -> str:
    """Return the unit's name; UsageError unless it is 1 to 160 of `A-Za-z0-9._=+@-`, a letter or
    digit first.
    """
    if not _UNIT.fullmatch(unit):
        raise UsageError(f"{unit!r} cannot name a unit of work: use A-Z a-z 0-9 . _ = + @ -")
    return unit


def manifest_of(units: Iterable[Commit], name: str) -> Manifest:
    """Return the manifest of some commits; `name` begins the messages of errors.

    Raises ArchiveError if they do not belong to one archive, ArchiveDamaged if a unit or a file is
    named twice.
    """
    units = tuple(units)
    for unit in units[1:]:
        if found := difference(units[0], unit):
            raise ArchiveError(
                f"{name}: units {units[0].unit!r} and {unit.unit!r} cannot be in one archive, "
                f"because they differ in {found}"
            )
    if len({unit.unit for unit in units}) != len(units):
        raise ArchiveDamaged(f"{name}: a unit is named twice")
    paths = [entry.path for unit in units for entry in (unit.data, unit.failed) if entry]
    if len(set(paths)) != len(paths):
        raise ArchiveDamaged(f"{name}: a file is named twice")
    return Manifest(units)


def _without_rows(unit: Commit) -> Commit:
    return replace(
        unit,
        data=None,
        pixels=0,
        source_bytes=0,
        layer_bytes=(0,) * len(unit.layer_names),
        size_bytes=tuple((0,) * len(unit.layer_names) for _ in unit.size_bytes),
        first_key=None,
        last_key=None,
    )
