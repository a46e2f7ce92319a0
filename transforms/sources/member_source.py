"""Sources whose shards have members: what tar and zip share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import pyarrow as pa

from underpaint.transforms.records import Shard
from underpaint.transforms.sources.base import Source
from underpaint.transforms.sources.labels import Declared, look_at
from underpaint.transforms.sources.samples import SampleRules, label_columns


@dataclass(frozen=True)
class MemberSource(Source):
    """Shards whose members become records by `SampleRules`."""

    shards: tuple[Shard, ...]
    rules: SampleRules = field(default_factory=SampleRules)

    @classmethod
    def of(
        cls, shards: tuple[Shard, ...], rules: SampleRules | None = None, declared: Declared = ()
    ) -> Self:
        """Return the source of these shards; `labels` determines their label columns."""
        rules = rules or SampleRules()
        types = look_at(shards, lambda shard: cls.label_types(shard, rules))
        return cls(shards, replace(rules, labels=label_columns(types, declared, rules)))

    @staticmethod
    @abstractmethod
    def label_types(shard: Shard, rules: SampleRules) -> dict[str, pa.DataType]:
        """Return the types of the labels found in a shard, or at its start."""

    def listing(self) -> Iterator[Shard]:
        """Yield the shards."""
        yield from self.shards

    def labels(self) -> pa.Schema:
        """Return one column for each extension."""
        return self.rules.labels.schema

    def with_labels(self, schema: pa.Schema) -> Self:
        """See `Source`."""
        labels = self.rules.labels.retyped(schema)
        return replace(self, rules=replace(self.rules, labels=labels))

    def settings(self) -> str:
        """Return how members become records."""
        return f"{self.rules.picture} {self.rules.last_dot}"
