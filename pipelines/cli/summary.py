"""The tables that `encode` prints at its end and `inspect` shows."""

from __future__ import annotations

import shlex
import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np

from underpaint.codec.image_io.heif import MISSING
from underpaint.codec.storage.extras import install_hint
from underpaint.codec.storage.redaction import redacted
from underpaint.pipelines.cli.console import plural, shown, size_text, table, time_text
from underpaint.transforms.records import EMPTY_SHARD, ENCODED, left_out_text, skipped_text

if TYPE_CHECKING:
    from underpaint.codec.archive import Statistics
    from underpaint.transforms.report import EncodeResult


def print_summary(result: EncodeResult, output: str) -> None:
    """Print the table at the end of `encode`, and the first failures."""
    counts, statistics = result.counts, result.statistics
    rate = counts.pixels / 1e6 / result.seconds if result.seconds else 0.0
    rows = [
        ("", "this run", "archive"),
        ("pictures", f"{counts.images:,}", f"{statistics.images:,}"),
    ]
    rows.append(("failed", f"{counts.failed:,}", f"{result.failed:,}"))
    if result.duplicates:
        rows.append(("duplicates", f"{counts.duplicates:,}", f"{result.duplicates:,}"))
    if counts.skipped or statistics.skipped:
        here, whole = sum(counts.skipped.values()), sum(statistics.skipped.values())
        rows.append(("skipped", f"{here:,}", f"{whole:,}"))
    if counts.done_before:
        rows.append(("done before", f"{counts.done_before:,}", ""))
    rows += [
        ("megapixels", f"{counts.pixels / 1e6:,.2f}", f"{statistics.pixels / 1e6:,.2f}"),
        ("source bytes", size_text(counts.bytes_in), size_text(statistics.source_bytes)),
        ("layer bytes", size_text(counts.bytes_out), size_text(sum(statistics.layer_bytes))),
        ("time", time_text(result.seconds), ""),
        *([("rate", f"{rate:.2f} Mpx/s", "")] if counts.pixels else []),
    ]
    if not (counts.images or counts.failed or counts.duplicates):
        print(_nothing_done(result))
    print(table(rows))
    if statistics.images:
        print(f"\n{layers_table(statistics)}")
    if statistics.skipped:
        print(shown(skipped_text(statistics.skipped)), file=sys.stderr)
    if ENCODED in statistics.skipped:
        print(
            f"{ENCODED}: .underpaint files hold layers of pictures; Pillow opens them (import "
            "underpaint.pillow), and merge joins the archives that they came from",
            file=sys.stderr,
        )
    for line in left_out_text(counts.labels_left_out):
        print(shown(line), file=sys.stderr)
    for cause, count in statistics.failures.items():
        print(f"{count:,} x {shown(cause)}", file=sys.stderr)
    for letter in result.letters:
        why = letter.message or letter.error
        print(f"failed: {shown(letter.key)}: {shown(why)}", file=sys.stderr)
    if result.failed > len(result.letters):
        print(f"failed: … and {result.failed - len(result.letters):,} more", file=sys.stderr)
    if result.failed:
        told = shlex.quote(redacted(output))
        print(f"failures with their reasons: underpaint inspect {told} --failed", file=sys.stderr)
    if any(MISSING in (letter.message or "") for letter in result.letters):
        hint = install_hint("heif")
        print(f"HEIC pictures need {hint}; then encode --retry-failed", file=sys.stderr)
    if sum(statistics.layer_bytes) > statistics.source_bytes > 0:
        print(
            "the layers take more bytes than the sources, which were compressed more strongly; "
            "encode --max-layers, or trim --layers later, stores fewer layers",
            file=sys.stderr,
        )
    old = result.failed - counts.failed
    if old > 0:
        hint = "--retry-failed tries them again"
        print(f"{plural(old, 'failure')} of earlier runs: {hint}", file=sys.stderr)
    images = plural(statistics.images, "picture")
    print(f"\n{redacted(output)}: {images} of weights {statistics.weights_id}")


def _nothing_done(result: EncodeResult) -> str:
    """Return why a run had nothing to do."""
    empty = result.counts.skipped.get(EMPTY_SHARD, 0)
    without = f"{plural(empty, 'input')} without records" if empty else ""
    if not (result.statistics.images or result.failed):
        return f"nothing to do: the inputs hold no pictures{without and f' ({without})'}"
    if empty:
        return f"nothing to do: {without}; the archive holds all others already"
    return "nothing to do: the archive holds these inputs already; its rows keep their settings"


def layers_table(statistics: Statistics) -> str:
    """Return a table of each layer: bytes, bits per pixel, cumulative bits per pixel."""
    pixels = max(1, statistics.pixels)
    rows: list[tuple[str, ...]] = [("layer", "bytes", "bpp", "bpp, layers 1 to N")]
    total = 0
    layers = zip(statistics.layer_names, statistics.layer_bytes, strict=True)
    for number, (layer_name, count) in enumerate(layers, 1):
        total += count
        name = f"{number}  {layer_name}"
        rows.append((name, f"{count:,}", f"{count * 8 / pixels:.4f}", f"{total * 8 / pixels:.4f}"))
    return table(rows, width=shutil.get_terminal_size().columns, wrapped=0)


def sizes_table(statistics: Statistics) -> str:
    """Return a table of the bytes that pictures of each size need of layers 1 to N.

    "" if the archive has one size only.
    """
    if len(statistics.sizes) == 1:
        return ""
    heads = [f"{size} px" if size else "full size" for size in statistics.sizes]
    rows: list[tuple[str, ...]] = [("layers", *heads)]
    needed = np.cumsum(np.cumsum(statistics.size_bytes, 0), 1).T.tolist()
    for number, counts in enumerate(needed, 1):
        rows.append((f"1 to {number}" if number > 1 else "1", *(size_text(n) for n in counts)))
    return table(rows)
