"""Commit records and the manifest as values, and their JSON with its own SHA-256.

The JSON does not depend on time or machine: equal commits give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from underpaint.codec import limits
from underpaint.codec.errors import (
    ArchiveDamaged,
    ArchiveError,
    NotAnArchive,
    UnknownArchiveVersion,
    UsageError,
)

FORMAT = "underpaint-archive"
VERSION = 2
FEATURES: frozenset[str] = frozenset()
"""Optional features that this reader supports; see the versioning rules."""

MANIFEST = "manifest.json"
DATA, FAILED, COMMITS = "data", "failed", "commits"

_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+@-]{0,159}")
_FILE = re.compile(r"(data|failed)/[A-Za-z0-9][A-Za-z0-9._=+@-]{0,199}\.parquet")
_HEX = re.compile(r"[0-9a-f]{64}")


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
    labels: tuple[tuple[str, str], ...]
    """Name and Arrow type of each label column."""
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
    first_key: str | None = None
    last_key: str | None = None
    """Smallest and greatest key of the rows, by code point."""
    retries: str | None = None
    """Unit that this unit has retried: its dead letters and skipped inputs no longer count."""
    extractor: str | None = None
    """Identity of the extractor that made the embeddings; None: unknown, or no embeddings."""

    @property
    def rows(self) -> int:
        """Number of images of the unit."""
        return self.data.rows if self.data else 0

    @property
    def dead_letters(self) -> int:
        """Number of dead letters of the unit."""
        return self.failed.rows if self.failed else 0

    @property
    def shape(self) -> tuple[Any, ...]:
        """The properties that must be equal in all commits of one archive."""
        return (
            self.weights_id,
            self.layer_names,
            self.labels,
            self.embedding_size,
            self.extractor,
            self.keeps_source,
        )


@dataclass(frozen=True)
class Manifest:
    """All commits of an archive."""

    units: tuple[Commit, ...]
    """Commits, in the order of their names."""

    @property
    def weights_id(self) -> str:
        """Id of the weights that made every stream; "" for an archive without commits."""
        return self.units[0].weights_id if self.units else ""

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, coarsest first."""
        return self.units[0].layer_names if self.units else ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return tuple(name for name, _ in self.units[0].labels) if self.units else ()

    @property
    def embedding_size(self) -> int | None:
        """Length of the embeddings; None if there are none."""
        return self.units[0].embedding_size if self.units else None

    @property
    def extractor(self) -> str | None:
        """Identity of the extractor; None if it is unknown or there are no embeddings."""
        return self.units[0].extractor if self.units else None

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


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Return canonical JSON (sorted names, one item of `units` a line) that ends with its
    SHA-256.
    """
    units = value.get("units")
    body = {name: item for name, item in value.items() if name != "units"}
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    if units is not None:
        lines = ",\n".join(
            json.dumps(unit, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            for unit in units
        )
        text = f'{text[:-1]},\n"units":[\n{lines}\n]}}'
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]},\n"sha256":"{digest}"}}\n'.encode()


def decode_json(data: bytes, name: str) -> dict[str, Any]:
    """Parse what `encode_json` wrote.

    Raises ArchiveDamaged if the bytes are cut, changed or malformed, NotAnArchive if they are JSON
    of something else, UnknownArchiveVersion if this reader is too old.
    """
    if len(data) > limits.MAX_MANIFEST_BYTES:
        raise ArchiveDamaged(f"{name}: {len(data)} bytes are over the limit")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ArchiveDamaged(f"{name}: not JSON, or cut") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise NotAnArchive(f"{name}: not a record of an Underpaint archive")
    seal = data[-79:]
    digest = hashlib.sha256(data[:-79] + b"}").hexdigest()
    if seal != f',\n"sha256":"{digest}"}}\n'.encode():
        raise ArchiveDamaged(f"{name}: the content does not match its checksum")
    if value.get("version") != VERSION:
        raise UnknownArchiveVersion(
            f"{name}: version {value.get('version')!r}, this reader knows {VERSION}"
        )
    needed = value.get("requires", [])
    if not isinstance(needed, list):
        raise ArchiveDamaged(f"{name}: no list of what it requires")
    unknown = [need for need in needed if not isinstance(need, str) or need not in FEATURES]
    if unknown:
        raise UnknownArchiveVersion(f"{name}: needs {unknown[0]!r}, unknown to this reader")
    return value


def encode_commit(commit: Commit) -> bytes:
    """Return the bytes of a commit record."""
    return encode_json({"format": FORMAT, "version": VERSION, "requires": [], **_as_json(commit)})


def decode_commit(data: bytes, name: str) -> Commit:
    """Parse a commit record; raises as `decode_json` does."""
    return _from_json(decode_json(data, name), name)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of `manifest.json`."""
    units = [_as_json(unit) for unit in manifest.units]
    head = {"format": FORMAT, "version": VERSION, "requires": [], "rows": manifest.rows}
    return encode_json({**head, "units": units})


