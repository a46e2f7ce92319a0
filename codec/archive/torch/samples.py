"""Converts rows of an archive to samples: bytes, latents or pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from underpaint.codec.archive.layer_columns import by_layer
from underpaint.codec.archive.reader import Archive, OnDamage
from underpaint.codec.archive.salvage import Damage
from underpaint.codec.archive.schema import EMBEDDING, FIXED_NAMES, PAGE_BYTES
from underpaint.codec.archive.tables import joined, vectors_of
from underpaint.codec.archive.torch.exact import Fit, to_shape
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveDamaged, LayerDamaged, StreamError, UsageError

if TYPE_CHECKING:
    from underpaint.codec.codec import Codec

Output = Literal["image", "latent", "bytes", "pil"]
Sample = dict[str, Any]


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


@dataclass(frozen=True)
class Wanted:
    """One row of a group, and its position in the epoch."""

    position: int
    group: Group
    row: int


class SampleArguments(TypedDict, total=False):
    """Types of the arguments that `LayerDataset` and `LayerMap` share, for type checkers."""

    layers: int | None
    size: int | None
    exact: tuple[int, int] | None
    fit: Fit
    output: Output
    labels: bool | Sequence[str]
    label: str | Callable[[dict[str, Any]], Any] | None
    columns: Sequence[str]
    features: bool
    transform: Callable[[Any], Any] | None
    weights: str | None
    device: str
    refine: bool
    on_damage: OnDamage | None


@dataclass(frozen=True)
class SampleOptions:
    """Content of the samples of a data set: the arguments that `LayerDataset` and `LayerMap` share.

    Args:
        layers: number of layers to fetch and decode (None: all).
        size: short side in pixels of the pictures to fetch and decode, as in `Codec.decode`: of the
            full picture and its halves, the smallest that reaches it (None: the largest there is).
        exact: height and width to which pictures are scaled, antialiased, so that samples form a
            batch. Unless `size` is given, only what these pictures need is read.
        fit: "crop" scales the centre of a picture with the proportions of `exact`, "stretch" all.
        output: content of a sample.
        labels: all label columns, none, or those named.
        label: name of a label column, or a function of the dict of labels: the sample then has its
            value or result as "label" in place of "labels".
        columns: further small columns, such as "width": a dict "columns" of the sample.
        features: whether samples hold the archive's embeddings.
        transform: a function of the content: of the picture, of the tuple of layers, or of a dict
            with the three tensors of latents. Its result replaces the content.
        weights, device: as in `Codec.load`; pictures stay on the device that decodes them.
        refine: whether pictures go through the backward network, as in `Codec.decode`: 0.2 to 0.3
            dB better, many times as slow on a CPU.
        on_damage: called with each `Damage`; the image is then left out. None: an error is raised.
    """

    layers: int | None = None
    size: int | None = None
    exact: tuple[int, int] | None = None
    fit: Fit = "crop"
    output: Output = "latent"
    labels: bool | Sequence[str] = True
    label: str | Callable[[dict[str, Any]], Any] | None = None
    columns: Sequence[str] = ()
    features: bool = False
    transform: Callable[[Any], Any] | None = None
    weights: str | None = None
    device: str = "cpu"
    refine: bool = False
    on_damage: OnDamage | None = None


class SampleMaker:
    """Loads row groups of an archive and converts their rows to samples."""

    def __init__(self, archive: Archive, options: SampleOptions) -> None:
        output, labels = options.output, options.labels
        if output not in get_args(Output):
            raise UsageError(f"output {output!r}: choose image, pil, latent or bytes")
        if isinstance(options.label, str):
            labels = [options.label]
        if isinstance(labels, bool):
            self.labels = tuple(archive.label_names) if labels else ()
        else:
            self.labels = tuple(labels)
        unknown = [name for name in self.labels if name not in archive.label_names]
        if unknown:
            raise UsageError(f"{archive.storage.root}: no label {unknown[0]!r}")
        embedding_size = archive.manifest.embedding_size
        if options.features and archive.files and embedding_size is None:
            raise UsageError(
                f"{archive.storage.root}: no embeddings for features=True; encode with "
                "--embedding NAME"
            )
        self._features = options.features and embedding_size is not None
        self.archive = archive
        size = _size_of(archive, options)
        self.layer_columns = archive.layer_columns(options.layers, size)
        self._by_layer = by_layer(self.layer_columns)
        self._size = archive.decoded_size(size)
        others = [EMBEDDING] if self._features else []
        for name in options.columns:
            if name not in (*FIXED_NAMES, *archive.label_names):
                raise UsageError(f"{archive.storage.root}: no small column {name!r}")
        self._small = list(dict.fromkeys(["key", *self.labels, *options.columns, *others]))
        self.columns = [*self._small, *self.layer_columns]
        self._options = options
        self._codec: Codec | None = None
        if output != "bytes" and torch.device(options.device).type == "cpu":
            from underpaint.codec.reconstruct.preload import load_kernels

            load_kernels()  # here, so that the workers that a DataLoader forks inherit it
        self.files, self.groups, self.rows = archive.manifest.units.groups
        rows_of_file = np.bincount(self.files, self.rows, len(archive.files))
        per_row = self._bytes(archive.manifest.units) / rows_of_file
        self.sizes = (self.rows * (32 + per_row[self.files])).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_codec": None}

    def __str__(self) -> str:
        layers, output = len(self._by_layer), self._options.output
        count = len(self.archive.layer_names)
        return f"{output}, layers 1 to {layers} of {count}, {len(self.archive)} images"

    def load(self, number: int) -> Group:
        """Load row group `number`; ArchiveDamaged unless damage goes to `on_damage`."""
        file, index = int(self.files[number]), int(self.groups[number])
        try:
            table = self.archive.read_group(file, index, self.columns)
            return Group(file, index, table.combine_chunks(), None)
        except ArchiveDamaged as error:
            if self._options.on_damage is None:
                raise
            return self._salvaged(file, index, error, self._options.on_damage)

    def load_rows(self, number: int, rows: Sequence[int]) -> Group:
        """Load some rows of row group `number`: by their pages if that costs less than the
        group.
        """
        by_pages = len(rows) * len(self.layer_columns) * PAGE_BYTES
        if by_pages >= int(self.sizes[number]):
            return self.load(number)
        file, index = int(self.files[number]), int(self.groups[number])
        try:
            small = self.archive.read_group(file, index, self._small).take(list(rows))
            read = [self.archive.read_blobs(file, index, row, self.layer_columns) for row in rows]
        except ArchiveDamaged:
            return self.load(number)  # which raises the error, or determines the loss
        for name in self.layer_columns:
            column = pa.array([blobs[name] for blobs in read], pa.large_binary())
            small = small.append_column(name, column)
        place = {row: number for number, row in enumerate(rows)}
        return Group(file, index, small, place, whole=False)

    def make(self, wanted: Sequence[Wanted]) -> list[Sample]:
        """Return the samples of those rows that are intact, in order."""
        rows = []
        for one in wanted:
            place = one.row if one.group.place is None else one.group.place.get(one.row)
            if place is not None:
                rows.append((one, place))
        samples = [self._plain(one, place) for one, place in rows]
        streams = [self._stream(one.group.table, place) for one, place in rows]
        transform = self._options.transform
        if self._options.output == "bytes":
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

        found = self.archive.salvage_group(file, index, self.columns, error, note)
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

        def values(names: Sequence[str]) -> dict[str, Any]:
            return {name: table.column(name)[place].as_py() for name in names}

        label = self._options.label
        if isinstance(label, str):
            sample["label"] = values([label])[label]
        elif label is not None:
            sample["label"] = label(values(self.labels))
        elif self.labels:
            sample["labels"] = values(self.labels)
        if self._options.columns:
            sample["columns"] = values(self._options.columns)
        if self._features:
            (vector,) = vectors_of(table.column(EMBEDDING).slice(place, 1))
            sample["features"] = torch.from_numpy(vector.copy())
        return sample

    def _content(self, made: Sample) -> Sample:
        """Return what a sample holds of a decoded image: converted and transformed."""
        transform = self._options.transform
        if self._options.output == "latent":
            return transform(made) if transform else made
        picture = made["image"]
        if self._options.output == "pil":
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
        if sizes == 1:
            return units.data_numbers("layer_bytes")[:, :layers].sum(1)
        by_size = units.data_numbers("size_bytes").reshape(len(units.files), sizes, -1)
        return by_size[:, : len(self.layer_columns) // layers, :layers].sum((1, 2))

    def _decoded(
        self, streams: list[tuple[bytes, ...]], wanted: Sequence[Wanted], samples: Sequence[Sample]
    ) -> list[Sample | None]:
        if not streams:
            return []
        try:
            return [*self._tensors(streams)]
        except StreamError as error:
            if self._options.on_damage is None and len(streams) == 1:
                raise _with_key(error, samples[0]["key"]) from None
        return [
            self._decoded_alone(stream, one, sample["key"])
            for stream, one, sample in zip(streams, wanted, samples, strict=True)
        ]

    def _decoded_alone(self, stream: tuple[bytes, ...], one: Wanted, key: str) -> Sample | None:
        try:
            return self._tensors([stream])[0]
        except StreamError as error:
            if self._options.on_damage is None:
                raise _with_key(error, key) from None
            path = self.archive.files[one.group.file].path
            layer = error.layer if isinstance(error, LayerDamaged) else None
            self._options.on_damage(Damage(path, one.group.index, key, layer or None, str(error)))
            return None

    def _tensors(self, streams: list[tuple[bytes, ...]]) -> list[Sample]:
        codec = self.codec
        if self._options.output in ("image", "pil"):
            refine = self._options.refine
            pictures = codec.decode_tensors(streams, size=self._size, refine=refine)
            exact, fit = self._options.exact, self._options.fit
            if exact:
                pictures = [to_shape(picture, exact, fit) for picture in pictures]
            return [{"image": picture.contiguous()} for picture in pictures]
        return [
            {
                "class_map": torch.as_tensor(latents.class_map),
                "embedding": torch.as_tensor(latents.embedding),
                "coefficients": torch.as_tensor(latents.coefficients),
            }
            for latents in codec.latents(streams, size=self._size)
        ]

    @property
    def codec(self) -> Codec:
        """Return the codec of this process, loaded at first use; WeightsMismatch if it is another
        one.
        """
        if self._codec is None:
            from underpaint.codec.codec import Codec

            self._codec = Codec.load_for(
                self.archive.weights_id, self._options.weights, device=self._options.device
            )
        return self._codec


def _size_of(archive: Archive, options: SampleOptions) -> int | None:
    """Return the size of the pictures to read: that which an exact shape needs, unless stated."""
    if options.exact is None:
        return options.size
    if options.output not in ("image", "pil"):
        raise UsageError('exact: an exact shape needs output="image" or "pil"')
    if min(options.exact) < 1 or options.fit not in ("crop", "stretch"):
        raise UsageError("exact: want a height and a width of 1 or more, and fit crop or stretch")
    if options.size is not None:
        return options.size
    largest = archive.sizes[-1]
    needed = max(options.exact)
    return min(needed, largest) if largest else needed


def _with_key(error: StreamError, key: str) -> StreamError:
    if isinstance(error, LayerDamaged):
        return LayerDamaged(error.layer, error.rule, f"picture {key!r}: {error.reason}")
    return type(error)(f"picture {key!r}: {error}")
