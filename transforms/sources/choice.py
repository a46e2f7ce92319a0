"""The options of reading inputs that a user can choose."""

from __future__ import annotations

from dataclasses import dataclass

from underpaint.codec.archive.label_columns import parse_type
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.web import DEFAULT_LIMITS, TimeLimits
from underpaint.transforms.sources.kinds import SHARD_SUFFIXES
from underpaint.transforms.sources.labels import Declared

KINDS = ("auto", "files", *SHARD_SUFFIXES)
"""Values of `--source`, besides the dotted name `module:Class` of a source."""

TAR_KEYS = ("first-dot", "last-dot")


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
