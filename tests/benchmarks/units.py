"""Measures what an archive of many work units costs before any picture is read.

python -m tests.benchmarks.units --units 1000000 [--folder FOLDER]

Makes commit records of units that were never encoded (an archive's manifest and commits say all
that these operations need; there are no data files), publishes them, and measures each operation
in a process of its own. A unit is a span of a tar shard, with 1,000 pictures in two row groups.
"Waiting" is the time in which the process could have run but other processes had the processors
(Linux only), so that the rest of the seconds is CPU time and waiting for the disk. Peak memory
includes that of Python and its libraries, about 95 MB. The last column is the number of requests
by which a bucket lists the commit records, 1,000 in each answer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path

from underpaint.codec.archive import Archive, Commit, FileEntry, committed_units, publish
from underpaint.codec.archive.manifest import read_manifest
from underpaint.codec.archive.record_json import encode_commit
from underpaint.codec.archive.records import COMMITS, MANIFEST, UNITS
from underpaint.codec.storage.files import Storage
from underpaint.pipelines.cli.console import size_text, table
from underpaint.pipelines.cli.main import main as command
from underpaint.transforms.job_plan import State, make_job_plan, remove_job_plan
from underpaint.transforms.records import Record, Shard, Span, unit_of_span
from underpaint.transforms.sources.base import Source

ROWS = 1000
"""Pictures of a unit."""

UNITS_OF_A_SHARD = 1000

SPAN_BYTES = 64 << 20

LISTED_AT_ONCE = 1000
"""Most names in an answer of Cloud Storage or S3 to a listing request."""

ALL = "publishing all units"
"""The first step, which is left out if the archive of an earlier run is there."""

LAYERS = ("palette", "shape", "edges", "texture", "detail", "grain")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the archive, measure each operation and print a table; 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.units",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--folder", help="work here and keep the archive (default: temporary)")
    parser.add_argument("--only", choices=[*STEPS], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        print(json.dumps(_measured(STEPS[options.only], options.folder, options.units)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary) / f"units-{options.units}"
        if not (folder / COMMITS).is_dir():
            _write_commits(folder, options.units)
        _measure(folder, options.units)
    return 0


def _measure(folder: Path, units: int) -> None:
    head = ("operation", "seconds", "CPU seconds", "waiting", "peak memory")
    rows = [(*head, "listings", "of a bucket")]
    for step in STEPS:
        if step == ALL and (folder / MANIFEST).exists():
            continue
        arguments = [sys.executable, "-m", "tests.benchmarks.units", "--only", step]
        arguments += ["--folder", str(folder), "--units", str(units)]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        requests = found["listings"] * -(-units // LISTED_AT_ONCE)
        times = [f"{found[name]:.2f}" for name in ("seconds", "busy", "waited")]
        listed = (str(found["listings"]), f"{requests:,}")
        rows.append((step, *times, size_text(found["peak"]), *listed))
        print(table(rows[-1:], header=False), flush=True)
    print(f"\n{units:,} units, {units * ROWS:,} pictures")
    print(table(rows))
    columns = Storage(folder).path(read_manifest(Storage(folder)).file)
    print(f"{MANIFEST}: {size_text((folder / MANIFEST).stat().st_size)}")
    print(f"{UNITS}/….parquet: {size_text(os.path.getsize(columns))}")


def _measured(step: Callable[[str, int], object], folder: str, units: int) -> dict[str, float]:
    listings = 0
    listed = Storage.file_names

    def counted(storage: Storage, name: str) -> list[str]:
        nonlocal listings
        listings += name == COMMITS
        return listed(storage, name)

    Storage.file_names = counted  # type: ignore[method-assign]
    begin, worked, waited = time.perf_counter(), time.process_time(), _waited()
    with redirect_stdout(StringIO()):
        step(folder, units)
    seconds, busy = time.perf_counter() - begin, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"seconds": seconds, "busy": busy, "waited": _waited() - waited}
    return {**found, "peak": peak, "listings": listings}


def _waited() -> float:
    """Return the seconds in which this thread was ready to run and did not; 0 if unknown."""
    with suppress(OSError):
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def _write_commits(folder: Path, units: int) -> None:
    (folder / COMMITS).mkdir(parents=True)
    for number in range(units):
        commit = _commit(number)
        (folder / COMMITS / f"{commit.unit}.json").write_bytes(encode_commit(commit))


def _commit(number: int) -> Commit:
    """Return the commit of a unit that was never encoded."""
    shard, span = _shard(number // UNITS_OF_A_SHARD), _span(number % UNITS_OF_A_SHARD)
    unit = unit_of_span(shard, span, f" {SPAN_BYTES}").name
    digests = [hashlib.sha256(f"{unit} {what}".encode()).hexdigest() for what in range(3)]
    by_size = tuple(
        tuple(1000 * ROWS * (size + 1) * (layer + 1) + number % 997 for layer in range(len(LAYERS)))
        for size in range(3)
    )
    entry = FileEntry(
        path=f"data/{unit}-{digests[0][:16]}.parquet",
        bytes=70_000_000 + number % 9973,
        sha256=digests[0],
        footer_bytes=20_000 + number % 997,
        footer_sha256=digests[1],
        row_groups=(ROWS // 2, ROWS - ROWS // 2),
    )
    return Commit(
        unit=unit,
        weights_id="0123456789abcdef",
        layer_names=LAYERS,
        labels=(("json", "string"), ("cls", "int64")),
        embedding_size=None,
        keeps_source=False,
        content=digests[2],
        data=entry,
        pixels=ROWS * 1_000_000 + number,
        source_bytes=ROWS * 200_000 + number,
        layer_bytes=tuple(map(sum, zip(*by_size, strict=True))),
        sizes=(256, 512, 0),
        size_bytes=by_size,
        skipped={".txt": 1} if number % 100 == 0 else {},
        first_key=f"{shard.prefix}/{span.first:08d}",
        last_key=f"{shard.prefix}/{span.first + ROWS - 1:08d}",
        metadata="basic",
    )


def _shard(number: int) -> Shard:
    name = f"train-{number:06d}"
    return Shard(f"gs://bucket/corpus/{name}.tar", f"corpus/{name}", 64 << 30)


def _span(number: int) -> Span:
    return Span(number * SPAN_BYTES, (number + 1) * SPAN_BYTES, number * ROWS, ROWS, SPAN_BYTES)


class _Shards(Source):
    """The shards that all units come from."""

    def __init__(self, units: int) -> None:
        self._count = -(-units // UNITS_OF_A_SHARD)

    def listing(self) -> Iterator[Shard]:
        yield from map(_shard, range(self._count))

    def read(self, shard: Shard, span: Span) -> Iterator[Record]:
        raise NotImplementedError


def _publish_all(folder: str, units: int) -> None:
    assert publish(folder).rows == units * ROWS


def _open(folder: str, units: int) -> None:
    assert len(Archive.open(folder)) == units * ROWS


def _inspect(folder: str, units: int) -> None:
    assert command(["inspect", folder]) == 0


def _plan(folder: str, units: int) -> None:
    storage = Storage(folder)
    committed = committed_units(storage).units
    plan = make_job_plan([_Shards(units)], storage, committed, span_bytes=SPAN_BYTES)
    assert not plan.filtered
    state = State.load(storage, plan.folder)
    spans = (unit_of_span(_shard(0), _span(n), f" {SPAN_BYTES}") for n in range(UNITS_OF_A_SHARD))
    due = sum(state.due(unit) is not None for unit in spans)
    assert due == max(0, UNITS_OF_A_SHARD - units)
    remove_job_plan(storage, plan)


def _publish_one(folder: str, units: int) -> None:
    commit = _commit(units)
    record, manifest = Path(folder) / COMMITS / f"{commit.unit}.json", Path(folder) / MANIFEST
    before = manifest.read_bytes()
    record.write_bytes(encode_commit(commit))
    try:
        assert publish(folder).rows == (units + 1) * ROWS
    finally:
        record.unlink()
        manifest.write_bytes(before)


STEPS: dict[str, Callable[[str, int], object]] = {
    ALL: _publish_all,
    "Archive.open": _open,
    "inspect": _inspect,
    "planning a resume": _plan,
    "publishing one more unit": _publish_one,
}

if __name__ == "__main__":
    sys.exit(main())
