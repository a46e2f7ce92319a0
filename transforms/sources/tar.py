"""Tar files of pictures, WebDataset shards among them; see `samples` for what becomes of a member.

A plain tar of this machine is cut into spans by its headers alone, and each is read by itself. One
that is compressed or on a remote store is read from start to end by one worker.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import IO

import pyarrow as pa
from fsspec.utils import glob_translate

from underpaint.codec import limits
from underpaint.codec.errors import PictureTooLarge, UsageError
from underpaint.transforms.records import Record, Shard, Skipped, Span
from underpaint.transforms.sources.addresses import archive_chain
from underpaint.transforms.sources.base import SPAN_RECORDS, closed_spans, whole
from underpaint.transforms.sources.labels import peek_budget, until_damage
from underpaint.transforms.sources.member_source import MemberSource
from underpaint.transforms.sources.recognition import HEAD_BYTES
from underpaint.transforms.sources.samples import (
    LINK,
    Member,
    SampleRules,
    is_left_out,
    label_types,
    member_name,
    read_ahead,
    records_of_sample,
    samples,
    sorted_out,
    within_budget,
)
from underpaint.transforms.sources.streams import Forward, Place, is_random_access, opened, raw_file

HOP_BYTES = 2 * tarfile.BLOCKSIZE
"""Going from one header to the next reads about this much."""

LEAST_MEMBER_BYTES = 6 << 10
"""Going through headers alone pays for members of this size on average, and larger ones."""

_TAR_ERRORS = (tarfile.TarError, OSError, EOFError, ValueError)


@dataclass(frozen=True)
class TarSource(MemberSource):
    """Tar shards."""

    kind = "tar"

    @staticmethod
    def label_types(shard: Shard, rules: SampleRules) -> dict[str, pa.DataType]:
        """See `MemberSource`."""
        return _peek(shard, rules)

    def split(self, shard: Shard, span_bytes: int) -> Iterator[Span]:
        """Runs of whole samples, found by going through the headers only, where that is cheap."""
        target = target_of(shard)
        if shard.size <= span_bytes or archive_chain(shard.uri) or not is_random_access(target):
            yield whole(shard)
            return
        with raw_file(target, buffered=False) as file, _open(file) as tar:
            sizes = [member.size for member in islice(_members(tar, quiet=True), 64)]
        if sum(sizes) < len(sizes) * LEAST_MEMBER_BYTES:
            yield whole(shard)
            return
        start = stop = first = ordinal = 0
        broken = ""
        with raw_file(target, buffered=False) as file, _open(file) as tar:
            try:
                for sample in samples(_members(tar), self.rules):
                    begin, count = sample[0].place, ordinal - first
                    full = begin - start >= span_bytes or count >= SPAN_RECORDS
                    if count and full and not is_left_out(sample[0]):
                        yield Span(start, begin, first, count, begin - start)
                        start, first = begin, ordinal
                    ordinal += len(sorted_out(sample, self.rules)[0])
            except _TAR_ERRORS as error:
                broken = f"{type(error).__name__}: {error}"
            stop = tar.offset  # type: ignore[attr-defined]
        if stop > start:
            yield Span(start, stop, first, ordinal - first, stop - start)
        if broken:
            yield Span(stop, stop, ordinal, 0, 0, broken=broken)

    def read(self, shard: Shard, span: Span) -> Iterator[Record | Skipped]:
        """The records of a part of a plain tar of this machine."""
        with raw_file(target_of(shard)) as file:
            file.seek(span.start)
            with _open(file) as tar:
                members = _members(tar, quiet=True, stop=span.stop)
                yield from self._records(shard, read_ahead(_chosen(members, shard)))

    def stream(
        self, shard: Shard, span: Span, span_bytes: int
    ) -> Iterator[tuple[Span, list[Record | Skipped]]]:
        """The records of a whole tar, read from start to end."""
        place = Place()

        def records() -> Iterator[Record | Skipped]:
            target = target_of(shard)
            with opened(target, place) as shard_file, _open(shard_file.file) as tar:
                yield from self._records(shard, read_ahead(_chosen(_members(tar), shard)))

        yield from closed_spans(some_record(records(), shard), place, span_bytes)

    def _records(self, shard: Shard, members: Iterator[Member]) -> Iterator[Record | Skipped]:
        uri = member_uri(shard)
        for sample in samples(members, self.rules):
            yield from records_of_sample(sample, shard.prefix, uri, self.rules)


def member_uri(shard: Shard) -> Callable[[str], str]:
    """The address of a member of a shard, by its name."""
    chain = archive_chain(shard.uri)
    if chain is None:
        return lambda name: f"{shard.uri}#{name}"
    scheme, _, target = chain
    return lambda name: f"{scheme}://{name}::{target}"


def is_chosen(name: str, shard: Shard) -> bool:
    """Whether a member is one that the shard's address asks for."""
    chain = archive_chain(shard.uri)
    if chain is None or not chain[1]:
        return True
    pattern = chain[1]
    if not any(letter in pattern for letter in "*?["):
        return name == pattern or name.startswith(pattern + "/")
    parts = name.split("/")
    above = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return any(_glob(pattern).match(path) for path in above)


