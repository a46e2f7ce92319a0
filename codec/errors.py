"""Every error raised on purpose, one class for each kind of failure.

Each class has a stable `code` for tools and tests to match; messages are for people and may change.
Errors of the format also carry the `rule` of the specification that was broken (`docs/stream.md`).
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar


class UnderpaintError(Exception):
    """Root of all errors raised on purpose. The message is one line."""

    code: ClassVar[str] = "underpaint-error"


class UsageError(UnderpaintError):
    """The request is wrong: a folder that does not exist, layer 9 of 7. Exit status 2."""

    code = "usage"


class SourceChanged(UnderpaintError):
    """A file whose picture the archive holds has other content now."""

    code = "source-changed"


class KeyConflict(UnderpaintError):
    """The key of a picture belongs to a picture of another source."""

    code = "key-conflict"


class ShardCut(UnderpaintError):
    """The rest of a shard cannot be read, and how many records it has is unknown."""

    code = "shard-cut"


class RangesUnsupported(UsageError):
    """A web server ignores byte ranges and sends whole files."""

    code = "ranges-unsupported"

    @staticmethod
    def of(address: str, what: str) -> RangesUnsupported:
        """Return the error for an address of a file or an archive, which `what` says."""
        return RangesUnsupported(
            f"{address}: the server sends whole files where a byte range is requested; use a "
            f"server that supports ranges, or copy the {what} to a local folder"
        )


class PictureError(UnderpaintError):
    """A source picture cannot be decoded to pixels."""

    code = "picture"


class UnsupportedFormat(PictureError):
    """The bytes are in no picture format of the allow-list."""

    code = "unsupported-format"


class PictureTooLarge(PictureError):
    """Width, height, pixel count or byte count is over its limit."""

    code = "picture-too-large"


class PictureDamaged(PictureError):
    """The picture's bytes are truncated or corrupt."""

    code = "picture-damaged"


class StreamError(UnderpaintError):
    """A layer of a stream cannot be read."""

    code = "stream"


class LayerDamaged(StreamError):
    """A layer breaks a rule of the format; coarser layers still decode.

    `layer` is its index in the stream, from 0; the message numbers layers from 1. `rule` is the
    rule of `docs/stream.md` that it breaks, such as "S4".
    """

    code = "layer-damaged"

    def __init__(self, layer: int, rule: str, reason: str) -> None:
        super().__init__(f"layer {layer + 1}: {reason}")
        self.layer = layer
        self.rule = rule
        self.reason = reason

    def __reduce__(self) -> tuple[type[LayerDamaged], tuple[int, str, str]]:
        return LayerDamaged, (self.layer, self.rule, self.reason)


class UnknownVersion(StreamError):
    """The stream was written in a version of the format that this reader does not know."""

    code = "unknown-stream-version"


class WeightsMismatch(StreamError):
    """The stream was written with other weights than those loaded."""

    code = "weights-mismatch"


class WeightsDamaged(UnderpaintError):
    """A file is not a valid weights file; `rule` is the rule of `docs/stream.md` that it breaks."""

    code = "weights-damaged"

    def __init__(self, reason: str, *, rule: str) -> None:
        super().__init__(reason)
        self.rule = rule

    def __reduce__(self) -> tuple[partial[WeightsDamaged], tuple[str]]:
        return partial(WeightsDamaged, rule=self.rule), (str(self),)


class ChecksumMismatch(UnderpaintError):
    """A downloaded file does not have the SHA-256 that its address names."""

    code = "checksum-mismatch"


class FeaturesInvalid(UnderpaintError):
    """The features of a picture are not finite, or all zero."""

    code = "features-invalid"


class ArchiveError(UnderpaintError):
    """An archive cannot be read or written."""

    code = "archive"


class NotAnArchive(ArchiveError, UsageError):
    """The path holds no Underpaint archive."""

    code = "not-an-archive"


class ArchiveDamaged(ArchiveError):
    """A file of the archive is missing or truncated, or fails a checksum."""

    code = "archive-damaged"


class ArchiveChanged(ArchiveError):
    """Another archive, or none, is in the place of the one that was opened."""

    code = "archive-changed"


class FileMissing(ArchiveDamaged):
    """A file of the archive is not there."""

    code = "file-missing"


class UnknownArchiveVersion(ArchiveError):
    """The archive needs a version or a feature of the format that this reader does not know."""

    code = "unknown-archive-version"


class RowInvalid(ArchiveError):
    """A row or dead letter breaks a rule of the archive and was not written."""

    code = "row-invalid"


class DuplicateKey(RowInvalid):
    """Two rows or dead letters of one archive have the same key."""

    code = "duplicate-key"


class ArchivesDiffer(ArchiveError, UsageError):
    """Archives cannot be merged, because they differ in what all rows of one must share."""

    code = "archives-differ"


class UnitConflict(ArchiveError):
    """The work unit is already committed with other content; the first commit stands."""

    code = "unit-conflict"

    def __init__(self, unit: str, commit: object) -> None:
        super().__init__(f"unit {unit!r} is already committed with other content")
        self.unit = unit
        self.commit = commit

    def __reduce__(self) -> tuple[type[UnitConflict], tuple[str, object]]:
        return UnitConflict, (self.unit, self.commit)


class NoSuchKey(ArchiveError, UsageError):
    """The archive holds no row with this key."""

    code = "no-such-key"


class StateMismatch(ArchiveError, UsageError):
    """A saved reader state belongs to another archive, order or set of workers."""

    code = "state-mismatch"


class MeasurementFailed(UnderpaintError):
    """A command or process that was being measured failed or was lost."""

    code = "measurement-failed"
