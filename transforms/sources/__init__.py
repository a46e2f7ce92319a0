"""Sources of pictures: folders and globs, tar, zip, TFRecord and Parquet shards, tables of
addresses.

    inputs --find--> files --kind--> sources --listing--> Item, Shard, Part, Skipped

Inputs are listed once. Every file becomes an item or a shard, or is counted as skipped.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from underpaint.codec.errors import UsageError
from underpaint.transforms.records import Item, Part, Shard, Skipped, skipped_text
from underpaint.transforms.sources.addresses import archive_chain
from underpaint.transforms.sources.base import Source
from underpaint.transforms.sources.choice import Choice, check_used
from underpaint.transforms.sources.files import FileSource, Found, Inputs, loose
from underpaint.transforms.sources.kinds import (
    SHARD_SUFFIXES,
    shard_kind,
    skip_reason,
    without_shard_suffix,
)
from underpaint.transforms.sources.labels import merged
from underpaint.transforms.sources.manifest import URL_COLUMNS, ManifestSource
from underpaint.transforms.sources.parquet import ParquetSource, holds_pictures, read_schema
from underpaint.transforms.sources.samples import SampleRules
from underpaint.transforms.sources.tar import TarSource
from underpaint.transforms.sources.tfrecord import TFRecordSource
from underpaint.transforms.sources.zip import ZipSource

__all__ = ["Choice", "Inputs", "Source", "all_labels", "listed", "open_sources"]

TAKEN_IN_FOLDERS = ("tar", "zip", "tfrecord")
"""Kinds of shards that are read wherever they lie in a folder. A table in a folder often has
nothing to do with pictures, so it is read only if it is named or its kind is requested.
"""


_TABLES = frozenset(SHARD_SUFFIXES["parquet"] + SHARD_SUFFIXES["manifest"])
"""Suffixes of tables, which are reasons for skipping a file."""


def open_sources(inputs: Inputs | Sequence[str], choice: Choice) -> tuple[Source, ...]:
    """Return the sources that read the inputs.

    A label has one type in all of them. UsageError if an input is missing, if nothing is found, for
    an option that no source uses, or if labels clash.
    """
    choice.check()
    if ":" in choice.kind:
        check_used(choice, ())
        texts = inputs.texts if isinstance(inputs, Inputs) else inputs
        return (_named_source(choice.kind, texts),)
    if not isinstance(inputs, Inputs):
        inputs = Inputs(inputs)
    files = FileSource(
        label_from_folder=choice.label_from_folder, limits_of_time=choice.time_limits
    )
    found_shards: dict[str, list[Found]] = {}
    folders: set[str] = set()
    items = 0
    reasons: Counter[str] = Counter()
    for found in inputs.find():
        kind = kind_of(found, choice.kind)
        if kind in SHARD_SUFFIXES:
            found_shards.setdefault(kind, []).append(found)
            continue
        each = _loose(found, kind)
        if isinstance(each, Item):
            items += 1
            folders.update(_folders_of(each.key))
        if isinstance(each, Skipped):
            reasons[each.reason] += 1
        files.add(each)
    shards = _with_prefixes(found_shards, folders)
    if not items and not shards:
        wanted = "pictures or shards" if choice.kind == "auto" else f"{choice.kind} files"
        tables = choice.kind == "auto" and not _TABLES.isdisjoint(reasons)
        hint = "; tables need --source parquet or manifest" if tables else ""
        said = f" ({skipped_text(dict(reasons.most_common()))})" if reasons else ""
        raise UsageError(f"no {wanted} in {', '.join(inputs.texts)}{said}{hint}")
    sources: list[Source] = [files] if items or reasons else []
    sources += [_shard_source(kind, tuple(found), choice) for kind, found in shards.items()]
    check_used(choice, [source.kind for source in sources if source is not files or items])
    labels = all_labels(sources)
    return tuple(source.with_labels(labels) for source in sources)


def kind_of(found: Found, wanted: str) -> str:
    """Return the kind of source for a found file, given the requested kind; "" if it is not
    read.
    """
    if found.skipped:
        return ""
    chain = archive_chain(found.uri)
    kind = chain[0] if chain else shard_kind(found.uri)
    if wanted == "auto":
        return kind if kind and (found.named or kind in TAKEN_IN_FOLDERS) else "files"
    if wanted == "files":
        return "files" if found.named or not kind else ""
    return wanted if found.named or kind == wanted else ""


def listed(sources: Sequence[Source]) -> Iterator[Item | Shard | Part | Skipped]:
    """Yield everything that the sources list; items and shards carry the index of their source."""
    for number, source in enumerate(sources):
        for each in source.listing():
            if isinstance(each, Skipped):
                yield each
            elif isinstance(each, Part):
                yield replace(each, shard=replace(each.shard, source=number))
            else:
                yield replace(each, source=number)


def all_labels(sources: Iterable[Source]) -> pa.Schema:
    """Return the label columns of all sources: numbers widen, and with text they are text.

    UsageError if two disagree on another type.
    """
    sources = list(sources)
    return merged([source.labels() for source in sources], [*map(_name_of, sources)], to_text=True)


def _name_of(source: Source) -> str:
    """Return the inputs of a source, for messages."""
    shards: Sequence[Shard] = getattr(source, "shards", ())
    if not shards:
        return f"the {source.kind or type(source).__name__}"
    more = f" and {len(shards) - 1:,} more" if len(shards) > 1 else ""
    return f"{shards[0].uri}{more}"


def _folders_of(key: str) -> Iterator[str]:
    """Yield the folders that a key lies in: "a/b/c.jpg" lies in "a/b" and "a"."""
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key


def _with_prefixes(
    found: Mapping[str, Sequence[Found]], folders: Collection[str]
) -> dict[str, list[Shard]]:
    """Return the shards of each kind, with prefixes that make the keys of their records unique.

    A prefix is the shard's path without its suffix. Beside a folder or another shard of that name,
    as `cats.tar` beside `cats/` or `cats.zip`, the prefix keeps the suffix.
    """
    taken = Counter(without_shard_suffix(each.key) for kind in found.values() for each in kind)

    def prefix(key: str) -> str:
        short = without_shard_suffix(key)
        return key if taken[short] > 1 or short in folders else short

    return {
        kind: [Shard(each.uri, prefix(each.key), each.size) for each in group]
        for kind, group in found.items()
    }


def _loose(found: Found, kind: str) -> Item | Skipped:
    if kind != "files":
        return Skipped(found.uri, found.skipped or skip_reason(found.uri))
    return loose(found)


def _shard_source(kind: str, shards: tuple[Shard, ...], choice: Choice) -> Source:
    if kind in ("tar", "zip"):
        rules = SampleRules(
            picture=choice.picture,
            last_dot=choice.tar_key == "last-dot",
            label_from_folder=choice.label_from_folder,
        )
        return (TarSource if kind == "tar" else ZipSource).of(shards, rules, choice.labels)
    if kind == "tfrecord":
        return TFRecordSource.of(shards, choice.picture, choice.key, choice.labels)
    if kind == "parquet" and not (choice.kind == "auto" and _lists_addresses(shards[0].uri)):
        return ParquetSource.of(shards, choice.picture, choice.key, choice.labels)
    return ManifestSource.of(shards, choice.url, choice.key, choice.labels, choice.time_limits)


def _lists_addresses(uri: str) -> bool:
    """Return whether a Parquet file is clearly a table of addresses."""
    schema = read_schema(uri)
    return not holds_pictures(schema) and any(name in URL_COLUMNS for name in schema.names)


def _named_source(name: str, inputs: Sequence[str]) -> Source:
    module, _, attribute = name.partition(":")
    try:
        source = getattr(importlib.import_module(module), attribute)(tuple(inputs))
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(f"--source {name}: {error}") from None
    if not isinstance(source, Source):
        raise UsageError(f"--source {name}: not a transforms.sources.base.Source")
    return source