def some_record(records: Iterator[Record | Skipped], shard: Shard) -> Iterator[Record | Skipped]:
    """The records; FileNotFoundError where the address of a shard asks for members it has not."""
    none = True
    for record in records:
        none = False
        yield record
    if none and archive_chain(shard.uri):
        raise FileNotFoundError(f"no member of the archive matches {shard.uri}")


def target_of(shard: Shard) -> str:
    """The address of the file that holds the members."""
    chain = archive_chain(shard.uri)
    return chain[2] if chain else shard.uri


@lru_cache(maxsize=64)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(glob_translate(pattern))


def _peek(shard: Shard, rules: SampleRules) -> dict[str, pa.DataType]:
    """Types of the labels at the start of a shard: of all of it where its headers suffice."""
    budget = peek_budget(shard.size)
    target = target_of(shard)
    try:
        if is_random_access(target):
            with raw_file(target, buffered=False) as file, _open(file) as tar:
                chosen = until_damage(_chosen(_members(tar), shard))
                return label_types(samples(islice(chosen, budget // HOP_BYTES), rules), rules)
        with opened(target) as shard_file, _open(shard_file.file) as tar:
            members = until_damage(read_ahead(_chosen(_members(tar), shard)))
            first = within_budget(members, rules, shard_file.place, budget)
            return label_types(samples(first, rules), rules)
    except FileNotFoundError:
        raise UsageError(f"no such file: {target}") from None
    except _TAR_ERRORS:
        return {}  # a damaged shard is a dead letter of its own when it is read


def _open(file: IO[bytes] | Forward) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r:")  # type: ignore[arg-type]


def _chosen(members: Iterator[Member], shard: Shard) -> Iterator[Member]:
    return (member for member in members if is_chosen(member.name, shard))


def _members(
    tar: tarfile.TarFile, *, quiet: bool = False, stop: int | None = None
) -> Iterator[Member]:
    """Members in order, forgotten at once; `quiet`: a broken rest counts as the end."""
    while True:
        try:
            info = tar.next()
        except _TAR_ERRORS:
            if quiet:
                return
            raise
        if info is None:
            if not quiet:
                _check_end(tar)
            return
        tar.members = []  # type: ignore[attr-defined]
        if stop is not None and info.offset >= stop:
            return
        if not info.isdir():
            yield Member(
                member_name(info.name),
                info.size,
                info.offset,
                partial(_content, tar, info),
                partial(_content, tar, info, HEAD_BYTES),
                "" if info.isfile() else LINK,
            )


def _check_end(tar: tarfile.TarFile) -> None:
    """ReadError unless zeros end the tar: tarfile takes any bad header for an end.

    Reading to the end of a compressed tar verifies its checksum, too.
    """
    assert tar.fileobj
    place = tar.offset  # type: ignore[attr-defined]
    tar.fileobj.seek(place)
    rest = tar.fileobj.read(tarfile.BLOCKSIZE)
    if len(rest) < tarfile.BLOCKSIZE or any(rest):
        raise tarfile.ReadError(f"cut or damaged at byte {place}: no end mark")
    while rest := tar.fileobj.read(1 << 16):
        if any(rest):
            raise tarfile.ReadError(f"more data behind the end mark at byte {place}")


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo, most: int | None = None) -> bytes:
    """The content of a member, or its first `most` bytes."""
    if most is None and info.size > limits.MAX_SOURCE_BYTES:
        raise PictureTooLarge(f"{info.name}: more than {limits.MAX_SOURCE_BYTES} bytes")
    reader = tar.extractfile(info)
    wanted = info.size if most is None else min(most, info.size)
    data = reader.read(wanted) if reader else b""
    if len(data) != wanted:
        raise tarfile.ReadError(f"{info.name}: the shard ends in the middle of it")
    return data
