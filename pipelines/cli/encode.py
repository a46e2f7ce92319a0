"""`underpaint encode`: photos to an archive."""

from __future__ import annotations

import argparse
import logging

from underpaint.codec.runtime.imports import hidden, without_collection
from underpaint.codec.transform.sizes import DEFAULT_SIZES
from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import (
    count,
    parse_share,
    parse_size,
    positive,
    seconds,
    sizes,
)
from underpaint.pipelines.cli.outputs import check_folder
from underpaint.pipelines.runners.worker import use_one_thread

EXAMPLES = """\
  underpaint encode photos --output archive
  underpaint encode gs://bucket/shards/*.tar --output gs://bucket/archive --max-failed 1%
"""

EPILOG = """\
To resume a job, give the same command again: it encodes what is missing.

Options of Beam are written as --name=value and passed on:

  --runner PortableRunner --job_endpoint=localhost:8099 --environment_type=EXTERNAL
      --environment_config=localhost:50000
  --runner DataflowRunner --project=P --region=R --sdk_container_image=IMAGE
      (see infra/README.md)
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "encode",
        help="compress photos into a layered archive",
        description="Compress photos into an archive with one row for each picture and one column "
        "for each layer.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(beam_options=[], stopped=options.GOES_ON)
    parser.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTOS",
        help="folders (recursive), globs, files, .tar, .zip and .tfrecord shards, .parquet files "
        "with pictures, .csv, .tsv or .jsonl tables of addresses; local or fsspec URLs",
    )
    parser.add_argument(
        "--output", required=True, metavar="ARCHIVE", help="folder of the archive, local or URL"
    )
    what = parser.add_argument_group("input")
    what.add_argument(
        "--source",
        default="auto",
        metavar="KIND",
        help="kind of all inputs: auto, files, tar, zip, tfrecord, parquet, manifest, or "
        "module:Class of your own source (default: auto, by the suffix of each input)",
    )
    what.add_argument(
        "--picture-column",
        metavar="NAME",
        help="Parquet column or TFRecord feature that holds the pictures; in a tar or zip, the "
        "suffix of the members that are pictures",
    )
    what.add_argument("--url-column", metavar="NAME", help="column of a table that holds addresses")
    what.add_argument(
        "--key-column",
        metavar="NAME",
        help="column or feature that holds the keys (default: the path)",
    )
    what.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME:TYPE",
        help="type of a label, such as cls:int64; may be repeated (default: text in CSV, otherwise "
        "the type that the table or shard states)",
    )
    what.add_argument(
        "--labels-schema",
        metavar="FILE",
        help='types of labels in a file: JSON such as {"cls": "int64", "caption": '
        '"string"}, an Arrow schema, or a Parquet file with such columns',
    )
    what.add_argument(
        "--label-from-folder",
        action="store_true",
        help="store the name of the folder that holds a photo in the label `label`",
    )
    what.add_argument(
        "--tar-key",
        choices=("first-dot", "last-dot"),
        default="first-dot",
        help="which dot of a member's name ends the name of its sample (default: first-dot, as in "
        "WebDataset)",
    )
    what.add_argument(
        "--deduplicate", action="store_true", help="store files of equal content once"
    )
    stored = parser.add_argument_group("stored data")
    stored.add_argument("--max-layers", type=positive, metavar="N", help="store layers 1 to N only")
    stored.add_argument(
        "--sizes",
        type=sizes,
        default=DEFAULT_SIZES,
        metavar="N,N",
        help="short sides in pixels of smaller pictures that can be read alone, at most three, or "
        "none (default: 256,512)",
    )
    stored.add_argument(
        "--effort",
        type=count,
        choices=(1, 2, 3),
        default=1,
        help="rate-distortion optimisation: 2 and 3 need 5 to 7 %% fewer bytes with all layers, at "
        "a loss of 0.4 to 0.6 dB; 3 also spends bits where the profile's measure gains most. They "
        "take up to 2 and 10 times the time (default: 1, none)",
    )
    stored.add_argument(
        "--keep-source", action="store_true", help="store the original bytes as well"
    )
    stored.add_argument(
        "--metadata",
        choices=("basic", "exif", "none"),
        default="basic",
        help="basic: date, camera, orientation, and whether there was a GPS position, but not the "
        "position; exif: also the whole EXIF block, GPS position included (default: basic)",
    )
    stored.add_argument(
        "--embedding",
        metavar="NAME",
        help="store a feature vector of each photo, computed by underpaint, torchvision:NETWORK, "
        "timm:NETWORK, onnx:FILE#sha256=DIGEST (path or URL), or module:Class of your own",
    )
    options.add_weights(stored, "perceptual")
    stored.add_argument(
        "--weights-sha256",
        metavar="DIGEST",
        help="required SHA-256 of the weights file; each machine then downloads it once (the same "
        "as --weights URL#sha256=DIGEST)",
    )
    faults = parser.add_argument_group("failures")
    faults.add_argument(
        "--max-failed",
        type=parse_share,
        default=0.0,
        metavar="SHARE",
        help="largest share of failed photos with exit status 0, such as 0.01 or 1%% (default: 0)",
    )
    faults.add_argument(
        "--on-conflict",
        choices=("rename", "replace", "skip", "fail"),
        default="rename",
        help="a picture whose key the archive holds from another source: rename stores it under a "
        "key with a hash of its address, replace puts it in place of the stored one, skip leaves "
        "it out, fail makes it a dead letter. A stored file that has other content now fails, "
        "replaces the stored picture with replace, and is left out with skip "
        "(default: %(default)s)",
    )
    faults.add_argument(
        "--strict", action="store_true", help="treat skipped files as failures: exit status 1"
    )
    faults.add_argument(
        "--retry-failed",
        action="store_true",
        help="also try again the photos that failed in earlier runs",
    )
    faults.add_argument(
        "--picture-timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="time limit for decoding one photo (default: %(default)g)",
    )
    faults.add_argument(
        "--download-timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="time in which a web server must send at least 16 KiB of a photo, or its end "
        "(default: %(default)g)",
    )
    faults.add_argument(
        "--connect-timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="time that a web server may take to accept a connection (default: %(default)g)",
    )
    machine = parser.add_argument_group("machine")
    options.add_workers(machine)
    machine.add_argument(
        "--memory",
        type=parse_size,
        metavar="SIZE",
        help="memory for photos that are being processed, in all local workers together (default: "
        "half of the machine's memory); a photo that does not fit is a failure",
    )
    options.add_device(machine)
    machine.add_argument(
        "--unit-size",
        type=parse_size,
        metavar="SIZE",
        help="input bytes of one work unit (default: derived from the size of the inputs)",
    )
    machine.add_argument(
        "--runner",
        default="FnApiRunner",
        metavar="NAME",
        help="Beam runner (default: %(default)s, local processes)",
    )
    machine.add_argument(
        "--gpu",
        metavar="TYPE",
        help="on DataflowRunner: GPU of each worker, as TYPE or TYPE:MACHINE, or none "
        "(default: nvidia-l4)",
    )
    machine.add_argument(
        "--dry-run",
        action="store_true",
        help="print the job as JSON; run nothing and write nothing",
    )
    machine.add_argument("--verbose", action="store_true", help="show the log of Beam")


def run(arguments: argparse.Namespace) -> int:
    """Encode; 0 where at most the allowed share has failed, else 1."""
    if not arguments.verbose:
        logging.getLogger().setLevel(logging.CRITICAL)  # Beam warns while it is imported
    use_one_thread()  # before numpy and torch are there
    check_folder("--output", arguments.output)
    with without_collection(freeze=True), hidden("pandas"):
        from underpaint.codec.storage.download import with_digest
        from underpaint.pipelines.cli.summary import print_summary
        from underpaint.pipelines.jobs.encode import EncodeOptions, encode
        from underpaint.pipelines.runners.dataflow import Submission, is_dataflow
        from underpaint.transforms.sources import Choice
        from underpaint.transforms.sources.label_schema import stated_labels

    if is_dataflow(arguments.runner):
        arguments.stopped = "stopped; the job on Dataflow goes on"
    result = encode(
        EncodeOptions(
            inputs=tuple(arguments.photos),
            output=arguments.output,
            choice=Choice(
                kind=arguments.source,
                picture=arguments.picture_column,
                url=arguments.url_column,
                key=arguments.key_column,
                labels=stated_labels(arguments.label, arguments.labels_schema),
                label_from_folder=arguments.label_from_folder,
                tar_key=arguments.tar_key,
                stall_s=arguments.download_timeout,
                connect_s=arguments.connect_timeout,
            ),
            max_layers=arguments.max_layers,
            sizes=arguments.sizes,
            effort=arguments.effort,
            on_conflict=arguments.on_conflict,
            strict=arguments.strict,
            max_failed=arguments.max_failed,
            retry_failed=arguments.retry_failed,
            deduplicate=arguments.deduplicate,
            keep_source=arguments.keep_source,
            metadata=arguments.metadata,
            embedding=arguments.embedding,
            weights=with_digest(arguments.weights, arguments.weights_sha256),
            device=arguments.device,
            runner=arguments.runner,
            workers=arguments.workers,
            memory=arguments.memory,
            picture_timeout_s=arguments.picture_timeout,
            unit_bytes=arguments.unit_size,
            beam_options=tuple(arguments.beam_options),
            gpu=arguments.gpu,
            dry_run=arguments.dry_run,
            verbose=arguments.verbose,
        )
    )
    if isinstance(result, Submission):
        print(result.text)
        return 0
    print_summary(result, arguments.output)
    return result.status
