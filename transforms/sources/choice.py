"""The options of reading inputs that a user can choose."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from underpaint.codec.archive.label_columns import parse_type
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.web import DEFAULT_LIMITS, TimeLimits
from underpaint.transforms.sources.kinds import SHARD_SUFFIXES
from underpaint.transforms.sources.labels import Declared

KINDS = ("auto", "files", *SHARD_SUFFIXES)
"""Values of `--source`, besides the dotted name `module:Class` of a source."""

TAR_KEYS = ("first-dot", "last-dot")


_COLUMNS = ("tfrecord", "parquet", "manifest")

USED_BY = {
    "picture": ("--picture-column", ("tar", "zip", "tfrecord", "parquet")),
    "url": ("--url-column", ("manifest",)),
    "key": ("--key-column", _COLUMNS),
    "labels": ("--label and --labels-schema", ("tar", "zip", *_COLUMNS)),
    "label_from_folder": ("--label-from-folder", ("files", "tar", "zip")),
    "tar_key": ("--tar-key", ("tar", "zip")),
}
"""Field of `Choice` -> the options that set it, and the kinds of sources that use it."""

DESCRIPTIONS = {
    "files": "files of pictures",
    "tar": "tar shards",
    "zip": "zip shards",
    "tfrecord": "TFRecord shards",
    "parquet": "Parquet shards",
    "manifest": "tables of addresses",
}
"""Kinds of sources, as messages name them."""


@dataclass(frozen=True)
class Choice:
    """How inputs are read."""

    kind: str = "auto"
    picture: str | None = None
    """Column or feature with the bytes of the picture; of a tar or zip, the suffix of pictures."""
    url: str | None = None
    """Column of a manifest with the address of the picture."""
    key: str | None = None
    """Column or feature that names the record."""
    labels: Declared = ()
    """Name and Arrow type (as `int64`) of each label whose type is stated."""
    label_from_folder: bool = False
    """Store the name of the folder that holds a picture as its label `label`."""
    tar_key: str = "first-dot"
    """Which dot of a member's base name ends the name of its sample: first-dot or last-dot."""
    stall_s: float = DEFAULT_LIMITS.stall_s
    """Seconds that a download may go on with hardly any bytes arriving."""
    connect_s: float = DEFAULT_LIMITS.connect_s
    """Seconds that a server may take to accept a connection."""

    @property
    def time_limits(self) -> TimeLimits:
        """Return the time limits of a download."""
        total = max(DEFAULT_LIMITS.total_s, self.stall_s)
        return TimeLimits(connect_s=self.connect_s, stall_s=self.stall_s, total_s=total)

    def check(self) -> None:
        """UsageError for an invalid value."""
        if ":" not in self.kind and self.kind not in KINDS:
            raise UsageError(f"no source {self.kind!r}: choose from {', '.join(KINDS)}")
        if self.tar_key not in TAR_KEYS:
            raise UsageError(f"--tar-key {self.tar_key}: choose from {', '.join(TAR_KEYS)}")
        for _, kind in self.labels:
            parse_type(kind)


def check_used(choice: Choice, kinds: Collection[str]) -> None:
    """UsageError for an option that none of the sources uses; `kinds` are those of the inputs.

    Without kinds, the only source is one of the user's own, which takes no options.
    """
    default = Choice()
    for name, (option, users) in USED_BY.items():
        if getattr(choice, name) == getattr(default, name) or not set(kinds).isdisjoint(users):
            continue
        found = " and ".join(DESCRIPTIONS[kind] for kind in DESCRIPTIONS if kind in kinds)
        wanted = ", ".join(DESCRIPTIONS[kind] for kind in users)
        raise UsageError(
            f"{option}: no effect on {found or f'--source {choice.kind}'}, only on {wanted}; "
            "leave it out"
        )
