"""TFRecord files of tf.train.Example that hold encoded pictures.

A feature is always a list, so label columns are lists of binary, float or int64, unless the type of
a label is stated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, Any

import pyarrow as pa

from underpaint.codec.errors import PictureDamaged, UsageError
from underpaint.transforms.records import Record, Shard, Span, clean_key
from underpaint.transforms.sources.base import (
    SPAN_RECORDS,
    Source,
    closed_spans,
    failing,
    whole,
)
from underpaint.transforms.sources.labels import (
    Declared,
    Labels,
    label_name,
    look_at,
    peek_budget,
    union,
    until_damage,
)
from underpaint.transforms.sources.streams import (
    Forward,
    Place,
    is_random_access,
    opened,
    raw_file,
)
from underpaint.transforms.sources.tf_example import (
    HEAD,
    TAIL_BYTES,
    feature_kinds,
    mask,
    parse_example,
    record_length,
)

PEEK_BYTES = 2 << 10
"""Finding the kinds of a record's features reads about this much."""

Features = dict[str, tuple[str, list[Any]]]

_KINDS = {
    "bytes_list": pa.list_(pa.large_binary()),
    "float_list": pa.list_(pa.float32()),
    "int64_list": pa.list_(pa.int64()),
}


@dataclass(frozen=True)
class TFRecordSource(Source):
    """TFRecord shards."""

    kind = "tfrecord"

    shards: tuple[Shard, ...]
    picture: str = "image/encoded"
    """Feature with the bytes of the picture."""
    key: str | None = None
    """Feature that names the record; else its place in the shard does."""
    columns: Labels = field(default_factory=Labels)

    @staticmethod
    def of(
        shards: tuple[Shard, ...],
        picture: str | None = None,
        key: str | None = None,
        declared: Declared = (),
    ) -> TFRecordSource:
        """The source of these shards; see `labels` for which labels they have."""
        picture = picture or "image/encoded"
        peeks = look_at(shards, lambda shard: _peek(shard, picture))
        names = {name for peek in peeks for name in peek}
        kinds = {name: union(peek[name] for peek in peeks if name in peek) for name in names}
        schema = pa.schema([(label_name(name), kinds[name]) for name in sorted(kinds)])
        return TFRecordSource(shards, picture, key, Labels.of([schema], declared))

    def listing(self) -> Iterator[Shard]:
        """The shards."""
        yield from self.shards

    def labels(self) -> pa.Schema:
        """One list column a feature, but for the picture's."""
        return self.columns.schema

    def with_labels(self, schema: pa.Schema) -> TFRecordSource:
        """See `Source`."""
        return replace(self, columns=self.columns.retyped(schema))

    def settings(self) -> str:
        """The features that make picture and key."""
        return f"{self.picture} {self.key}"

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Runs of records, found by going from length to length, where that is cheap."""
        if shard.size <= span_bytes or not is_random_access(shard.uri):
            yield whole(shard)
            return
        start = stop = first = ordinal = 0
        broken = ""
        try:
            for begin, length in _lengths(shard.uri):
                stop, ordinal = begin + HEAD.size + length + TAIL_BYTES, ordinal + 1
                if stop - start >= span_bytes or ordinal - first >= SPAN_RECORDS:
                    yield Span(start, stop, first, ordinal - first, stop - start)
                    start, first = stop, ordinal
        except (OSError, PictureDamaged) as error:
            broken = f"{type(error).__name__}: {error}"
        if ordinal > first:
            yield Span(start, stop, first, ordinal - first, stop - start)
        if broken:
            yield Span(stop, stop, ordinal, 0, 0, broken=broken)

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """The records of a part of a plain file of this machine."""
        with raw_file(shard.uri) as file:
            file.seek(span.start)
            yield from islice(self._records(shard, file, span.first), span.records)

    def stream(self, shard: Shard, span: Span, span_bytes: int) -> Iterator[tuple[Span, list[Any]]]:
        """The records of a whole file, read from start to end."""
        place = Place()

        def records() -> Iterator[Record]:
            with opened(shard.uri, place) as shard_file:
                yield from self._records(shard, shard_file.file, 0)

        yield from closed_spans(records(), place, span_bytes)

    def _records(self, shard: Shard, file: IO[bytes] | Forward, first: int) -> Iterator[Record]:
        for ordinal, (data, check) in enumerate(_framed(file), first):
            yield self._record(shard, ordinal, data, check)

    def _record(self, shard: Shard, ordinal: int, data: bytes, check: bytes) -> Record:
        key = clean_key(f"{shard.prefix}/{ordinal:08d}")
        uri = f"{shard.uri}#{ordinal}"
        try:
            if check != struct.pack("<I", mask(data)):
                raise PictureDamaged("the record's bytes do not match its checksum")
            features = parse_example(data)
            if self.key is not None:
                key = self._key(features)
            pictures = features.pop(self.picture, ("", []))[1]
            if not pictures or not isinstance(pictures[0], bytes):
                raise PictureDamaged(f"no bytes in feature {self.picture!r}")
        except PictureDamaged as error:
            return Record(key, uri, failing(error))
        picture = pictures[0]
        fitted = self.columns.fit(
            {name: self._value(name, values) for name, (_, values) in features.items()},
            lambda name, _: _KINDS[features[name][0]],
        )
        return Record(
            key,
            uri,
            lambda: picture,
            len(picture),
            fitted.values,
            fitted.notes,
            fitted.left_out,
            fitted.types,
        )

    def _value(self, name: str, values: list[Any]) -> Any:
        """The values of a feature: the one of it where its stated type is that of one."""
        index = self.columns.schema.get_field_index(label_name(name))
        if index < 0 or len(values) > 1 or pa.types.is_list(self.columns.schema.field(index).type):
            return values
        return values[0] if values else None

    def _key(self, features: Features) -> str:
        values = features.get(self.key or "", ("", []))[1]
        if not values:
            raise PictureDamaged(f"no feature {self.key!r} to name the record by")
        name = values[0]
        text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
        return clean_key(text)


def _lengths(uri: str) -> Iterator[tuple[int, int]]:
    """Place and length of the data of each record; only the lengths are read."""
    with raw_file(uri, buffered=False) as file:
        end, position = file.seek(0, 2), 0
        while position < end:
            file.seek(position)
            length = record_length(file.read(HEAD.size))
            if length is None or position + HEAD.size + length + TAIL_BYTES > end:
                raise PictureDamaged("the file ends in the middle of a record")
            yield position, length
            position += HEAD.size + length + TAIL_BYTES


def _framed(file: IO[bytes] | Forward) -> Iterator[tuple[bytes, bytes]]:
    """Data and checksum of each record, from the place of reading on."""
    while (length := record_length(file.read(HEAD.size))) is not None:
        data, check = file.read(length), file.read(TAIL_BYTES)
        if len(data) < length or len(check) < TAIL_BYTES:
            raise PictureDamaged("the file ends in the middle of a record")
        yield data, check


def _peek(shard: Shard, picture: str) -> dict[str, pa.DataType]:
    """Types of the features of a shard: of all its records where reading them costs little."""
    kinds: dict[str, pa.DataType] = {}
    records = 0
    try:
        for found in _some_kinds(shard):
            records += 1
            for name, kind in found.items():
                if kinds.get(name) != _KINDS[kind]:
                    kinds[name] = union({kinds.get(name, _KINDS[kind]), _KINDS[kind]})
    except FileNotFoundError:
        raise UsageError(f"no such file: {shard.uri}") from None
    except (OSError, EOFError, PictureDamaged, ValueError):
        pass  # a damaged shard becomes dead letters when it is read
    if records and picture not in kinds:
        have = ", ".join(islice(sorted(kinds), 12))
        raise UsageError(f"{shard.uri}: no feature {picture!r}; there are {have}")
    kinds.pop(picture, None)
    return kinds


def _some_kinds(shard: Shard) -> Iterator[dict[str, str]]:
    """Kinds of the features of records, by their names."""
    budget = peek_budget(shard.size)
    if not is_random_access(shard.uri):
        with opened(shard.uri) as shard_file:
            for number, (data, _) in enumerate(_framed(shard_file.file), 1):
                yield {name: kind for name, (kind, _) in parse_example(data).items()}
                if number > 1 and shard_file.place() > budget:
                    return
        return
    places = list(until_damage(_lengths(shard.uri)))
    step = -(-len(places) * PEEK_BYTES // budget) if places else 1
    with raw_file(shard.uri, buffered=False) as file:
        for begin, length in places[:: max(1, step)]:
            yield feature_kinds(file, begin + HEAD.size, length)
