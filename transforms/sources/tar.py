"""WebDataset: tar files in which members of one stem are one sample.

    000123.jpg  000123.cls  000123.json     ->  picture, label `cls`, label `json`

The stem of a member is its path up to the first dot of its base name, and samples are runs of equal
stems, as in the webdataset library. `cls` is a 64-bit integer where it always is one; `txt`, `json`
and their like are text; everything else is bytes. A tar of plain pictures is such a file too: each
picture is a sample without labels.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import IO, Any

import pyarrow as pa

from underpaint.codec import limits
from underpaint.codec.errors import PictureTooLarge, RowInvalid, UnsupportedFormat, UsageError
from underpaint.codec.image_io.read import PICTURE_SUFFIXES
from underpaint.transforms.records import Item, Record, Shard, Span, clean_key
from underpaint.transforms.sources.base import (
    SPAN_RECORDS,
    Source,
    conform,
    failing,
    label_name,
    open_file,
)
from underpaint.transforms.sources.columns import check_labels, look_at

TEXT = frozenset({"txt", "text", "json", "caption", "transcript", "url", "html", "csv", "xml"})
"""Extensions of text labels."""

INTEGER = frozenset({"cls", "cls2", "index", "id"})
"""Extensions of labels that are integers where all that were looked at are."""

PEEKED_SAMPLES = 64
"""Samples at the start of a shard that are looked at for labels."""


@dataclass(frozen=True)
class TarSource(Source):
    """WebDataset shards."""

    shards: tuple[Shard, ...]
    columns: pa.Schema = field(default_factory=lambda: pa.schema([]))

    @staticmethod
    def of(shards: tuple[Shard, ...]) -> TarSource:
        """The source of these shards; see `columns` for which labels they have."""
        return TarSource(shards, _columns(look_at(shards, _peek)))

    def listing(self) -> Iterator[Item | Shard]:
        """The shards."""
        yield from self.shards

    def labels(self) -> pa.Schema:
        """One column an extension."""
        return self.columns

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Runs of whole samples, found by going through the headers only."""
        start = stop = first = count = ordinal = 0
        broken = ""
        try:
            with open_file(shard.uri) as file, _open_tar(file) as tar:
                for _, members in groupby(_members(tar), key=_stem_of):
                    begin, *_rest = [member.offset for member in members]
                    if count and (begin - start >= span_bytes or count >= SPAN_RECORDS):
                        yield Span(start, begin, first, count, begin - start)
                        start, first, count = begin, ordinal, 0
                    ordinal += 1
                    count += 1
                    stop = tar.offset
        except (tarfile.TarError, OSError, EOFError) as error:
            broken = f"{type(error).__name__}: {error}"
        if count:
            yield Span(start, stop, first, count, stop - start)
        if broken:
            yield Span(stop, stop, ordinal, 1, 0, broken=broken)

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        """One record a sample."""
        with open_file(shard.uri) as file:
            file.seek(span.start)
            with _open_tar(file) as tar:
                samples = groupby(_members(tar, quiet=True), key=_stem_of)
                for stem, members in islice(samples, span.records):
                    yield self._record(shard, tar, stem, list(members))

    def _record(
        self, shard: Shard, tar: tarfile.TarFile, stem: str, members: list[tarfile.TarInfo]
    ) -> Record:
        files = {_extension(member.name): member for member in members if member.isfile()}
        picture = next((name for name in files if f".{name.lower()}" in PICTURE_SUFFIXES), None)
        uri = f"{shard.uri}#{members[0].name}"
        if picture is None:
            error = UnsupportedFormat(f"no picture among the members of sample {stem!r}")
            return Record(clean_key(f"{shard.prefix}/{stem}"), uri, failing(error))
        member = files.pop(picture)
        key = clean_key(f"{shard.prefix}/{member.name.removeprefix('./')}")
        uri = f"{shard.uri}#{member.name}"
        try:
            data = _content(tar, member)
            named = {label_name(extension): sibling for extension, sibling in files.items()}
            check_labels(named, self.columns)
            labels = {
                name: _value(_content(tar, sibling), self.columns.field(name).type)
                for name, sibling in named.items()
            }
        except (ValueError, RowInvalid, PictureTooLarge, OSError, tarfile.TarError) as error:
            return Record(key, uri, failing(error))
        return Record(key, uri, lambda: data, len(data), labels)


def _peek(shard: Shard) -> dict[str, bool]:
    """Extensions of labels at the start of a shard, and whether their values are integers."""
    found: dict[str, bool] = {}
    try:
        with open_file(shard.uri) as file, _open_tar(file) as tar:
            samples = groupby(_members(tar), key=_stem_of)
            for _, members in islice(samples, PEEKED_SAMPLES):
                files = {_extension(member.name): member for member in members if member.isfile()}
                picture = next((n for n in files if f".{n.lower()}" in PICTURE_SUFFIXES), None)
                for name, member in files.items():
                    if picture and name != picture:
                        whole = name in INTEGER and _is_integer(_content(tar, member))
                        found[name] = whole and found.get(name, True)
    except FileNotFoundError:
        raise UsageError(f"no such file: {shard.uri}") from None
    except (tarfile.TarError, OSError, EOFError, PictureTooLarge):
        pass  # a damaged shard is a dead letter of its own when it is split
    return found


def _columns(peeks: Sequence[dict[str, bool]]) -> pa.Schema:
    whole: dict[str, bool] = {}
    for peek in peeks:
        for name, integers in peek.items():
            whole[name] = integers and whole.get(name, True)
    return pa.schema([(label_name(name), _kind(name, whole[name])) for name in sorted(whole)])


def _kind(extension: str, integers: bool) -> pa.DataType:
    if integers:
        return pa.int64()
    return pa.string() if extension in TEXT | INTEGER else pa.large_binary()


def _is_integer(value: bytes) -> bool:
    try:
        return abs(int(value)) < 1 << 63
    except ValueError:
        return False


def _value(data: bytes, kind: pa.DataType) -> Any:
    if pa.types.is_integer(kind):
        return conform(int(data), kind)
    return data.decode() if pa.types.is_string(kind) else data


def _open_tar(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:")


def _members(tar: tarfile.TarFile, *, quiet: bool = False) -> Iterator[tarfile.TarInfo]:
    """Members in order, forgotten at once; `quiet`: a broken rest counts as the end."""
    while True:
        try:
            member = tar.next()
        except (tarfile.TarError, OSError, EOFError):
            if quiet:
                return
            raise
        if member is None:
            if not quiet:
                _check_end(tar)
            return
        tar.members = []  # type: ignore[attr-defined]
        yield member


def _check_end(tar: tarfile.TarFile) -> None:
    """ReadError unless a block of zeros ends the tar: tarfile takes any bad header for an end."""
    assert tar.fileobj
    tar.fileobj.seek(tar.offset)  # type: ignore[attr-defined]
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        place = tar.offset  # type: ignore[attr-defined]
        raise tarfile.ReadError(f"cut or damaged at byte {place}: no end mark")


def _stem_of(member: tarfile.TarInfo) -> str:
    return _stem(member.name)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > limits.MAX_SOURCE_BYTES:
        raise PictureTooLarge(f"{member.name}: more than {limits.MAX_SOURCE_BYTES} bytes")
    reader = tar.extractfile(member)
    data = reader.read() if reader else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name}: the shard ends in the middle of it")
    return data


def _stem(name: str) -> str:
    folder, _, base = name.removeprefix("./").rpartition("/")
    stem = base.split(".", 1)[0] or base
    return f"{folder}/{stem}" if folder else stem


def _extension(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2]
