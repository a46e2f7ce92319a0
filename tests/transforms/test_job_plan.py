"""Plans: what travels through a runner is small, and leads to the units and shards of the plan."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.shards import photos, write_tar
from underpaint.codec.archive.units import Units
from underpaint.codec.storage.files import Storage
from underpaint.transforms.job_plan import make_job_plan, plan_elements, shard_of, unit_of
from underpaint.transforms.records import Shard
from underpaint.transforms.sources import Choice, open_sources


def test_elements_lead_to_every_picture_and_shard_and_are_small(tmp_path: Path) -> None:
    folder = tmp_path / ("long name " * 20)
    pictures = photos(folder, 6)
    for number in range(200):
        (folder / f"{number:04d}.jpg").hardlink_to(pictures[0])
    write_tar(folder / "shard.tar", pictures)
    storage = Storage(tmp_path / "archive")
    sources = open_sources([str(folder)], Choice())
    plan = make_job_plan(sources, storage, Units.of(()), span_bytes=1 << 30)
    elements = [each for part in plan.parts for each in plan_elements(storage, part)]
    shards = [shard_of(element) for element in elements]
    units = [unit_of(e, storage) for e, s in zip(elements, shards, strict=True) if s is None]
    assert {item.uri for unit in units for item in unit.items} == {
        str(path) for path in folder.rglob("*.jpg")
    }
    assert [s.uri for s in shards if isinstance(s, Shard)] == [str(folder / "shard.tar")]
    assert sum(len(e) for e, s in zip(elements, shards, strict=True) if s is None) < 200
