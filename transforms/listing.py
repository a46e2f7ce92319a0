"""Records, in the archive, what the listing of a job's inputs found beside pictures.

These are the counts of skipped files, and the input folders with the prefixes of their keys. They
are committed as a unit without rows, named after the inputs, before the first unit with rows: a job
that is killed and started again has the same keys. A later listing of the same inputs with other
counts is committed as a retry of that unit, so that only its counts stay. Folders are remembered
for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow.compute as pc

from underpaint.codec.archive.units import Units
from underpaint.codec.storage.extras import file_system
from underpaint.transforms.job_plan import LISTING, JobPlan, base_name
from underpaint.transforms.records import short_hash
from underpaint.transforms.settings import Settings
from underpaint.transforms.sources.addresses import to_uri


def remembered_folders(units: Units) -> dict[str, str]:
    """Return address -> prefix of keys of the input folders that an archive remembers.

    If jobs that ran at the same time gave one folder several prefixes, the shortest one counts.
    """
    found: dict[str, str] = {}
    for commit in units.where(["roots"], lambda table: table.column("roots").is_valid()):
        for folder, prefix in commit.roots.items():
            known = found.setdefault(folder, prefix)
            found[folder] = min(known, prefix, key=lambda text: (len(text), text))
    return found


def commit_listing(
    inputs: Sequence[str],
    folders: Mapping[str, str],
    plan: JobPlan,
    settings: Settings,
    committed: Units,
) -> None:
    """Commit the counts of skipped files and new input folders, unless the archive holds them.

    Args:
        folders: address -> prefix of keys of the folders of the inputs.
    """
    base = LISTING + short_hash("\n".join(sorted(map(_absolute, inputs))), 16)
    remembered = remembered_folders(committed)
    new = {folder: prefix for folder, prefix in folders.items() if folder not in remembered}
    known = [
        commit
        for commit in committed.where(
            ["unit"], lambda table: pc.starts_with(table.column("unit"), base)
        )
        if base_name(commit.unit) == base
    ]
    retried = {commit.retries for commit in known}
    standing = next((commit for commit in known if commit.unit not in retried), None)
    if not new and dict(plan.skipped) == dict(standing.skipped if standing else {}):
        return
    unit = f"{base}-retry{len(known)}" if standing else base
    with settings.writer(unit, standing.unit if standing else None, new) as writer:
        for reason, count in plan.skipped.items():
            writer.skip(reason, count)


def _absolute(text: str) -> str:
    """Return the address of an input, the same wherever the command is given."""
    return to_uri(*file_system(text), text)
