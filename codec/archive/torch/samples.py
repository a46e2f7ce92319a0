"""Converts rows of an archive to samples: bytes, latents or pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from underpaint.codec.archive.chosen_rows import chosen_rows
from underpaint.codec.archive.layer_columns import by_layer
from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.salvage import Damage, OnDamage
from underpaint.codec.archive.schema import EMBEDDING, FIXED_NAMES
from underpaint.codec.archive.tables import joined, vectors_of
from underpaint.codec.archive.torch.exact import to_shape
from underpaint.codec.archive.torch.options import SampleOptions
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged, LayerDamaged, StreamError, UsageError
from underpaint.codec.weights.header import check_made_with, content_id, fetch_weights

if TYPE_CHECKING:
    from underpaint.codec.codec import Codec

Sample = dict[str, Any]

REQUEST_BYTES = 16 << 10
"""Bytes that cost as much as one more request, where single rows and whole groups compete."""


@dataclass(frozen=True)
class Group:
    """One row group in memory."""

    file: int
    index: int
    table: pa.Table
    place: dict[int, int] | None
    """Row of the group -> row of the table, if some rows are missing; None: all are present."""
    whole: bool = True
    """Whether all readable rows are present."""
    archive: int = 0
    """Index of its archive, if a data set reads several."""


@dataclass(frozen=True)
class Wanted:
    """One row of a group, and its position in the epoch."""

    position: int
    group: Group
    row: int


class SampleMaker:
    """Loads row groups of an archive and converts their rows to samples."""

    def __init__(self, archive: Archive, options: SampleOptions) -> None:
        output, labels = options["output"], options["labels"]
        if isinstance(options["label"], str):
            labels = [options["label"]]
        if isinstance(labels, bool):
            self.labels = tuple(archive.label_names) if labels else ()
        else:
            self.labels = tuple(labels)
        unknown = [name for name in self.labels if name not in archive.label_names]
        if unknown:
            known = ", ".join(archive.label_names) or "none"
            raise UsageError(f"{archive.storage.root}: no label {unknown[0]!r}; there are: {known}")
        embedding_size = archive.manifest.embedding_size
        if options["features"] and archive.files and embedding_size is None:
            raise UsageError(
                f"{archive.storage.root}: no embeddings for features=True; encode with "
                "--embedding NAME"
            )
        self._features = options["features"] and embedding_size is not None
        self.archive = archive
        size = _size_of(archive, options)
        self.layer_columns = archive.layer_columns(options["layers"], size)
        self._by_layer = by_layer(self.layer_columns)
        self._size = archive.decoded_size(size)
        others = [EMBEDDING] if self._features else []
        for name in options["columns"]:
            if name not in (*FIXED_NAMES, *archive.label_names):
                known = ", ".join((*FIXED_NAMES, *archive.label_names))
                raise UsageError(
                    f"{archive.storage.root}: no small column {name!r}; there are: {known}"
                )
        self._small = list(dict.fromkeys(["key", *self.labels, *options["columns"], *others]))
        self.columns = [*self._small, *self.layer_columns]
        self._codec: Codec | None = None
        if output != "bytes" and options["weights"] is not None:
            check_made_with(archive.weights_id, content_id(fetch_weights(options["weights"])))
        if output != "bytes" and torch.device(options["device"]).type == "cpu":
            from underpaint.codec.reconstruct.preload import load_kernels

            load_kernels()  # here, so that the workers that a DataLoader forks inherit it
        self.files, self.groups, self._stored = archive.manifest.units.groups
        rows_of_file = np.bincount(self.files, self._stored, len(archive.files))
        per_row = self._bytes(archive.manifest.units) / rows_of_file
        self._per_row = 32 + per_row[self.files]
        self._chosen = chosen_rows(
            archive,
            where=options["where"],
            keys=options["keys"],
            limit=options["limit"],
            on_damage=options["on_damage"],
        )
        self.rows = self._stored
        """int64 [G]: chosen images of each row group."""
        if self._chosen is not None:
            self.rows = np.array([len(rows) for rows in self._chosen], np.int64)
        self.sizes = (self.rows * self._per_row).astype(np.int64)
        """int64 [G]: bytes of the chosen images of each row group."""
        self._options: SampleOptions = {**options, "where": None, "keys": None}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_codec": None}

    def __str__(self) -> str:
        content = self.content_of(str(len(self.archive.layer_names)))
        return f"{content}, {int(self.rows.sum())} images"

    def content_of(self, layers: str) -> str:
        """Content of the samples, in words; `layers` says how many layers there are to read."""
        return f"{self._options['output']}, layers 1 to {len(self._by_layer)} of {layers}"

    @property
    def identity(self) -> str:
        """Text that tells the chosen images of the archive apart from others."""
        name = self.archive.manifest.identity
        if self._chosen is None:
            return name
        digest = hashlib.sha256(self.rows.astype("<i8").tobytes())
        for rows in self._chosen:
            digest.update(rows.astype("<i8").tobytes())
        return f"{name} rows {digest.hexdigest()[:16]}"

    def stored_row(self, number: int, row: int) -> int:
        """Return the stored row of a chosen row of row group `number`."""
        return row if self._chosen is None else int(self._chosen[number][row])

    def load(self, number: int) -> Group:
        """Load the chosen rows of row group `number`, or more if that costs less.

        Raises ArchiveDamaged unless damage goes to `on_damage`.
        """
        if self._chosen is None or self.rows[number] == self._stored[number]:
            return self._load_all(number)
        rows = self._chosen[number].tolist()
        runs = 1 + sum(after - row > 1 for row, after in pairwise(rows))
        return self._load_stored(number, rows, runs)

    def load_rows(self, number: int, rows: Sequence[int]) -> Group:
        """Load some of the chosen rows of row group `number`, or more if that costs less."""
        stored = [self.stored_row(number, row) for row in rows]
        return self._load_stored(number, stored, len(rows))

    def _load_all(self, number: int) -> Group:
        file, index = int(self.files[number]), int(self.groups[number])
        try:
            table = self.archive.data.read_group(file, index, self.columns)
            return Group(file, index, table.combine_chunks(), None)
        except ArchiveDamaged as error:
            if self._options["on_damage"] is None:
                raise
            return self._salvaged(file, index, error, self._options["on_damage"])

    def _load_stored(self, number: int, rows: Sequence[int], runs: int) -> Group:
        """Load stored rows of a row group, which are `runs` runs, by their bytes: unless all of it
        costs less.
        """
        requests = runs * len(self.layer_columns)
        by_bytes = len(rows) * self._per_row[number] + requests * REQUEST_BYTES
        if by_bytes >= self._stored[number] * self._per_row[number]:
            return self._load_all(number)
        file, index = int(self.files[number]), int(self.groups[number])
        try:
            table = self.archive.data.read_rows(file, index, rows, self.columns)
        except ArchiveDamaged:
            return self._load_all(number)  # which raises the error, or determines the loss
        place = {row: number for number, row in enumerate(rows)}
        return Group(file, index, table, place, whole=False)

    def make(self, wanted: Sequence[Wanted]) -> list[Sample]:
        """Return the samples of those rows that are intact, in order."""
        rows = []
        for one in wanted:
            place = one.row if one.group.place is None else one.group.place.get(one.row)
            if place is not None:
                rows.append((one, place))
        samples = [self._plain(one, place) for one, place in rows]
        streams = [self._stream(one.group.table, place) for one, place in rows]
        transform = self._options["transform"]
        if self._options["output"] == "bytes":
            for sample, stream in zip(samples, streams, strict=True):
                sample["layers"] = transform(stream) if transform else stream
            return samples
        decoded = self._decoded(streams, [one for one, _ in rows], samples)
        return [
            {**sample, **self._content(tensors)}
            for sample, tensors in zip(samples, decoded, strict=True)
            if tensors is not None
        ]

    def _salvaged(self, file: int, index: int, error: Exception, report: OnDamage) -> Group:
        lost: set[str] = set()

        def note(damage: Damage) -> None:
            if damage.key is not None:
                lost.add(damage.key)
            report(damage)

        found = self.archive.data.salvage_group(file, index, self.columns, error, note)
        if found is None:
            return Group(file, index, pa.table({}), {})
        table, rows = found
        keys = table.column("key").to_pylist()
        place = {
            int(row): at
            for at, (row, key) in enumerate(zip(rows, keys, strict=True))
            if key not in lost
        }
        return Group(file, index, table.combine_chunks(), place)

    def _plain(self, one: Wanted, place: int) -> Sample:
        table = one.group.table
        sample: Sample = {"key": table.column("key")[place].as_py(), "position": one.position}

        def values(names: Iterable[str]) -> dict[str, Any]:
            return {name: table.column(name)[place].as_py() for name in names}

        label = self._options["label"]
        if isinstance(label, str):
            sample["label"] = values([label])[label]
        elif label is not None:
            sample["label"] = label(values(self.labels))
        elif self.labels:
            sample["labels"] = values(self.labels)
        if self._options["columns"]:
            sample["columns"] = values(self._options["columns"])
        if self._features:
            (vector,) = vectors_of(table.column(EMBEDDING).slice(place, 1))
            sample["features"] = torch.from_numpy(vector.copy())
        return sample

    def _content(self, made: Sample) -> Sample:
        """Return what a sample holds of a decoded image: converted and transformed."""
        transform = self._options["transform"]
        if self._options["output"] == "latent":
            return transform(made) if transform else made
        picture = made["image"]
        if self._options["output"] == "pil":
            picture = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
        return {"image": transform(picture) if transform else picture}

    def _stream(self, table: pa.Table, place: int) -> tuple[bytes, ...]:
        layers = []
        for names in self._by_layer:
            values = (table.column(name)[place] for name in names)
            parts = (value.as_buffer().to_pybytes() if value.is_valid else None for value in values)
            layers.append(joined(list(parts)))
        return tuple(layer for layer in layers if layer is not None)

    def _bytes(self, units: Units) -> np.ndarray:
        """Return the bytes of the columns that the samples need, of each data file."""
        layers, sizes = len(self._by_layer), len(self.archive.sizes)
        stored = len(self.archive.layer_names)
        if sizes == 1:
            return units.data_numbers("layer_bytes")[:, :layers].sum(1)
        by_size = units.data_numbers("size_bytes").reshape(-1, sizes, stored)
        return by_size[:, : len(self.layer_columns) // layers, :layers].sum((1, 2))

    def _decoded(
        self, streams: list[tuple[bytes, ...]], wanted: Sequence[Wanted], samples: Sequence[Sample]
    ) -> list[Sample | None]:
        if not streams:
            return []
        try:
            return [*self._tensors(streams)]
        except StreamError as error:
            if self._options["on_damage"] is None and len(streams) == 1:
                raise _with_key(error, samples[0]["key"]) from None
        return [
            self._decoded_alone(stream, one, sample["key"])
            for stream, one, sample in zip(streams, wanted, samples, strict=True)
        ]

    def _decoded_alone(self, stream: tuple[bytes, ...], one: Wanted, key: str) -> Sample | None:
        try:
            return self._tensors([stream])[0]
        except StreamError as error:
            report = self._options["on_damage"]
            if report is None:
                raise _with_key(error, key) from None
            path = self.archive.files[one.group.file].path
            layer = error.layer if isinstance(error, LayerDamaged) else None
            report(Damage(path, one.group.index, key, layer or None, str(error)))
            return None

    def _tensors(self, streams: list[tuple[bytes, ...]]) -> list[Sample]:
        codec = self.codec
        if self._options["output"] in ("image", "pil"):
            refine = self._options["refine"]
            pictures = codec.decode_tensors(streams, size=self._size, refine=refine)
            exact, fit = self._options["exact"], self._options["fit"]
            if exact:
                pictures = [to_shape(picture, exact, fit) for picture in pictures]
            return [{"image": picture.contiguous()} for picture in pictures]
        return [
            {
                "class_map": torch.as_tensor(latents.class_map),
                "embedding": torch.as_tensor(latents.embedding),
                "coefficients": torch.as_tensor(latents.coefficients),
            }
            for latents in codec.latents(
                streams, size=self._size, normalize=self._options["normalize"]
            )
        ]

    @property
    def codec(self) -> Codec:
        """Return the codec of this process, loaded at first use; WeightsMismatch if it is another
        one.
        """
        if self._codec is None:
            from underpaint.codec.codec import Codec

            self._codec = Codec.load_for(
                self.archive.weights_id, self._options["weights"], device=self._options["device"]
            )
        return self._codec


def _size_of(archive: Archive, options: SampleOptions) -> int | None:
    """Return the size of the pictures to read: that which an exact shape needs, unless stated."""
    if options["exact"] is None:
        return options["size"]
    if options["size"] is not None:
        return options["size"]
    largest = archive.sizes[-1]
    needed = max(options["exact"])
    return min(needed, largest) if largest else needed


def _with_key(error: StreamError, key: str) -> StreamError:
    if isinstance(error, LayerDamaged):
        return LayerDamaged(error.layer, error.rule, f"picture {key!r}: {error.reason}")
    return type(error)(f"picture {key!r}: {error}")
