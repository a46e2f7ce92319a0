"""Read sources as a job does: everything that is listed, every span as a worker reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from underpaint.transforms.encode import split_or_broken
from underpaint.transforms.records import (
    Item,
    Part,
    Record,
    Shard,
    Skipped,
    Span,
    unit_of_items,
    unit_of_span,
)
from underpaint.transforms.sources import Choice, Source, listed, open_sources
from underpaint.transforms.work_unit import records_of

AUTO = Choice()


def read_everything(
    inputs: Sequence[Path | str], choice: Choice = AUTO, span_bytes: int = 1
) -> list[Record | Skipped]:
    """Every record of the inputs, through spans of `span_bytes`, and what is skipped."""
    sources = open_sources([str(path) for path in inputs], choice)
    found: list[Record | Skipped] = []
    for each in listed(sources):
        if isinstance(each, Skipped):
            found.append(each)
        elif isinstance(each, Item):
            found += records_of(unit_of_items([each]), sources[each.source])
        elif isinstance(each, Part):
            found += records_of(unit_of_span(each.shard, each.span, ""), sources[each.shard.source])
        else:
            for span in split_or_broken(sources[each.source], each, span_bytes):
                found += read_span(sources[each.source], each, span, span_bytes)
    return found


def read_span(
    source: Source, shard: Shard, span: Span, span_bytes: int = 1
) -> list[Record | Skipped]:
    """The records of a span, as a worker reads them."""
    if not span.open_ended:
        return list(records_of(unit_of_span(shard, span, ""), source))
    found: list[Record | Skipped] = []
    for closed, records in source.stream(shard, span, span_bytes):
        found += records_of(unit_of_span(shard, closed, ""), source, records)
    return found


def read_all(
    inputs: Sequence[Path | str], choice: Choice = AUTO, span_bytes: int = 1
) -> list[Record]:
    """Every record of the inputs."""
    found = read_everything(inputs, choice, span_bytes)
    return [record for record in found if isinstance(record, Record)]


def skipped(inputs: Sequence[Path | str], choice: Choice = AUTO) -> dict[str, int]:
    """How many files and members are skipped, by reason."""
    found = read_everything(inputs, choice)
    return Counter(each.reason for each in found if isinstance(each, Skipped))


def outcome(record: Record) -> bytes | type:
    """Its bytes, or the class of what reading them raises."""
    try:
        return record.fetch()
    except Exception as error:
        return type(error)
