"""`underpaint search`: pictures of an archive that are like one another."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import parse_share, positive

if TYPE_CHECKING:
    import numpy as np

    from underpaint.codec.archive import Archive


DEFAULT_COUNT = 10
"""Pictures that are listed with --like."""

EXAMPLES = """\
  underpaint search archive --like photo.jpg
  underpaint search archive --duplicates 0.98
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "search",
        parents=[options.archive()],
        help="find similar pictures, or near duplicates, by their embeddings",
        description="Find the pictures most similar to one of the archive or to a file, by the "
        "cosine of their embeddings (`underpaint encode --embedding`). Only keys and embeddings "
        "are read.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--like", metavar="KEY|PHOTO", help="key of a picture in the archive, or path of a photo"
    )
    what.add_argument(
        "--duplicates",
        type=parse_share,
        metavar="SIMILARITY",
        help="list all pairs with at least this cosine similarity, such as 0.98 or 98%%; the most "
        "similar come first",
    )
    parser.add_argument(
        "--count",
        type=positive,
        metavar="N",
        help=f"with --like: number of pictures to list (default: {DEFAULT_COUNT})",
    )
    parser.add_argument(
        "--embedding",
        metavar="NAME",
        help="the archive's extractor, for a photo (default: by the name that the archive records; "
        "for extractors in a file, give its address here)",
    )
    options.add_weights(parser, "perceptual")
    parser.add_argument("--json", action="store_true", help="print one JSON object on each line")


def run(arguments: argparse.Namespace) -> int:
    """Search; 0."""
    from underpaint.codec.archive import Archive

    archive = Archive.open(arguments.archive)
    found = _pairs(archive, arguments) if arguments.like is None else _like(archive, arguments)
    for one in found:
        print(json.dumps(one) if arguments.json else _line(one))
    return 0


def _pairs(archive: Archive, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from underpaint.codec.archive.tools.search import near_duplicates

    _refuse_idle(arguments, "with --duplicates", "count", "embedding", "weights")
    pairs = near_duplicates(archive, arguments.duplicates)
    for key, match in sorted(pairs, key=lambda pair: -pair[1].similarity):
        yield {"similarity": round(match.similarity, 4), "key": key, "like": match.key}


def _like(archive: Archive, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from underpaint.codec.archive.tools.search import nearest
    from underpaint.codec.errors import NoSuchKey

    try:
        vector, own = archive.embedding(arguments.like), arguments.like
    except NoSuchKey:
        vector, own = _photo_vector(archive, arguments), None
    else:
        _refuse_idle(arguments, "on a picture of the archive", "embedding", "weights")
    count = arguments.count or DEFAULT_COUNT
    matches = nearest(archive, vector, count + (own is not None))
    matches = [match for match in matches if match.key != own][:count]
    for match in matches:
        yield {"similarity": round(match.similarity, 4), "key": match.key}


def _refuse_idle(arguments: argparse.Namespace, where: str, *names: str) -> None:
    """UsageError if one of some options is given, which have no effect there."""
    from underpaint.codec.errors import UsageError

    idle = [f"--{name}" for name in names if getattr(arguments, name) is not None]
    if idle:
        raise UsageError(f"{', '.join(idle)}: no effect {where}; leave it out")


def _photo_vector(archive: Archive, arguments: argparse.Namespace) -> np.ndarray:
    """The embedding of a photo that is not in the archive, by the archive's extractor."""
    import numpy as np

    from underpaint.codec.errors import UnderpaintError, UsageError
    from underpaint.codec.extractors import open_extractor
    from underpaint.codec.extractors.names import UNDERPAINT
    from underpaint.codec.image_io.read import read_picture
    from underpaint.transforms.sources.base import read_bytes

    try:
        picture = read_picture(read_bytes(arguments.like))
    except FileNotFoundError:
        raise UsageError(f"{arguments.like}: no key of the archive, and no photo") from None
    except (UnderpaintError, OSError) as error:
        why = str(error).removeprefix(f"{arguments.like}: ")
        raise UsageError(f"--like {arguments.like}: {why}") from None
    made_by = archive.manifest.extractor or ""
    name = arguments.embedding or made_by.partition("#")[0]
    if not arguments.embedding and name.startswith(f"{UNDERPAINT}:"):
        name = UNDERPAINT
    if not arguments.embedding and name in ("", "onnx"):
        raise UsageError(f"say by --embedding where the extractor is: {made_by or 'not recorded'}")
    extractor = open_extractor(name, weights=arguments.weights)
    if extractor.identity != made_by:
        raise UsageError(f"the embeddings are of {made_by}, not of {extractor.identity}")
    fitted = extractor.preprocessing.fit(picture.pixels)
    vector: np.ndarray = extractor.features(np.stack([fitted]))[0]
    return vector


def _line(found: dict[str, Any]) -> str:
    return "  ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in found.values())