def decode_manifest(data: bytes, name: str = MANIFEST) -> Manifest:
    """Parse a manifest; raises as `decode_json` does."""
    value = decode_json(data, name)
    units = value.get("units")
    if not isinstance(units, list):
        raise ArchiveDamaged(f"{name}: no list of units")
    return manifest_of(tuple(_from_json(unit, name) for unit in units), name)


def manifest_of(units: tuple[Commit, ...], name: str) -> Manifest:
    """Return the manifest of some commits; ArchiveError if they do not belong to one archive."""
    for unit in units[1:]:
        if unit.shape != units[0].shape:
            raise ArchiveError(
                f"{name}: units {units[0].unit!r} and {unit.unit!r} differ in weights, layers, "
                "labels, embedding or kept sources; they cannot be one archive"
            )
    if len({unit.unit for unit in units}) != len(units):
        raise ArchiveDamaged(f"{name}: a unit is named twice")
    paths = [entry.path for unit in units for entry in (unit.data, unit.failed) if entry]
    if len(set(paths)) != len(paths):
        raise ArchiveDamaged(f"{name}: a file is named twice")
    return Manifest(units)


_RENAMED = {"weights_id": "weights", "layer_names": "layers", "embedding_size": "embedding"}


def _as_json(commit: Commit) -> dict[str, Any]:
    value = asdict(replace(commit, failures=dict(sorted(commit.failures.items()))))
    value["source"] = value.pop("keeps_source")
    if commit.extractor is None:
        del value["extractor"]
    if commit.skipped:
        value["skipped"] = dict(sorted(commit.skipped.items()))
    else:
        del value["skipped"]
    return {_RENAMED.get(name, name): item for name, item in value.items()}


def _from_json(value: Mapping[str, Any], name: str) -> Commit:
    """Parse a commit from JSON whose checksum is correct; types and ranges are still checked."""
    if not isinstance(value, dict):
        raise ArchiveDamaged(f"{name}: a unit is not an object")
    try:
        commit = Commit(
            unit=_text(value["unit"]),
            weights_id=_text(value["weights"]),
            layer_names=tuple(map(_text, _list(value["layers"], limits.MAX_LAYERS))),
            labels=tuple(
                (_text(label), _text(kind)) for label, kind in _list(value["labels"], 100_000)
            ),
            embedding_size=None if value["embedding"] is None else _count(value["embedding"]),
            keeps_source=value["source"] is True,
            content=_hex(value["content"]),
            data=_entry(value["data"], DATA),
            failed=_entry(value["failed"], FAILED),
            pixels=_count(value["pixels"]),
            source_bytes=_count(value["source_bytes"]),
            layer_bytes=tuple(map(_count, _list(value["layer_bytes"], limits.MAX_LAYERS))),
            failures={_text(cause): _count(n) for cause, n in value["failures"].items()},
            skipped={_text(reason): _count(n) for reason, n in value.get("skipped", {}).items()},
            first_key=None if value["first_key"] is None else _text(value["first_key"]),
            last_key=None if value["last_key"] is None else _text(value["last_key"]),
            retries=None if value["retries"] is None else check_unit(_text(value["retries"])),
            extractor=None if value.get("extractor") is None else _text(value["extractor"]),
        )
        check_unit(commit.unit)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise ArchiveDamaged(f"{name}: {type(error).__name__} in a unit: {error}") from None
    if len(commit.layer_bytes) != len(commit.layer_names) or not commit.layer_names:
        raise ArchiveDamaged(f"{name}: unit {commit.unit!r} counts bytes of other layers")
    return commit


def _entry(value: Mapping[str, Any] | None, folder: str) -> FileEntry | None:
    if value is None:
        return None
    entry = FileEntry(
        path=_text(value["path"]),
        bytes=_count(value["bytes"]),
        sha256=_hex(value["sha256"]),
        footer_bytes=_count(value["footer_bytes"]),
        footer_sha256=_hex(value["footer_sha256"]),
        row_groups=tuple(map(_count, _list(value["row_groups"], 1 << 20))),
    )
    if entry.bytes >= limits.MAX_ARCHIVE_FILE_BYTES:
        raise ValueError(f"{entry.path}: {entry.bytes} bytes")
    if not entry.row_groups or min(entry.row_groups) < 1:
        raise ValueError(f"{entry.path}: no row groups, or one without rows")
    if max(entry.row_groups) > limits.MAX_GROUP_ROWS:
        raise ValueError(f"{entry.path}: a row group of {max(entry.row_groups)} rows")
    if not _FILE.fullmatch(entry.path) or not entry.path.startswith(f"{folder}/"):
        raise ValueError(f"{entry.path!r} is no file of an archive")
    if not 12 <= entry.footer_bytes <= min(entry.bytes, limits.MAX_FOOTER_BYTES):
        raise ValueError(f"{entry.path}: a footer of {entry.footer_bytes} bytes")
    return entry


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= limits.MAX_COUNT:
        raise ValueError(f"{value!r} is not a count")
    return value


def _list(value: Any, most: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("not a list, or too long")
    return value


def _hex(value: Any) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError(f"{value!r} is not a SHA-256")
    return value
