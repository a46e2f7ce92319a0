"""Every error a person or a caller can meet, one class for each broken rule."""


class UnderpaintError(Exception):
    """Root of all errors raised on purpose; its text is one clear line."""


class UsageError(UnderpaintError):
    """A mistake in what was asked (no such folder, layer 9 of 7): exit status 2."""


class PictureError(UnderpaintError):
    """A source picture cannot become pixels."""


class UnsupportedFormat(PictureError):
    """The bytes are in no picture format of the allow-list."""


class PictureTooLarge(PictureError):
    """Width, height, pixel count or byte count is over its limit."""


class PictureDamaged(PictureError):
    """The picture's bytes are cut or corrupt."""


class StreamError(UnderpaintError):
    """A layer of a stream cannot be read."""


class LayerDamaged(StreamError):
    """A layer fails its checksum, length or symbol count; coarser layers still decode."""

    def __init__(self, layer: int, reason: str) -> None:
        super().__init__(f"layer {layer}: {reason}")
        self.layer = layer
        self.reason = reason


class UnknownVersion(StreamError):
    """The stream was written by a version of the format that this reader does not know."""


class WeightsMismatch(StreamError):
    """The stream names other weights than the ones at hand."""


class WeightsDamaged(UnderpaintError):
    """A weights file lacks a tensor, has one of a wrong shape, or fails its checksum."""


class ChecksumMismatch(UnderpaintError):
    """A fetched file does not have the SHA-256 that its address names."""


class FeaturesInvalid(UnderpaintError):
    """A network gives no features of a picture: values that are not finite, or all zeros."""


class ArchiveError(UnderpaintError):
    """An archive cannot be read or written."""


class NotAnArchive(ArchiveError, UsageError):
    """The path holds no Underpaint archive."""


class ArchiveDamaged(ArchiveError):
    """A file of the archive is missing, cut or fails a checksum."""


class UnknownArchiveVersion(ArchiveError):
    """The archive needs a version or a feature of the format that this reader does not know."""


class RowInvalid(ArchiveError):
    """A row or dead letter breaks a rule of the archive and was not written."""


class DuplicateKey(RowInvalid):
    """Two rows or dead letters of one archive have the same key."""


class UnitConflict(ArchiveError):
    """The unit of work is already committed with other content; the first commit stands."""

    def __init__(self, unit: str, commit: object) -> None:
        super().__init__(f"unit {unit!r} is already committed with other content")
        self.unit = unit
        self.commit = commit


class NoSuchKey(ArchiveError, UsageError):
    """The archive holds no row of this key."""


class StateMismatch(ArchiveError, UsageError):
    """A saved reader state belongs to another archive, order or set of workers."""


class MeasurementFailed(UnderpaintError):
    """A command or process that was to be measured failed or was lost."""
