"""Records of TFRecord files and the tf.train.Example in them, without TensorFlow.

A file is a run of records, each of them (little endian):

    ┌────────────┬──────────────────────┬─────────────┬──────────────────────┐
    │ length u64 │ masked CRC-32C of it │ data        │ masked CRC-32C of it │
    └────────────┴──────────────────────┴─────────────┴──────────────────────┘

The data is a protocol buffer: Example{1: Features{1: map<string, Feature>}}, Feature one of
{1: bytes list, 2: float list, 3: int64 list}.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import IO, Any

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from underpaint.codec import limits
from underpaint.codec.errors import PictureDamaged

HEAD = struct.Struct("<QI")
"""Length of a record's data and the checksum of the length."""

TAIL_BYTES = 4
"""Checksum of the data."""


def record_length(head: bytes) -> int | None:
    """Length of the data of the record that begins with these bytes; None where there are none.

    PictureDamaged where they are cut, fail their checksum or are over the limit.
    """
    if not head:
        return None
    if len(head) < HEAD.size:
        raise PictureDamaged("the file ends in the middle of a record")
    length, check = HEAD.unpack(head)
    if check != mask(head[:8]):
        raise PictureDamaged("a record's length does not match its checksum")
    if length > 2 * limits.MAX_SOURCE_BYTES:
        raise PictureDamaged(f"a record of {length} bytes is over the limit")
    return int(length)


def starts_record(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a TFRecord file."""
    return len(head) >= HEAD.size and head[8:12] == struct.pack("<I", mask(head[:8]))


def mask(data: bytes) -> int:
    """CRC-32C of the bytes as TFRecord stores it: rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


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


_KIND_OF_FIELD = {1: "bytes_list", 2: "float_list", 3: "int64_list"}
_WINDOW = 512


def feature_kinds(file: IO[bytes], start: int, length: int) -> dict[str, str]:
    """Name and kind of each feature of the Example in a part of a file.

    Long values, such as pictures, are passed over without being read. PictureDamaged where the part
    holds no Example.
    """
    window = _Window(file)
    kinds = {}
    for _, features in _fields(window, start, start + length):
        for _, entry in _fields(window, *features):
            parts = dict(_fields(window, *entry))
            if 1 in parts and 2 in parts:
                begin, end = parts[1]
                for number, _ in _fields(window, *parts[2]):
                    name = window.read(begin, end - begin).decode("utf-8", "replace")
                    kinds[name] = _KIND_OF_FIELD.get(number, "")
                    break
    return {name: kind for name, kind in kinds.items() if kind}


def _fields(window: _Window, start: int, stop: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Number and place of each length-delimited field of the message in [start, stop)."""
    while start < stop:
        tag, start = window.varint(start)
        size, start = window.varint(start)
        if tag & 7 != 2 or start + size > stop:
            raise PictureDamaged("the record is no tf.train.Example")
        yield tag >> 3, (start, start + size)
        start += size


class _Window:
    """Reads of a few bytes of a file, a window of them at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = 0
        self._data = b""

    def read(self, start: int, size: int) -> bytes:
        if not self._start <= start <= start + size <= self._start + len(self._data):
            self._file.seek(start)
            self._start, self._data = start, self._file.read(max(size, _WINDOW))
        begin = start - self._start
        return self._data[begin : begin + size]

    def varint(self, start: int) -> tuple[int, int]:
        """The value of a varint, and the place behind it."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.read(start, 1)
            start += 1
            if not byte:
                break
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value, start
        raise PictureDamaged("the record is no tf.train.Example")
