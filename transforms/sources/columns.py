"""Which label columns a job has: those that the starts of a few shards show, from first to last.

All rows of an archive have the same columns, and they must be known before the first shard is read
through. A record with a label that none of those starts has shown is a dead letter: it is reported
and can be tried again, where dropping the label would lose it without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from underpaint.codec.errors import RowInvalid, UsageError
from underpaint.transforms.records import Shard

PEEKED_SHARDS = 16
"""Most shards whose starts are looked at."""

T = TypeVar("T")


def look_at(shards: Sequence[Shard], look: Callable[[Shard], T]) -> list[T]:
    """What `look` finds at shards spread evenly over all, the first one first.

    The first shard's errors are passed on; of others a UsageError is left to their reading.
    """
    first, *others = _spread(shards)

    def try_to_look(shard: Shard) -> list[T]:
        try:
            return [look(shard)]
        except UsageError:
            return []

    found = [look(first)]
    with ThreadPoolExecutor(8) as pool:
        for each in pool.map(try_to_look, others):
            found += each
    return found


def merged(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """All columns of all schemas, a wider number type for two; UsageError where types clash."""
    try:
        return pa.unify_schemas(list(schemas), promote_options="permissive")
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"labels of the inputs do not fit together: {reason}") from None


def check_labels(names: Iterable[str], columns: pa.Schema) -> None:
    """RowInvalid for the names of labels that have no column."""
    unknown = sorted(set(names).difference(columns.names))
    if unknown:
        raise RowInvalid(
            f"no column for label {', '.join(unknown)}: it is not at the start of the first shard, "
            f"nor of {PEEKED_SHARDS} others (name a shard first that has it)"
        )


def _spread(shards: Sequence[Shard]) -> list[Shard]:
    last = len(shards) - 1
    steps = min(PEEKED_SHARDS, last)
    return [shards[step * last // max(1, steps)] for step in range(steps + 1)]
