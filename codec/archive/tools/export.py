"""Exports the pictures of an archive, from any number of layers, for other tools.

WebDataset:  shard-000000.tar  NAME.png NAME.json  NAME.png NAME.json …
folder:      NAME.png … and metadata.jsonl (Hugging Face reads it as an "imagefolder")
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.rows import Row
from underpaint.codec.archive.salvage import Damage, OnDamage
from underpaint.codec.archive.selection import EVERYTHING, Selection
from underpaint.codec.archive.tools.targets import check_inside, prepare
from underpaint.codec.codec import Codec
from underpaint.codec.errors import LayerDamaged, StreamError, UsageError
from underpaint.codec.image_io.read import WRITE_SUFFIX, write_picture
from underpaint.codec.storage.files import Storage

BATCH = 16
"""Number of images decoded at once."""

SHARD_BYTES = 256 * 10**6
"""Default size of a tar shard in bytes."""

_EXPORTED = re.compile(
    rf"[^.~]+({'|'.join(map(re.escape, WRITE_SUFFIX.values()))}|\.underpaint|\.layer_[0-9]+)"
)
"""Names of pictures in a folder; what `export_name` returns has no dot."""

_SHARD = re.compile(r"shard-([0-9]{6,})\.tar")

LONGEST_NAME = 200
"""Longest name of an exported picture without its suffix."""


@dataclass(frozen=True)
class Exported:
    """Counts of an export."""

    images: int
    files: int
    bytes: int
    left: tuple[str, ...] = ()
    """Names of files in the folder that an earlier export of this form wrote, and this one not."""
    left_out: int = 0
    """Number of sound originals whose key is no path below the folder."""


def export(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    form: Literal["webdataset", "folder"] = "webdataset",
    format: str = "png",
    layers: int | None = None,
    size: int | None = None,
    selection: Selection = EVERYTHING,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    weights: str | None = None,
    device: str = "cpu",
    on_damage: OnDamage | None = None,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Write each image of an archive as a picture, decoded from layers 1 to `layers`.

    Args:
        size: short side in pixels of the pictures, as in `Codec.decode` (None: full).
        selection: the images to write.
        form: tar shards for WebDataset, or a folder of pictures with `metadata.jsonl`.
        format: "png", "jpeg", "webp"; or the layers themselves: "underpaint", one file of a
            picture, or "layers", a file each (`NAME.layer_1` …).
        shard_bytes: a tar is closed once it holds this many bytes.
        overwrite: whether the folder may hold files, which are replaced where names are equal;
            those of earlier exports that stay are named in `Exported.left`.
        weights, device: as in `Codec.load`; not needed for layers.
        on_damage: called with each image that is left out; None: the error is raised.
        progress: called with the number of images so far.

    A name is the key with every character percent-encoded except letters, digits, `_`, `-` and `/`,
    so that no key leads out of the target and WebDataset finds no suffix in it. The key itself is
    in the JSON with the labels. Raises UsageError for an invalid choice.
    """
    if form not in ("webdataset", "folder"):
        raise UsageError(f"form {form!r}: choose webdataset or folder")
    if format not in (*WRITE_SUFFIX, "underpaint", "layers"):
        raise UsageError(
            f"format {format!r}: choose {', '.join(WRITE_SUFFIX)}, underpaint or layers"
        )
    archive = Archive.open(source)
    archive.layer_columns(layers, size)
    storage = Storage(target)
    prepare(archive.storage, storage, overwrite=overwrite)
    rows = selection.rows(archive, layers, size=size, on_damage=on_damage)
    files: Iterator[tuple[Row, Members]]
    if format == "layers":
        files = ((row, _blobs(row)) for row in rows)
    elif format == "underpaint":
        files = ((row, [(".underpaint", b"".join(row.layers))]) for row in rows)
    else:
        codec = Codec.load_for(archive.weights_id, weights, device=device)
        shown = archive.decoded_size(size)
        files = _pictures(rows, _Decoding(codec, shown, format, on_damage))
    writer = _Tar(storage, shard_bytes) if form == "webdataset" else _Folder(storage)
    images = 0
    try:
        for row, members in files:
            writer.add(row, members)
            images += 1
            if progress:
                progress(images)
        writer.close()
    finally:
        writer.abandon()
    left = tuple(filter(writer.is_older, storage.all_file_names())) if overwrite else ()
    return Exported(images, writer.files, writer.bytes, left)


Members = list[tuple[str, bytes]]
"""Suffix and content of each file of one image."""


def export_name(key: str) -> str:
    """Return the name that represents a key outside of an archive; different for different keys."""
    name = "/".join(part or "%" for part in quote(key, safe="/").split("/"))
    name = name.replace(".", "%2E").replace("~", "%7E")
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        name = f"{name[: LONGEST_NAME - 33].rstrip('/')}-{digest}"
    return name


