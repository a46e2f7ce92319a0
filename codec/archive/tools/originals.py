"""Writes the original files of an archive that keeps their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from underpaint.codec.archive.reader import Archive
from underpaint.codec.archive.salvage import Damage, OnDamage
from underpaint.codec.archive.schema import SOURCE
from underpaint.codec.archive.tools.export import Exported
from underpaint.codec.archive.tools.output_names import OutputNames, unusable
from underpaint.codec.archive.tools.targets import check_inside, prepare
from underpaint.codec.errors import ArchiveDamaged, UsageError
from underpaint.codec.storage.files import Storage


def export_originals(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    on_damage: OnDamage | None = None,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Write the stored bytes of each source to a file whose path is the key of its image.

    The bytes are compared with their SHA-256. A key that would lead out of the folder is not
    written. No layer is read.

    Args:
        target: folder, local or a URL.
        overwrite: whether the folder may hold files, which are replaced where names are equal.
        on_damage: called with each image that is not written; None: ArchiveDamaged is raised.
        progress: called with the number of files so far.

    Raises UsageError if the archive keeps no originals, or if the folder is not empty and is not
    to be overwritten.
    """
    archive, storage = Archive.open(source), Storage(target)
    if not archive.manifest.keeps_source:
        raise UsageError(
            f"{archive.storage.root}: holds no original files; `underpaint encode --keep-source` "
            "stores them"
        )
    prepare(archive.storage, storage, overwrite=overwrite)
    names = OutputNames(None)
    files = written = left_out = 0

    def lost(path: str, group: int, key: str, reason: str) -> None:
        damage = Damage(path, group, key, None, reason)
        if on_damage is None:
            raise ArchiveDamaged(str(damage))
        on_damage(damage)

    columns = ["key", "source_sha256", SOURCE]
    for group in archive.row_groups(columns, on_damage=on_damage):
        keys, digests, contents = (group.table.column(name) for name in columns)
        for key, digest, content in zip(keys, digests, contents, strict=True):
            data, name = content.as_py(), names.name(key.as_py())
            reason = ""
            if data is None:
                reason = "its original was not stored"
            elif digest.is_valid and hashlib.sha256(data).digest() != digest.as_py():
                reason = "the stored original does not match its SHA-256"
            elif name is None:
                reason = unusable(key.as_py())
                left_out += 1
            if reason or name is None:
                lost(group.path, group.index, key.as_py(), reason)
                continue
            check_inside(storage, name)
            storage.put(name, data)
            files += 1
            written += len(data)
            if progress:
                progress(files)
    return Exported(files, files, written, left_out=left_out)
