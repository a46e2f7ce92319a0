"""Records, in the archive, what the listing of a job's inputs skipped.

The counts are committed as a unit without rows, named after the inputs. A later listing of the same
inputs with other counts is committed as a retry of that unit, so that only its counts stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from underpaint.codec.archive import Commit
from underpaint.codec.archive.records import Manifest
from underpaint.transforms.job_plan import LISTING, JobPlan, base_name
from underpaint.transforms.records import short_hash
from underpaint.transforms.settings import Settings


def commit_listing(
    inputs: Sequence[str], plan: JobPlan, settings: Settings, committed: Mapping[str, Commit]
) -> None:
    """Commit the counts of skipped files, unless the archive holds the same counts already."""
    base = LISTING + short_hash("\n".join(sorted(inputs)), 16)
    known = [
        commit
        for commit in Manifest(tuple(committed.values())).current_units
        if base_name(commit.unit) == base
    ]
    standing = known[0] if known else None
    if dict(plan.skipped) == dict(standing.skipped if standing else {}):
        return
    attempts = sum(base_name(name) == base for name in committed)
    unit = f"{base}-retry{attempts}" if standing else base
    with settings.writer(unit, standing.unit if standing else None) as writer:
        for reason, count in plan.skipped.items():
            writer.skip(reason, count)
