"""Commit records as values; `record_json` reads and writes their bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from underpaint.codec.archive.label_columns import Named
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.errors import ArchiveError, UsageError

MANIFEST = "manifest.json"
DATA, FAILED, COMMITS, UNITS = "data", "failed", "commits", "units"
JOB, PLANS = "job.json", "plans"
"""The report of the last job and the plans of running jobs. No reader needs them; `sweep` removes
plans that dead jobs left."""

METADATA = ("basic", "exif", "none")
"""What the rows of an archive can hold about how a picture was taken."""

UNIT_PATTERN = "[A-Za-z0-9][A-Za-z0-9._=+@-]{0,159}"
"""Regular expression of the names of units."""

REWRITTEN = r"(\.(keys|pack)[0-9]+)+$"
"""Regular expression of the ends of the names of rewritten units."""

_UNIT = re.compile(UNIT_PATTERN)


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


def file_path(folder: str, unit: str, sha256: str) -> str:
    """Return the path of a unit's file in `folder`, DATA or FAILED; `sha256` is in hex."""
    return f"{folder}/{unit}-{sha256[:16]}.parquet"


def unit_of_path(path: str) -> str:
    """Return the unit that `file_path` named a file for."""
    return path.partition("/")[2].removesuffix(".parquet")[:-17]


@dataclass(frozen=True)
class Shared:
    """The properties that must be equal in all commits of one archive."""

    weights_id: str = ""
    """Id of the weights that made every stream; "" for an archive without commits."""
    layer_names: tuple[str, ...] = ()
    """Names of the layers, coarsest first."""
    embedding_size: int | None = None
    """Length of the embeddings; None if there are none."""
    extractor: str | None = None
    """Identity of the extractor that made the embeddings; None: unknown, or no embeddings."""
    keeps_source: bool = False
    """Whether rows hold the bytes of their sources."""
    metadata: str = "none"
    """What rows hold about how a picture was taken: "basic", "exif" or "none"."""
    sizes: tuple[int, ...] = (FULL,)
    """Short sides in pixels that have columns of their own, then FULL if the full size has."""


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
    replaces: tuple[str, ...] = ()
    """Units whose rows this unit holds instead: their rows no longer count."""
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
    def shared(self) -> Shared:
        """The properties that must be equal in all commits of one archive."""
        return Shared(**{name: getattr(self, name) for name in SHARED})


SHARED = tuple(item.name for item in fields(Shared))
"""Names of the properties that must be equal in all commits of one archive."""

_SHOWN = {
    "weights_id": "weights",
    "layer_names": "layers",
    "embedding_size": "embedding size",
    "keeps_source": "kept sources",
}
"""Names of shared properties in messages, where they differ from those of the fields."""


def difference(one: Shared, other: Shared) -> str:
    """Return the first property in which two archives differ, with both values.

    For example "weights (8e779c3e… and e5c7688b…)"; "" if their commits may be in one archive.
    """
    for name in SHARED:
        first, second = getattr(one, name), getattr(other, name)
        if first != second:
            return f"{_SHOWN.get(name, name)} ({_shown(first)} and {_shown(second)})"
    return ""


def check_shared(name: str, units: tuple[str, str], one: Shared, other: Shared) -> None:
    """Raise ArchiveError if two units, whose names are `units`, cannot be in one archive.

    `name` begins the message.
    """
    if found := difference(one, other):
        raise ArchiveError(
            f"{name}: units {units[0]!r} and {units[1]!r} cannot be in one archive, "
            f"because they differ in {found}"
        )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        items = [" ".join(item) if isinstance(item, tuple) else str(item) for item in value]
        return ", ".join(items) or "none"
    return "none" if value is None else str(value)


def original_unit(name: str) -> str:
    """Return the unit that a rewritten unit stems from; the name itself for other units.

    Units are rewritten to give rows other keys, and to join small data files.
    """
    return re.sub(REWRITTEN, "", name)


def check_unit(unit: str) -> str:
    """Return the unit's name; UsageError unless it is 1 to 160 of `A-Za-z0-9._=+@-`, a letter or
    digit first.
    """
    if not _UNIT.fullmatch(unit):
        raise UsageError(f"{unit!r} cannot name a unit of work: use A-Z a-z 0-9 . _ = + @ -")
    return unit


def without_rows(unit: Commit) -> Commit:
    """Return a commit as it counts once its rows are replaced."""
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
