"""Measures what planning holds of an archive of many rows: see `transforms.held`.

python -m tests.benchmarks.held [--rows 10000000] [--lookups 100000]

Makes the tables of keys and of source URIs, as planning does for an archive of so many rows, and
looks up keys that are there and keys that are not. Memory is that which the process allocates
(RssAnon), above what it had at the start; file pages, which the system may drop, are counted apart.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from underpaint.pipelines.cli.console import size_text
from underpaint.transforms.hash_table import HashTableBuilder, batches, short_hashes
from underpaint.transforms.held import ROW_COLUMNS


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.held",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--lookups", type=int, default=100_000)
    options = parser.parse_args(arguments)
    start = most = _memory("RssAnon")
    keys, rows = HashTableBuilder(), HashTableBuilder(ROW_COLUMNS)
    begin = time.perf_counter()
    for batch in batches(map(_key, range(options.rows))):
        keys.append(batch)
        hashes = short_hashes(batch)
        rows.append(
            [f"gs://bucket/{key}" for key in batch], key=hashes, stamp=hashes, digest=hashes
        )
        most = max(most, _memory("RssAnon"))
    tables = keys.table(), rows.table()
    most = max(most, _memory("RssAnon"))
    _print("rows", f"{options.rows:,}")
    _print(
        "bytes of the tables", size_text(sum(a.nbytes for t in tables for a in t.arrays.values()))
    )
    _print("seconds to make them", f"{time.perf_counter() - begin:.1f}")
    _print("most memory", size_text((most - start) << 10))
    begin = time.perf_counter()
    for number in np.random.default_rng(0).integers(0, options.rows, options.lookups).tolist():
        assert _key(number) in tables[0]
        assert _key(options.rows + number) not in tables[0]
    _print("lookups a second", f"{2 * options.lookups / (time.perf_counter() - begin):,.0f}")
    _print("memory after them", size_text((_memory("RssAnon") - start) << 10))
    _print("pages of files", size_text(_memory("RssFile") << 10))
    return 0


def _key(number: int) -> str:
    return f"{number % 1000:03}/{number:010}.jpg"


def _memory(name: str) -> int:
    """Return a figure of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _print(name: str, value: str) -> None:
    print(f"{name:<24} {value:>14}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
