"""Zip files of pictures; see `samples` for what becomes of a member.

The directory at the end of a zip tells where each member lies, so spans are cut without reading any
of them, on a remote store too.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from underpaint.codec import limits
from underpaint.codec.errors import PictureDamaged, PictureTooLarge, UsageError
from underpaint.transforms.records import Record, Shard, Skipped, Span
from underpaint.transforms.sources.addresses import archive_chain
from underpaint.transforms.sources.base import SPAN_RECORDS
from underpaint.transforms.sources.labels import until_damage
from underpaint.transforms.sources.member_source import MemberSource
from underpaint.transforms.sources.recognition import HEAD_BYTES
from underpaint.transforms.sources.samples import (
    Member,
    SampleRules,
    is_left_out,
    label_types,
    member_name,
    records_of_sample,
    samples,
    sorted_out,
)
from underpaint.transforms.sources.streams import kept, raw_file
from underpaint.transforms.sources.tar import is_chosen, member_uri, target_of

_ZIP_ERRORS = (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError)


@dataclass(frozen=True)
class ZipSource(MemberSource):
    """Zip shards; spans count members in the order in which they lie in the file."""

    kind = "zip"

    @staticmethod
    def label_types(shard: Shard, rules: SampleRules) -> dict[str, pa.DataType]:
        """See `MemberSource`."""
        return _peek(shard, rules)

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Runs of whole samples, by the directory of the zip."""
        try:
            archive = _directory(shard)
        except PictureDamaged as error:
            yield Span(0, 0, 0, 0, max(shard.size, 0), broken=str(error))
            return
        except _ZIP_ERRORS as error:
            yield Span(0, 0, 0, 0, max(shard.size, 0), broken=f"{type(error).__name__}: {error}")
            return
        members = list(_members(archive, shard))
        if not members and archive_chain(shard.uri):
            broken = f"FileNotFoundError: no member of the archive matches {shard.uri}"
            yield Span(0, 0, 0, 0, 0, broken=broken)
            return
        start = first = ordinal = size = 0
        for sample in samples(members, self.rules):
            count = ordinal - first
            full = size >= span_bytes or count >= SPAN_RECORDS
            if count and full and not is_left_out(sample[0]):
                yield Span(start, sample[0].place, first, count, size)
                start, first, size = sample[0].place, ordinal, 0
            size += sum(each.size for each in sample)
            ordinal += len(sorted_out(sample, self.rules)[0])
        if members:
            stop = members[-1].place + 1
            yield Span(start, stop, first, ordinal - first, size)

    def read(self, shard: Shard, span: Span) -> Iterator[Record | Skipped]:
        """The records of a run of members."""
        uri = member_uri(shard)
        members = _members(_directory(shard), shard, span.start, span.stop)
        for sample in samples(members, self.rules):
            yield from records_of_sample(sample, shard.prefix, uri, self.rules)


def _peek(shard: Shard, rules: SampleRules) -> dict[str, pa.DataType]:
    """Types of the labels of a zip."""
    try:
        members = until_damage(_members(_directory(shard), shard))
        return label_types(samples(members, rules), rules)
    except FileNotFoundError:
        raise UsageError(f"no such file: {target_of(shard)}") from None
    except (PictureDamaged, *_ZIP_ERRORS):
        return {}  # a damaged shard is a dead letter of its own when it is read


def _directory(shard: Shard) -> zipfile.ZipFile:
    """The zip, opened once in a process: the directory of a large one takes a while to read."""
    return kept(target_of(shard), _opened)


def _opened(uri: str) -> zipfile.ZipFile:
    """Open a zip; PictureDamaged where its directory is missing or does not make sense."""
    file = raw_file(uri, buffered=False)
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        file.seek(0)
        begun = file.read(4) == b"PK\3\4"
        if not zipfile.is_zipfile(file) and begun:
            raise PictureDamaged(
                "the zip file is cut short: the directory at its end is missing; fetch it again"
            ) from None
        raise PictureDamaged(f"the zip file is damaged: {error}" if begun else str(error)) from None


def _members(
    archive: zipfile.ZipFile, shard: Shard, start: int = 0, stop: int | None = None
) -> Iterator[Member]:
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    for place, info in enumerate(infos[start:stop], start):
        name = member_name(info.filename)
        if not info.is_dir() and is_chosen(name, shard):
            yield Member(
                name,
                info.file_size,
                place,
                partial(_content, archive, info),
                partial(_content, archive, info, HEAD_BYTES),
            )


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int | None = None) -> bytes:
    """The content of a member, its checksum verified, or its first `most` bytes."""
    limit = limits.MAX_SOURCE_BYTES
    try:
        with archive.open(info) as file:
            data = file.read(limit + 1 if most is None else most)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise PictureDamaged(f"{info.filename}: {error}") from None
    if len(data) > limit:
        raise PictureTooLarge(f"{info.filename}: more than {limit} bytes")
    return data
