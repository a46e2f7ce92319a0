"""The report of a job: a table for people, `job.json` in the archive for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from codec.archive.storage import Storage
from pipelines.console import size_text, table, time_text
from transforms.progress import peak_memory

if TYPE_CHECKING:
    from codec.archive import Statistics
    from pipelines.encode import EncodeResult

JOB = "job.json"
"""The report of the last job that wrote to an archive."""


def write_report(storage: Storage, facts: dict[str, Any], result: EncodeResult) -> None:
    """Write `job.json`."""
    statistics = result.statistics
    rate = result.counts.pixels / 1e6 / result.seconds if result.seconds else 0.0
    report = {
        "format": "pentimento-job",
        "version": 1,
        **facts,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(result.seconds, 3),
        "megapixels_per_second": round(rate, 4),
        "driver_peak_memory": peak_memory(),
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "cores": os.cpu_count()},
        "counts": asdict(result.counts),
        "archive": {
            "images": statistics.images,
            "pixels": statistics.pixels,
            "source_bytes": statistics.source_bytes,
            "failed": result.failed,
            "duplicates": result.duplicates,
            "failures": dict(statistics.failures),
            "layer_bytes": list(statistics.layer_bytes),
        },
        "exit_status": result.status,
    }
    storage.put(JOB, (json.dumps(report, indent=2, default=str) + "\n").encode())


def print_summary(result: EncodeResult, output: str) -> None:
    """The table at the end of `encode`, and the first failures."""
    counts, statistics = result.counts, result.statistics
    rate = counts.pixels / 1e6 / result.seconds if result.seconds else 0.0
    rows = [("", "this run", "archive"), ("images", f"{counts.images:,}", f"{statistics.images:,}")]
    rows.append(("failed", f"{counts.failed:,}", f"{result.failed:,}"))
    if result.duplicates:
        rows.append(("duplicates", f"{counts.duplicates:,}", f"{result.duplicates:,}"))
    if counts.skipped:
        rows.append(("done before", f"{counts.skipped:,}", ""))
    rows += [
        ("megapixels", f"{counts.pixels / 1e6:,.2f}", f"{statistics.pixels / 1e6:,.2f}"),
        ("source bytes", size_text(counts.bytes_in), size_text(statistics.source_bytes)),
        ("layer bytes", size_text(counts.bytes_out), size_text(sum(statistics.layer_bytes))),
        ("time", time_text(result.seconds), ""),
        ("rate", f"{rate:.2f} Mpx/s", ""),
    ]
    print(table(rows))
    print()
    print(layers_table(statistics))
    for cause, count in statistics.failures.items():
        print(f"{count:,} x {cause}", file=sys.stderr)
    for letter in result.letters:
        print(f"failed: {letter.key}: {letter.message or letter.error}", file=sys.stderr)
    if result.failed > len(result.letters):
        print(f"failed: … and {result.failed - len(result.letters):,} more", file=sys.stderr)
    print(f"\n{output}: {statistics.images:,} images of weights {statistics.weights_id}")


def layers_table(statistics: Statistics) -> str:
    """Bytes, bits per pixel and cumulative bits per pixel of each layer."""
    pixels = max(1, statistics.pixels)
    rows: list[tuple[str, ...]] = [("layer", "bytes", "bpp", "up to here")]
    total = 0
    for number, count in enumerate(statistics.layer_bytes):
        total += count
        name = f"{number}  {statistics.layer_names[number]}"
        rows.append((name, f"{count:,}", f"{count * 8 / pixels:.4f}", f"{total * 8 / pixels:.4f}"))
    return table(rows)
