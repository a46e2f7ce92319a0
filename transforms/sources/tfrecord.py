"""TFRecord files of tf.train.Example, read without TensorFlow.

A file is a run of records, each of them (little endian):

    ┌────────────┬──────────────────────┬─────────────┬──────────────────────┐
    │ length u64 │ masked CRC-32C of it │ data        │ masked CRC-32C of it │
    └────────────┴──────────────────────┴─────────────┴──────────────────────┘

The data is a protocol buffer: Example{1: Features{1: map<string, Feature>}}, Feature one of
{1: bytes list, 2: float list, 3: int64 list}. A feature is always a list, so label columns are
lists of binary, float or int64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import IO, Any

import google_crc32c
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from underpaint.codec import limits
from underpaint.codec.errors import PictureDamaged, RowInvalid, UsageError
from underpaint.transforms.records import Item, Record, Shard, Span, clean_key
from underpaint.transforms.sources.base import SPAN_RECORDS, Source, failing, label_name, open_file
from underpaint.transforms.sources.columns import check_labels, look_at, merged

PEEKED_RECORDS = 64
"""Records at the start of a shard that are looked at for labels."""

_HEAD = struct.Struct("<QI")
_KINDS = {
    "bytes_list": pa.list_(pa.large_binary()),
    "float_list": pa.list_(pa.float32()),
    "int64_list": pa.list_(pa.int64()),
}


@dataclass(frozen=True)
class TFRecordSource(Source):
    """TFRecord shards whose examples hold encoded pictures."""

    shards: tuple[Shard, ...]
    picture: str = "image/encoded"
    """Feature with the bytes of the picture."""
    key: str | None = None
    """Feature that names the record; else its place in the shard does."""
    columns: pa.Schema = field(default_factory=lambda: pa.schema([]))

    @staticmethod
    def of(
        shards: tuple[Shard, ...], picture: str | None = None, key: str | None = None
    ) -> TFRecordSource:
        """The source of these shards; see `columns` for which labels they have."""
        picture = picture or "image/encoded"
        peeks = look_at(shards, lambda shard: _peek(shard, picture))
        return TFRecordSource(shards, picture, key, merged(peeks))

    def listing(self) -> Iterator[Item | Shard]:
        """The shards."""
        yield from self.shards

    def labels(self) -> pa.Schema:
        """One list column a feature, but for the picture's."""
        return self.columns

    def settings(self) -> str:
        """The features that make picture and key."""
        return f"{self.picture} {self.key}"

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Runs of records, found by going from length to length."""
        start = position = first = ordinal = 0
        broken = ""
        try:
            with open_file(shard.uri) as file:
                while (length := _length(file)) is not None:
                    end = position + _HEAD.size + length + 4
                    if file.seek(end - 1) != end - 1 or not file.read(1):
                        raise PictureDamaged("the file ends in the middle of a record")
                    position, ordinal = end, ordinal + 1
                    if position - start >= span_bytes or ordinal - first >= SPAN_RECORDS:
                        yield Span(start, position, first, ordinal - first, position - start)
                        start, first = position, ordinal
        except (OSError, EOFError, PictureDamaged) as error:
            broken = f"{type(error).__name__}: {error}"
        if ordinal > first:
            yield Span(start, position, first, ordinal - first, position - start)
        if broken:
            yield Span(position, position, ordinal, 1, 0, broken=broken)

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """One record an example."""
        with open_file(shard.uri) as file:
            file.seek(span.start)
            for ordinal in range(span.first, span.first + span.records):
                length = _length(file)
                if length is None:
                    raise OSError(f"{shard.uri}: ends before record {ordinal}")
                data, check = file.read(length), file.read(4)
                yield self._record(shard, ordinal, data, check)

    def _record(self, shard: Shard, ordinal: int, data: bytes, check: bytes) -> Record:
        key = clean_key(f"{shard.prefix}/{ordinal:08d}")
        uri = f"{shard.uri}#{ordinal}"
        try:
            if check != struct.pack("<I", mask(data)):
                raise PictureDamaged("the record's bytes do not match its checksum")
            features = parse_example(data)
            if self.key is not None:
                named = features.get(self.key, ("", []))[1]
                if not named:
                    raise PictureDamaged(f"no feature {self.key!r} to name the record by")
                name = named[0]
                key = clean_key(
                    name.decode("utf-8", "surrogateescape")
                    if isinstance(name, bytes)
                    else str(name)
                )
            pictures = features.pop(self.picture, ("", []))[1]
            if not pictures or not isinstance(pictures[0], bytes):
                raise PictureDamaged(f"no bytes in feature {self.picture!r}")
            labels = self._labels(features)
        except (PictureDamaged, RowInvalid) as error:
            return Record(key, uri, failing(error))
        picture = pictures[0]
        return Record(key, uri, lambda: picture, len(picture), labels)

    def _labels(self, features: dict[str, tuple[str, list[Any]]]) -> dict[str, list[Any]]:
        named = {label_name(name): feature for name, feature in features.items()}
        check_labels(named, self.columns)
        for name, (kind, _) in named.items():
            if self.columns.field(name).type != _KINDS[kind]:
                raise RowInvalid(f"label {name}: a {kind}, not {self.columns.field(name).type}")
        return {name: values for name, (_, values) in named.items()}


def parse_example(data: bytes) -> dict[str, tuple[str, list[Any]]]:
    """Features of a serialised tf.train.Example: kind ("bytes_list", …) and values by name.

    PictureDamaged where the bytes are no Example.
    """
    try:
        example = _example_class().FromString(data)
    except DecodeError as error:
        raise PictureDamaged("the record is no tf.train.Example") from error
    features = {}
    for name in example.features.feature:
        feature = example.features.feature[name]
        kind = feature.WhichOneof("kind")
        if kind:
            features[name] = (kind, list(getattr(feature, kind).value))
    return features


@cache
def _example_class() -> Any:
    """Message class of tf.train.Example, from its published field numbers."""
    scalar = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="underpaint/example.proto", package="underpaint", syntax="proto3"
    )

    def message(name: str) -> Any:
        return file.message_type.add(name=name)

    def add(owner: Any, name: str, number: int, kind: int, **more: Any) -> None:
        label = more.pop("label", scalar.LABEL_OPTIONAL)
        owner.field.add(name=name, number=number, type=kind, label=label, **more)

    for name, kind in (
        ("BytesList", scalar.TYPE_BYTES),
        ("FloatList", scalar.TYPE_FLOAT),
        ("Int64List", scalar.TYPE_INT64),
    ):
        add(message(name), "value", 1, kind, label=scalar.LABEL_REPEATED)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, of) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        kind = scalar.TYPE_MESSAGE
        add(feature, name, number, kind, type_name=f".underpaint.{of}", oneof_index=0)
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, scalar.TYPE_STRING)
    add(entry, "value", 2, scalar.TYPE_MESSAGE, type_name=".underpaint.Feature")
    add(
        features,
        "feature",
        1,
        scalar.TYPE_MESSAGE,
        label=scalar.LABEL_REPEATED,
        type_name=".underpaint.Features.FeatureEntry",
    )
    example = message("Example")
    add(example, "features", 1, scalar.TYPE_MESSAGE, type_name=".underpaint.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("underpaint.Example"))


def _peek(shard: Shard, picture: str) -> pa.Schema:
    kinds: dict[str, pa.DataType] = {}
    seen_picture = records = 0
    try:
        with open_file(shard.uri) as file:
            while records < PEEKED_RECORDS and (length := _length(file)) is not None:
                features = parse_example(file.read(length))
                file.read(4)
                records += 1
                seen_picture += picture in features
                kinds |= {name: _KINDS[kind] for name, (kind, _) in features.items()}
    except FileNotFoundError:
        raise UsageError(f"no such file: {shard.uri}") from None
    except (OSError, EOFError, PictureDamaged):
        pass  # a damaged shard becomes dead letters when it is split and read
    if records and not seen_picture:
        have = ", ".join(islice(sorted(kinds), 12))
        raise UsageError(f"{shard.uri}: no feature {picture!r}; there are {have}")
    return pa.schema([(label_name(name), kinds[name]) for name in sorted(kinds) if name != picture])


def _length(file: IO[bytes]) -> int | None:
    """Length of the next record's data; None at the end of the file."""
    head = file.read(_HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size:
        raise PictureDamaged("the file ends in the middle of a record")
    length, check = _HEAD.unpack(head)
    if check != mask(head[:8]):
        raise PictureDamaged("a record's length does not match its checksum")
    if length > 2 * limits.MAX_SOURCE_BYTES:
        raise PictureDamaged(f"a record of {length} bytes is over the limit")
    return int(length)


def mask(data: bytes) -> int:
    """CRC-32C of the bytes as TFRecord stores it: rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
