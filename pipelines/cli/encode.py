"""`underpaint encode`: photos to an archive."""

from __future__ import annotations

import argparse
import logging

from underpaint.pipelines.cli.console import parse_share, parse_size, positive, seconds
from underpaint.pipelines.runners.worker import use_one_thread

EPILOG = """\
A second run of the same command does what is missing, and with --retry-failed what has failed.
Options of Beam pass through, written --name=value: with --runner PortableRunner for example
--job_endpoint=localhost:8099 --environment_type=EXTERNAL --environment_config=localhost:50000,
with --runner DataflowRunner --project=P --region=R --sdk_container_image=IMAGE (infra/README.md).
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "encode",
        help="compress photos into a layered archive",
        description="Compress photos into a layered archive: one row an image, one column a layer.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(beam_options=[])
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
    what = parser.add_argument_group("what is read")
    what.add_argument(
        "--source",
        default="auto",
        metavar="KIND",
        help="auto, files, tar, zip, tfrecord, parquet, manifest, or module:Class of a source of "
        "your own (default: by file name)",
    )
    what.add_argument(
        "--picture-column",
        metavar="NAME",
        help="Parquet column or TFRecord feature of pictures; suffix of those in a tar or zip",
    )
    what.add_argument("--url-column", metavar="NAME", help="column of addresses in a manifest")
    what.add_argument(
        "--key-column", metavar="NAME", help="column or feature that names records (default: path)"
    )
    what.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME:TYPE",
        help="type of a label, such as cls:int64 (default: text in CSV, in other tables and shards "
        "what they state); repeat for more",
    )
    what.add_argument(
        "--label-from-folder",
        action="store_true",
        help="store the name of the folder that holds a photo as its label `label`",
    )
    what.add_argument(
        "--tar-key",
        choices=("first-dot", "last-dot"),
        default="first-dot",
        help="which dot of a member's name ends the name of its sample (default first-dot, as in "
        "WebDataset)",
    )
    what.add_argument(
        "--deduplicate", action="store_true", help="store pictures of the same bytes once"
    )
    stored = parser.add_argument_group("what is stored")
    stored.add_argument(
        "--max-layers", type=positive, metavar="N", help="store only the coarser N layers"
    )
    stored.add_argument(
        "--effort",
        type=int,
        choices=(1, 2, 3),
        default=1,
        help="how long to look for fewer bytes: from 2 on 5 %% fewer in the full state, for 0.4 dB "
        "of it; 1.2 and 3 times the time (default: 1)",
    )
    stored.add_argument(
        "--keep-source", action="store_true", help="store the original bytes as well"
    )
    stored.add_argument(
        "--embedding",
        metavar="NAME",
        help="store a vector of features of each photo: underpaint, torchvision:NETWORK, "
        "timm:NETWORK, onnx:FILE#sha256=DIGEST (path or URL), or module:Class of your own",
    )
    stored.add_argument(
        "--weights",
        metavar="FILE",
        help="weights: a profile in the package, path or URL (default: the first profile)",
    )
    stored.add_argument(
        "--weights-sha256",
        metavar="DIGEST",
        help="what the SHA-256 of the weights must be; with a URL they are kept in a cache on each "
        "machine (the same as --weights URL#sha256=DIGEST)",
    )
    faults = parser.add_argument_group("faults")
    faults.add_argument(
        "--max-failed",
        type=parse_share,
        default=0.0,
        metavar="SHARE",
        help="share of failed photos up to which the exit status is 0, as 0.01 or 1%% (default 0)",
    )
    faults.add_argument(
        "--retry-failed", action="store_true", help="try the archive's failed photos again"
    )
    faults.add_argument(
        "--picture-timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="time to decode one photo (default 60)",
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--workers", type=positive, metavar="N", help="local processes (default: one a core)"
    )
    machine.add_argument(
        "--memory",
        type=parse_size,
        metavar="SIZE",
        help="most that photos on their way may take, over all local workers (default: half of "
        "the machine's); a photo that does not fit is a failure",
    )
    machine.add_argument(
        "--device", default="auto", help="torch device: auto, cpu, cuda (default auto)"
    )
    machine.add_argument(
        "--unit-size",
        type=parse_size,
        metavar="SIZE",
        help="input bytes of one unit of work (default: by the size of the inputs)",
    )
    machine.add_argument(
        "--runner",
        default="FnApiRunner",
        metavar="NAME",
        help="Beam runner (default FnApiRunner: local)",
    )
    machine.add_argument(
        "--gpu",
        default="nvidia-l4",
        metavar="TYPE",
        help="on DataflowRunner: GPU of a worker, as TYPE or TYPE:MACHINE, or none "
        "(default nvidia-l4)",
    )
    machine.add_argument(
        "--dry-run",
        action="store_true",
        help="print the job as JSON, run nothing, write nothing",
    )
    machine.add_argument("--verbose", action="store_true", help="show what Beam logs")


def run(arguments: argparse.Namespace) -> int:
    """Encode; 0 where at most the allowed share has failed, else 1."""
    if not arguments.verbose:
        logging.getLogger().setLevel(logging.CRITICAL)  # Beam warns while it is imported
    use_one_thread()  # before numpy and torch are there
    from underpaint.codec.storage.download import with_digest
    from underpaint.pipelines.cli.summary import print_summary
    from underpaint.pipelines.jobs.encode import EncodeOptions, encode
    from underpaint.pipelines.runners.dataflow import Submission
    from underpaint.transforms.sources import Choice
    from underpaint.transforms.sources.choice import parse_label

    result = encode(
        EncodeOptions(
            inputs=tuple(arguments.photos),
            output=arguments.output,
            choice=Choice(
                kind=arguments.source,
                picture=arguments.picture_column,
                url=arguments.url_column,
                key=arguments.key_column,
                labels=tuple(map(parse_label, arguments.label)),
                label_from_folder=arguments.label_from_folder,
                tar_key=arguments.tar_key,
            ),
            max_layers=arguments.max_layers,
            effort=arguments.effort,
            max_failed=arguments.max_failed,
            retry_failed=arguments.retry_failed,
            deduplicate=arguments.deduplicate,
            keep_source=arguments.keep_source,
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
