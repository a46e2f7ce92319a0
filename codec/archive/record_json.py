"""The bytes of commit records and of `manifest.json`: JSON that ends with its own SHA-256.

Nothing in them depends on the time or the machine: equal commits give equal bytes. The rules are
A2 to A5, A18, A21 and A22 of docs/archive.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from underpaint.codec import limits
from underpaint.codec.archive.label_columns import Named, joined_names
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.archive.records import (
    DATA,
    FAILED,
    METADATA,
    SHARED,
    Commit,
    FileEntry,
    Shared,
    check_unit,
    file_path,
)
from underpaint.codec.errors import (
    ArchiveDamaged,
    NotAnArchive,
    UnknownArchiveVersion,
    UsageError,
)
from underpaint.codec.transform.sizes import MOST_SIZES, check_sizes

FORMAT = "underpaint-archive"
VERSION = 4
FEATURES: frozenset[str] = frozenset()
"""Features that this reader knows beyond the version; see the versioning rules (V2)."""

_HEX = re.compile(r"[0-9a-f]{64}")

_MEMBERS = {
    "weights_id": "weights",
    "layer_names": "layers",
    "embedding_size": "embedding",
    "keeps_source": "source",
}
"""Field of `Commit` -> member of its JSON object, where the two differ."""

_OPTIONAL = (
    "extractor", "generation", "metadata", "replaces", "roots", "size_bytes", "sizes", "skipped",
    "supersedes",
)  # fmt: skip
"""Fields whose member is absent if they have their default value."""

_DEFAULTS = {item.name: item.default for item in fields(Commit)} | {"roots": {}, "skipped": {}}


@dataclass(frozen=True)
class Pointer:
    """The content of `manifest.json`."""

    units: int
    """Number of units."""
    rows: int
    """Number of rows of all units."""
    sha256: str
    """SHA-256 (hex) of the digests of the columns of all units, see `unit_file`."""
    shared: Shared
    label_sets: tuple[Named, ...]
    """The combinations of label columns, in the order in which units first have them."""


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Encode as canonical JSON with sorted names, closed by its SHA-256."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]},\n"sha256":"{digest}"}}\n'.encode()


def decode_json(data: bytes, name: str) -> dict[str, Any]:
    """Decode bytes that `encode_json` wrote; `name` begins the messages of errors.

    Raises ArchiveDamaged if the bytes are cut or changed, NotAnArchive if they are JSON of
    something else, UnknownArchiveVersion if this reader is too old for them.
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
        raise ArchiveDamaged(f"{name}: `requires` is not a list")
    unknown = [need for need in needed if not isinstance(need, str) or need not in FEATURES]
    if unknown:
        raise UnknownArchiveVersion(f"{name}: needs {unknown[0]!r}, unknown to this reader")
    return value


def encode_commit(commit: Commit) -> bytes:
    """Return the bytes of a commit record."""
    return encode_json({"format": FORMAT, "version": VERSION, "requires": [], **_as_json(commit)})


def decode_commit(data: bytes, name: str) -> Commit:
    """Parse a commit record; raises as `decode_json`."""
    return _from_json(decode_json(data, name), name)


def encode_pointer(pointer: Pointer) -> bytes:
    """Return the bytes of `manifest.json`."""
    return encode_json(
        {
            "format": FORMAT,
            "version": VERSION,
            "requires": [],
            "units": pointer.units,
            "rows": pointer.rows,
            "units_sha256": pointer.sha256,
            "labels": joined_names(pointer.label_sets),
            "label_sets": pointer.label_sets,
            **_named(asdict(pointer.shared)),
        }
    )


def decode_pointer(data: bytes, name: str) -> Pointer:
    """Parse `manifest.json`; raises as `decode_json`."""
    value = decode_json(data, name)
    try:
        return Pointer(
            units=_count(value["units"]),
            rows=_count(value["rows"]),
            sha256=_hex(value["units_sha256"]),
            shared=_shared(value),
            label_sets=tuple(map(_labels, _list(value["label_sets"], 1 << 20))),
        )
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise ArchiveDamaged(f"{name}: {type(error).__name__}: {error}") from None


