"""Publishes an archive: gathers the commit records into the manifest, with unique keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from underpaint.codec.archive.commits import gather, listed, opened
from underpaint.codec.archive.key_conflicts import rewrite_conflicting
from underpaint.codec.archive.manifest import (
    Manifest,
    read_manifest,
    stored_pointer,
    write_manifest,
)
from underpaint.codec.archive.units import Units
from underpaint.codec.errors import ArchiveError, UsageError
from underpaint.codec.storage.files import Storage

_LOG = logging.getLogger(__name__)


def publish(
    root: str | Storage,
    options: Mapping[str, Any] | None = None,
    *,
    report: Callable[[str], None] = _LOG.warning,
) -> Manifest:
    """Gather all commit records into the manifest; only records that it lacks are read.

    It may run repeatedly, and concurrently with other calls and with writers. After writing, it
    lists the folder again and repeats if a commit was added in between, so the call that writes
    last has seen every commit that existed when it wrote.

    If units hold rows of one key, the units are rewritten first so that all keys are unique (see
    `key_conflicts`); each such key goes to `report` as one line. Raises ArchiveError if commits
    disagree on weights, layers or another property that all must share.
    """
    storage = opened(root, options)
    while True:
        names = listed(storage)
        published = _published(storage)
        units = gather(storage, published, names)
        if rewrite_conflicting(storage, units, published, report):
            continue
        data = stored_pointer(storage)
        if units is not published or data is None:
            data = write_manifest(storage, units)
        if listed(storage).equals(names) and stored_pointer(storage) == data:
            return read_manifest(storage)


def _published(storage: Storage) -> Units:
    """Return the published units, whose keys are known to be unique; none if any is damaged."""
    try:
        manifest = read_manifest(storage)
        manifest.check()
        return manifest.units
    except (ArchiveError, UsageError):
        return Units.of(())