def _blobs(row: Row) -> Members:
    return [(f".layer_{layer}", blob) for layer, blob in enumerate(row.layers, 1)]


@dataclass(frozen=True)
class _Decoding:
    """How pictures are made of rows."""

    codec: Codec
    size: int | None
    format: str
    on_damage: OnDamage | None


def _pictures(rows: Iterable[Row], how: _Decoding) -> Iterator[tuple[Row, Members]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield from _decoded(batch, how)
            batch = []
    if batch:
        yield from _decoded(batch, how)


def _decoded(rows: list[Row], how: _Decoding) -> Iterator[tuple[Row, Members]]:
    try:
        pictures = how.codec.decode([row.layers for row in rows], size=how.size)
    except StreamError as error:
        if how.on_damage is None and len(rows) == 1:
            raise
        if len(rows) > 1:
            for row in rows:
                yield from _decoded([row], how)
        elif how.on_damage is not None:
            layer = error.layer if isinstance(error, LayerDamaged) else None
            how.on_damage(Damage("", None, rows[0].key, layer or None, str(error)))
        return
    suffix = WRITE_SUFFIX[how.format]
    for row, pixels in zip(rows, pictures, strict=True):
        yield row, [(suffix, write_picture(pixels, how.format))]


def _described(row: Row, **named: str) -> dict[str, Any]:
    """Return the JSON content of an image; a label whose name is taken becomes `label_…`.

    So no label of an archive can take the place of the file name that a loader looks for.
    """
    values: dict[str, Any] = {
        **named,
        "key": row.key,
        "source_uri": row.source_uri,
        "source_sha256": row.source_sha256.hex(),
        "width": row.width,
        "height": row.height,
        "layers": len(row.layers),
    }
    if row.metadata is not None:
        try:
            values["metadata"] = json.loads(row.metadata)
        except (ValueError, RecursionError):  # of another writer
            values["metadata"] = row.metadata
    for label, value in row.labels.items():
        name = label
        while name in values:
            name = f"label_{name}"
        values[name] = value
    return values


def _as_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=_plain).encode()


def _plain(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


class _Folder:
    """Pictures as files; `metadata.jsonl` is written last."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lines: list[bytes] = []
        self._names: set[str] = set()
        self.files = self.bytes = 0

    def add(self, row: Row, members: Members) -> None:
        name = export_name(row.key)
        for suffix, content in members:
            self._put(name + suffix, content)
        self._lines.append(_as_json(_described(row, file_name=name + members[0][0])))

    def close(self) -> None:
        self._put("metadata.jsonl", b"\n".join(self._lines) + b"\n")

    def abandon(self) -> None:
        """Do nothing: the pictures are complete, only their list is missing."""

    def is_older(self, name: str) -> bool:
        """Return whether a file has a name that exports give, and is not of this one."""
        base = name.rpartition("/")[2]
        return name not in self._names and _EXPORTED.fullmatch(base) is not None

    def _put(self, name: str, content: bytes) -> None:
        check_inside(self._storage, name)
        self._names.add(name)
        self._storage.put(name, content)
        self.files += 1
        self.bytes += len(content)


class _Tar:
    """Tar shards of about `shard_bytes`, each stored completely; equal input gives equal bytes."""

    def __init__(self, storage: Storage, shard_bytes: int) -> None:
        self._storage, self._shard_bytes = storage, shard_bytes
        self._exit = ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._scratch = ""
        self.files = self.bytes = 0

    def add(self, row: Row, members: Members) -> None:
        if self._tar is None:
            self._scratch = self._exit.enter_context(self._storage.scratch(self._name()))
            tar = tarfile.open(self._scratch, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
            self._tar = self._exit.enter_context(tar)
        name = export_name(row.key)
        for suffix, content in [*members, (".json", _as_json(_described(row)))]:
            info = tarfile.TarInfo(name + suffix)
            info.size, info.mode = len(content), 0o644
            self._tar.addfile(info, io.BytesIO(content))
        if self._tar.offset >= self._shard_bytes:
            self._put()

    def close(self) -> None:
        if self._tar is not None:
            self._put()

    def abandon(self) -> None:
        """Remove the unfinished shard."""
        self._exit.close()

    def is_older(self, name: str) -> bool:
        """Return whether a file has the name of a shard, and is not of this export."""
        shard = _SHARD.fullmatch(name)
        return shard is not None and int(shard[1]) >= self.files

    def _name(self) -> str:
        return f"shard-{self.files:06}.tar"

    def _put(self) -> None:
        assert self._tar is not None
        self._tar.close()
        self.bytes += os.path.getsize(self._scratch)
        self._storage.put_file(self._name(), self._scratch)
        self._exit.close()
        self._tar = None
        self.files += 1
