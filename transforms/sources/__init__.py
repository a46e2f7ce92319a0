"""Where pictures come from: folders and globs, tar, TFRecord and Parquet shards, lists of URLs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from underpaint.codec.errors import UsageError
from underpaint.transforms.records import Item, Part, Record, Shard, Skipped, Span
from underpaint.transforms.sources.base import (
    SHARD_SUFFIX_MANIFEST,
    SHARD_SUFFIX_PARQUET,
    SHARD_SUFFIX_TAR,
    SHARD_SUFFIX_TFRECORD,
    Source,
)
from underpaint.transforms.sources.files import Found, as_item, find, is_picture
from underpaint.transforms.sources.manifest import ManifestSource
from underpaint.transforms.sources.parquet import ParquetSource
from underpaint.transforms.sources.tar import TarSource
from underpaint.transforms.sources.tfrecord import TFRecordSource

KINDS = ("auto", "files", "tar", "tfrecord", "parquet", "manifest")
"""What `--source` takes, besides the dotted name `module:Class` of a Source."""

_SUFFIXES = {
    "tar": SHARD_SUFFIX_TAR,
    "tfrecord": SHARD_SUFFIX_TFRECORD,
    "parquet": SHARD_SUFFIX_PARQUET,
    "manifest": (*SHARD_SUFFIX_MANIFEST, ".csv.gz", ".jsonl.gz"),
}


@dataclass(frozen=True)
class Choice:
    """How inputs are to be read."""

    kind: str = "auto"
    picture: str | None = None
    """Column or feature with the bytes of the picture."""
    url: str | None = None
    """Column of a manifest with the address of the picture."""
    key: str | None = None
    """Column or feature that names the record."""
    labels: tuple[tuple[str, str], ...] = ()
    """Name and Arrow type (as `int64`) of each label whose type is stated."""
    label_from_folder: bool = False
    """Store the name of the folder that holds a picture as its label `label`."""
    tar_key: str = "first-dot"
    """Which dot of a member's base name ends the name of its sample: first-dot or last-dot."""


@dataclass(frozen=True)
class FileSource(Source):
    """Pictures in files of their own, below folders, behind globs or named one by one."""

    inputs: tuple[str, ...]
    everything: bool = False
    """Take named files whatever their suffix is; else those of shards are left to other sources."""

    def listing(self) -> Iterator[Item | Shard]:
        """One item a picture; a file that the user named is tried whatever its suffix is."""
        for found in find(self.inputs):
            kind = kind_of(found)
            if kind == "files" or (self.everything and found.named):
                yield as_item(found, 0)

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """Nothing: there are no shards."""
        yield from ()


def kind_of(found: Found) -> str:
    """Which kind of source a found file is for; "" for none.

    In a folder pictures, tar and TFRecord files are taken: a table there may be about anything.
    """
    name = found.uri.lower()
    for kind, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return kind if found.named or kind in ("tar", "tfrecord") else ""
    if ".tfrecord-" in name or ".tfrecords-" in name:
        return "tfrecord"
    return "files" if found.named or is_picture(name) else ""


def open_sources(inputs: Sequence[str], choice: Choice) -> tuple[Source, ...]:
    """The sources that read the inputs; UsageError where one is missing or nothing is found."""
    if ":" in choice.kind:
        return (_named_source(choice.kind, inputs),)
    if choice.kind not in KINDS:
        raise UsageError(f"no source {choice.kind!r}: choose from {', '.join(KINDS)}")
    if choice.kind == "files":
        return (FileSource(tuple(inputs), everything=True),)
    shards: dict[str, list[Shard]] = {}
    for found in find(inputs):
        kind = kind_of(found)
        if choice.kind != "auto":
            fits = found.named or found.uri.lower().endswith(_SUFFIXES[choice.kind])
            kind = choice.kind if fits or kind == choice.kind else ""
        if kind:
            shard = Shard(found.uri, _without_suffix(found.key), found.size)
            shards.setdefault(kind, []).append(shard)
            if kind == "files":
                shards["files"] = shards["files"][:1]
    if not shards:
        wanted = "pictures or shards" if choice.kind == "auto" else f"{choice.kind} files"
        hint = "; tables need --source parquet or manifest" if choice.kind == "auto" else ""
        raise UsageError(f"no {wanted} in {', '.join(inputs)}{hint}")
    sources: list[Source] = []
    if shards.pop("files", None):
        sources.append(FileSource(tuple(inputs)))
    sources += [_shard_source(kind, tuple(found), choice) for kind, found in shards.items()]
    return tuple(sources)


def listed(sources: Sequence[Source]) -> Iterator[Item | Shard | Part | Skipped]:
    """Everything that the sources list; items and shards with the number of their source."""
    for number, source in enumerate(sources):
        for each in source.listing():
            if isinstance(each, Skipped):
                yield each
            elif isinstance(each, Part):
                yield replace(each, shard=replace(each.shard, source=number))
            else:
                yield replace(each, source=number)


def all_labels(sources: Sequence[Source]) -> pa.Schema:
    """Label columns of all sources together; UsageError where two disagree on a type."""
    try:
        return pa.unify_schemas([source.labels() for source in sources])
    except pa.ArrowException as error:
        raise UsageError(f"labels of the inputs do not fit together: {error}") from None


def _shard_source(kind: str, shards: tuple[Shard, ...], choice: Choice) -> Source:
    if kind == "tar":
        return TarSource.of(shards)
    if kind == "tfrecord":
        return TFRecordSource.of(shards, choice.picture, choice.key)
    if kind == "parquet":
        return ParquetSource.of(shards, choice.picture, choice.key)
    return ManifestSource.of(shards, choice.url, choice.key)


def _named_source(name: str, inputs: Sequence[str]) -> Source:
    module, _, attribute = name.partition(":")
    try:
        source = getattr(importlib.import_module(module), attribute)(tuple(inputs))
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(f"--source {name}: {error}") from None
    if not isinstance(source, Source):
        raise UsageError(f"--source {name}: not a transforms.sources.base.Source")
    return source


def _without_suffix(key: str) -> str:
    lower = key.lower()
    for suffix in sorted((s for group in _SUFFIXES.values() for s in group), key=len, reverse=True):
        if lower.endswith(suffix):
            return key[: -len(suffix)]
    return key
