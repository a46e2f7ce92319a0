"""The bytes of commit records and of the manifest: JSON that ends with its own SHA-256.

Nothing in them depends on the time or the machine: equal commits give equal bytes. The rules are
A2 to A5, A18 and A21 of docs/archive.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from underpaint.codec import limits
from underpaint.codec.archive.layer_columns import FULL
from underpaint.codec.archive.records import (
    DATA,
    FAILED,
    MANIFEST,
    METADATA,
    Commit,
    FileEntry,
    Manifest,
    check_unit,
    manifest_of,
)
from underpaint.codec.errors import (
    ArchiveDamaged,
    NotAnArchive,
    UnknownArchiveVersion,
    UsageError,
)
from underpaint.codec.transform.sizes import MOST_SIZES, check_sizes

FORMAT = "underpaint-archive"
VERSION = 3
FEATURES: frozenset[str] = frozenset()
"""Features that this reader knows beyond the version; see the versioning rules (V2)."""

_FILE = re.compile(r"(data|failed)/[A-Za-z0-9][A-Za-z0-9._=+@-]{0,199}\.parquet")
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


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Encode as canonical JSON (sorted names, one item of `units` a line) with its SHA-256."""
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


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of `manifest.json`."""
    units = [_as_json(unit) for unit in manifest.units]
    head: dict[str, Any] = {"format": FORMAT, "version": VERSION, "requires": []}
    head["rows"] = manifest.rows
    if len({unit.labels for unit in manifest.units}) > 1:
        head["labels"] = manifest.labels
    return encode_json({**head, "units": units})


def decode_manifest(data: bytes, name: str = MANIFEST) -> Manifest:
    """Parse a manifest; raises as `decode_json`, and ArchiveError for units of two archives."""
    value = decode_json(data, name)
    units = value.get("units")
    if not isinstance(units, list):
        raise ArchiveDamaged(f"{name}: `units` is not a list")
    return manifest_of((_from_json(unit, name) for unit in units), name)


def _as_json(commit: Commit) -> dict[str, Any]:
    value = asdict(commit)
    for name in _OPTIONAL:
        if value[name] == _DEFAULTS[name]:
            del value[name]
    return {_MEMBERS.get(name, name): item for name, item in value.items()}


def _from_json(value: Mapping[str, Any], name: str) -> Commit:
    """Parse a unit of a record whose checksum held; types and ranges are still checked."""
    if not isinstance(value, dict):
        raise ArchiveDamaged(f"{name}: a unit is not an object")
    try:
        commit = Commit(
            unit=check_unit(_text(value["unit"])),
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
            failures=_counts(value["failures"]),
            skipped=_counts(value.get("skipped", {})),
            roots=_texts(value.get("roots", {})),
            first_key=_optional_text(value["first_key"]),
            last_key=_optional_text(value["last_key"]),
            retries=_optional_unit(value["retries"]),
            replaces=_optional_unit(value.get("replaces")),
            extractor=_optional_text(value.get("extractor")),
            generation=_count(value.get("generation", 0)),
            supersedes=value.get("supersedes", False) is True,
            metadata=_metadata(value.get("metadata", "none")),
            sizes=_sizes(value.get("sizes", [FULL])),
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
