"""Publishes an archive: gathers the commit records into the manifest, with unique keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from underpaint.codec.archive.key_conflicts import rewrite_conflicting
from underpaint.codec.archive.manifest import gather, opened, read_manifest
from underpaint.codec.archive.record_json import encode_manifest
from underpaint.codec.archive.records import COMMITS, MANIFEST, Commit, Manifest, manifest_of
from underpaint.codec.errors import ArchiveError, UsageError
from underpaint.codec.storage.files import Storage

_LOG = logging.getLogger(__name__)


def publish(
    root: str | Storage,
    options: Mapping[str, Any] | None = None,
    *,
    report: Callable[[str], None] = _LOG.warning,
) -> Manifest:
    """Gather all commit records into `manifest.json`.

    It may run repeatedly, and concurrently with other calls and with writers. After writing, it
    lists the folder again and repeats if a commit was added in between, so the call that writes
    last has seen every commit that existed when it wrote.

    If units hold rows of one key, the units are rewritten first so that all keys are unique (see
    `key_conflicts`); each such key goes to `report` as one line. Raises ArchiveError if commits
    disagree on weights, layers or another property that all must share.
    """
    storage = opened(root, options)
    published = _published(storage)
    known: dict[str, Commit] = {}
    while True:
        units = gather(storage, known)
        known = {unit.unit: unit for unit in units}
        manifest = manifest_of(units, storage.root)
        if rewrite_conflicting(storage, manifest, published, report):
            continue
        data = encode_manifest(manifest)
        if _stored(storage) != data:
            storage.put(MANIFEST, data)
        names = {name for name in storage.names(COMMITS) if name.endswith(".json")}
        if names == {f"{unit}.json" for unit in known} and _stored(storage) == data:
            return manifest


def _published(storage: Storage) -> frozenset[str]:
    """Return the data files of the published manifest, whose keys are known to be unique."""
    try:
        manifest = read_manifest(storage)
    except (ArchiveError, UsageError):
        return frozenset()
    return frozenset(unit.data.path for unit in manifest.units if unit.data)


def _stored(storage: Storage) -> bytes | None:
    try:
        return storage.read(MANIFEST)
    except FileNotFoundError:
        return None
