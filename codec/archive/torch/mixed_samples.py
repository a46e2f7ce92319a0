"""MixedMaker: the samples of several archives, whose row groups are numbered through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.torch.options import SampleOptions
from underpaint.codec.archive.torch.samples import Group, Sample, SampleMaker, Wanted
from underpaint.codec.errors import NoSuchKey, UsageError, WeightsMismatch


class MixedMaker:
    """Loads row groups of one archive or several, and converts their rows to samples.

    With several, samples hold as many layers as all archives have, unless fewer are asked for, the
    labels that all archives have, and "archive", the index of theirs. The option `keys` is looked
    up in all archives, and each must be in one at least. Raises UsageError for more layers than an
    archive has.
    """

    def __init__(self, archives: Sequence[Archive], options: SampleOptions) -> None:
        if not archives:
            raise UsageError("a data set needs an archive")
        self.makers = [SampleMaker(one, _own(one, archives, options)) for one in archives]
        if options["output"] == "latent":
            _check_comparable(archives)
        for key in options["keys"] or () if len(archives) > 1 else ():
            if not any(key in archive for archive in archives):
                raise NoSuchKey(f"no picture {key!r} in any of {len(archives)} archives")
        self.rows = np.concatenate([maker.rows for maker in self.makers])
        """int64 [G]: chosen images of each row group of all archives."""
        self.sizes = np.concatenate([maker.sizes for maker in self.makers])
        """int64 [G]: bytes to read for them."""
        self.ends = tuple(accumulate(len(maker.rows) for maker in self.makers))
        """Number of row groups of each archive and of those before it."""

    def __str__(self) -> str:
        held = [maker for maker in self.makers if len(maker.archive)] or self.makers[:1]
        counts = sorted({len(maker.archive.layer_names) for maker in held})
        of = " or ".join(map(str, counts))
        return f"{held[0].content_of(of)}, {int(self.rows.sum()):,} images"

    @property
    def identity(self) -> str:
        """Text that tells the images and their order apart from those of other data sets."""
        return " + ".join(maker.identity for maker in self.makers)

    def load(self, number: int) -> Group:
        """Load the chosen rows of a row group, as `SampleMaker.load`."""
        maker, own, archive = self._at(number)
        return replace(maker.load(own), archive=archive)

    def load_rows(self, number: int, rows: Sequence[int]) -> Group:
        """Load some of the chosen rows of a row group, as `SampleMaker.load_rows`."""
        maker, own, archive = self._at(number)
        return replace(maker.load_rows(own, rows), archive=archive)

    def stored_row(self, number: int, row: int) -> int:
        """Return the stored row of a chosen row of a row group."""
        maker, own, _ = self._at(number)
        return maker.stored_row(own, row)

    def make(self, wanted: Sequence[Wanted]) -> list[Sample]:
        """Return the samples of those rows that are intact, archive by archive, in order."""
        if len(self.makers) == 1:
            return self.makers[0].make(wanted)
        samples = []
        for archive, maker in enumerate(self.makers):
            own = [one for one in wanted if one.group.archive == archive]
            samples += [{**sample, "archive": archive} for sample in maker.make(own)]
        return samples

    def _at(self, number: int) -> tuple[SampleMaker, int, int]:
        archive = next(at for at, end in enumerate(self.ends) if number < end)
        first = self.ends[archive - 1] if archive else 0
        return self.makers[archive], number - first, archive


def _own(archive: Archive, archives: Sequence[Archive], options: SampleOptions) -> SampleOptions:
    """Return the options for one of several archives."""
    if len(archives) == 1:
        return options
    own: SampleOptions = {**options}
    own["layers"] = _layers(archive, archives, options["layers"])
    if options["labels"] is True:
        others = [set(one.label_names) for one in archives]
        common = set.intersection(*others)
        own["labels"] = [name for name in archives[0].label_names if name in common]
    if options["keys"] is not None:
        own["keys"] = [key for key in options["keys"] if key in archive]
    return own


def _layers(archive: Archive, archives: Sequence[Archive], asked: int | None) -> int | None:
    """Return the layers to read of one of several archives; UsageError if it has too few."""
    if not len(archive):
        return None
    most = min(len(one.layer_names) for one in archives if len(one))
    if asked is not None and asked > len(archive.layer_names):
        raise UsageError(
            f"layers: {asked}; {archive.storage.root} has layers 1 to {len(archive.layer_names)}: "
            f"ask for at most {most}, which all archives have"
        )
    return most if asked is None else asked


def _check_comparable(archives: Sequence[Archive]) -> None:
    """Raise WeightsMismatch if latents of the archives do not mean the same."""
    first = archives[0]
    for other in archives[1:]:
        if other.weights_id != first.weights_id:
            raise WeightsMismatch(
                f"latents of {first.storage.root} (weights {first.weights_id}) and "
                f"{other.storage.root} (weights {other.weights_id}) do not mean the same: "
                "encode both with the same weights, or read them as pictures"
            )
