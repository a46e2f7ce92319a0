"""`underpaint inspect`: what an archive holds, from its manifest alone unless rows are listed."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap

from underpaint.pipelines.cli import options

EXAMPLES = """\
  underpaint inspect archive
  underpaint inspect archive --failed
  underpaint inspect archive --keys
"""
SMALL_PICTURES = (
    "A picture whose short side is less than twice a size is read in full at that size."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "inspect",
        parents=[options.archive()],
        help="show what an archive holds: pictures, bytes and bits per pixel of each layer",
        description="Show the number of pictures and pixels, source bytes, the bytes and bits per "
        "pixel of each layer, and dead letters by cause. Bytes include headers and checksums; "
        "bpp = bytes x 8 / pixels.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument(
        "--failed",
        action="store_true",
        help="print every dead letter instead: key, stage, error, message",
    )
    parser.add_argument(
        "--keys", action="store_true", help="print the key of every picture instead"
    )


def run(arguments: argparse.Namespace) -> int:
    """Inspect; 0."""
    from underpaint.codec.archive import Archive
    from underpaint.pipelines.cli.console import shown, size_text, table
    from underpaint.pipelines.cli.summary import layers_table, sizes_table
    from underpaint.transforms.records import skipped_text

    archive = Archive.open(arguments.archive)
    statistics = archive.statistics()
    letters = list(archive.dead_letters()) if arguments.failed else []
    if arguments.json:
        pixels = max(1, statistics.pixels)
        layers = [
            {
                "name": name,
                "bytes": count,
                "bpp": count * 8 / pixels,
                "bytes_by_size": [row[layer] for row in statistics.size_bytes],
            }
            for layer, (name, count) in enumerate(
                zip(statistics.layer_names, statistics.layer_bytes, strict=True)
            )
        ]
        value = {
            "images": statistics.images,
            "pixels": statistics.pixels,
            "source_bytes": statistics.source_bytes,
            "failed": statistics.failed,
            "failures": dict(statistics.failures),
            "metadata": archive.manifest.metadata,
            "skipped": dict(statistics.skipped),
            "weights": statistics.weights_id,
            "layers": layers,
            "sizes": [size or "full" for size in statistics.sizes],
            "file_bytes": statistics.file_bytes,
            "units": len(archive.manifest.units),
            "labels": list(archive.label_names),
            "embedding": archive.manifest.embedding_size,
            "extractor": archive.manifest.extractor,
        }
        if arguments.failed:
            value["dead_letters"] = [vars(letter) for letter in letters]
        if arguments.keys:
            value["keys"] = list(archive.keys())
        print(json.dumps(value, indent=2))
        return 0
    for letter in letters:
        print(shown(f"{letter.key}: {letter.stage}: {letter.error}: {letter.message}"))
    for key in archive.keys() if arguments.keys else ():
        print(shown(key))
    if arguments.failed or arguments.keys:
        return 0
    size, extractor = archive.manifest.embedding_size, archive.manifest.extractor
    stored, width = sum(statistics.layer_bytes), shutil.get_terminal_size().columns
    rows = [
        ("pictures", f"{statistics.images:,}"),
        ("megapixels", f"{statistics.pixels / 1e6:,.2f}"),
        ("source bytes", size_text(statistics.source_bytes)),
        ("layer bytes", size_text(stored)),
        ("file bytes", size_text(statistics.file_bytes)),
        ("data files", f"{len(archive.files):,}"),
        ("labels", ", ".join(archive.label_names) or "none"),
        ("metadata", archive.manifest.metadata),
        ("embedding", f"{size} values" if size else "none"),
        ("weights", statistics.weights_id or "none"),
        ("dead letters", f"{statistics.failed:,}"),
    ]
    print(table(rows, header=False, width=width))
    if size:
        print(f"embedding by {shown(extractor or 'an extractor that is not recorded')}")
    for cause, count in statistics.failures.items():
        print(f"  {count:,} x {shown(cause)}")
    if statistics.skipped:
        print(shown(skipped_text(statistics.skipped)))
    if statistics.images:
        print(f"\n{layers_table(statistics)}")
        if sizes := sizes_table(statistics):
            print(f"\nbytes needed for each size (short side):\n{sizes}")
            print(textwrap.fill(SMALL_PICTURES, width))
    return 0