def _named(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a commit as members of JSON, those that have their default left out."""
    return {
        _MEMBERS.get(name, name): item
        for name, item in value.items()
        if name not in _OPTIONAL or item != _DEFAULTS[name]
    }


def _as_json(commit: Commit) -> dict[str, Any]:
    return _named(asdict(commit))


def _from_json(value: Mapping[str, Any], name: str) -> Commit:
    """Parse a unit of a record whose checksum held; types and ranges are still checked."""
    if not isinstance(value, dict):
        raise ArchiveDamaged(f"{name}: a unit is not an object")
    try:
        unit, shared = check_unit(_text(value["unit"])), _shared(value)
        commit = Commit(
            **{field: getattr(shared, field) for field in SHARED},
            unit=unit,
            labels=_labels(value["labels"]),
            content=_hex(value["content"]),
            data=_entry(value["data"], DATA, unit),
            failed=_entry(value["failed"], FAILED, unit),
            pixels=_count(value["pixels"]),
            source_bytes=_count(value["source_bytes"]),
            layer_bytes=tuple(map(_count, _list(value["layer_bytes"], limits.MAX_LAYERS))),
            failures=_counts(value["failures"]),
            skipped=_counts(value.get("skipped", {})),
            roots=_texts(value.get("roots", {})),
            first_key=_optional_text(value["first_key"]),
            last_key=_optional_text(value["last_key"]),
            retries=_optional_unit(value["retries"]),
            replaces=tuple(
                check_unit(_text(unit)) for unit in _list(value.get("replaces", []), 1 << 20)
            ),
            generation=_count(value.get("generation", 0)),
            supersedes=value.get("supersedes", False) is True,
            size_bytes=tuple(
                tuple(map(_count, _list(row, limits.MAX_LAYERS)))
                for row in _list(value.get("size_bytes", []), MOST_SIZES + 1)
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise ArchiveDamaged(f"{name}: {type(error).__name__} in a unit: {error}") from None
    if len(commit.layer_bytes) != len(commit.layer_names) or not commit.layer_names:
        raise ArchiveDamaged(
            f"{name}: unit {commit.unit!r} has {len(commit.layer_names)} layers and the bytes of "
            f"{len(commit.layer_bytes)}"
        )
    shape = len(commit.sizes) if len(commit.sizes) > 1 else 0, len(commit.layer_names)
    if len(commit.size_bytes) != shape[0] or any(len(r) != shape[1] for r in commit.size_bytes):
        raise ArchiveDamaged(f"{name}: unit {commit.unit!r} has bytes of other sizes or layers")
    return commit


def _shared(value: Mapping[str, Any]) -> Shared:
    """Return the properties of a record that all units share."""
    return Shared(
        weights_id=_text(value["weights"]),
        layer_names=tuple(map(_text, _list(value["layers"], limits.MAX_LAYERS))),
        embedding_size=None if value["embedding"] is None else _count(value["embedding"]),
        extractor=_optional_text(value.get("extractor")),
        keeps_source=value["source"] is True,
        metadata=_metadata(value.get("metadata", "none")),
        sizes=_sizes(value.get("sizes", [FULL])),
    )


def _labels(value: Any) -> Named:
    return tuple((_text(label), _text(kind)) for label, kind in _list(value, 100_000))


def _metadata(value: Any) -> str:
    if value not in METADATA:
        raise ValueError(f"metadata {value!r}")
    return str(value)


def _sizes(value: Any) -> tuple[int, ...]:
    """Return the sizes of a unit: increasing numbers, then FULL if it is there."""
    sizes = tuple(map(_count, _list(value, MOST_SIZES + 1)))
    named = sizes[:-1] if sizes and sizes[-1] == FULL else sizes
    check_sizes(named)
    if not sizes:
        raise ValueError("no size")
    return sizes


def _entry(value: Mapping[str, Any] | None, folder: str, unit: str) -> FileEntry | None:
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
    if entry.path != file_path(folder, unit, entry.sha256):
        raise ValueError(f"{entry.path!r} is no file of this unit")
    if not 12 <= entry.footer_bytes <= min(entry.bytes, limits.MAX_FOOTER_BYTES):
        raise ValueError(f"{entry.path}: a footer of {entry.footer_bytes} bytes")
    return entry


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _optional_unit(value: Any) -> str | None:
    return None if value is None else check_unit(_text(value))


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= limits.MAX_COUNT:
        raise ValueError(f"{value!r} is not a count")
    return value


def _counts(value: Mapping[Any, Any]) -> dict[str, int]:
    return {_text(name): _count(number) for name, number in value.items()}


def _texts(value: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(text) for name, text in value.items()}


def _list(value: Any, most: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("not a list, or too long")
    return value


def _hex(value: Any) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError(f"{value!r} is not a SHA-256")
    return value
