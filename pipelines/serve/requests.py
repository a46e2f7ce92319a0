"""Reads the parameters of requests; each mistake is a UsageError with one line."""

from __future__ import annotations

from starlette.requests import Request

from underpaint.codec.archive import Archive
from underpaint.codec.arguments import whole_number
from underpaint.codec.errors import UsageError
from underpaint.pipelines.serve.corpus import LONGEST_TEXT, Filter

MOST_ROWS = 500
"""Most rows of one answer."""

MOST_FILTERS = 8


def number(
    request: Request, name: str, default: int | None = None, *, least: int = 0, most: int = 1 << 53
) -> int:
    """Return an integer parameter; UsageError if it is missing or outside `least` to `most`."""
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    value = whole_number(text or "")
    if value is None:
        raise UsageError(f"{name}: want an integer from {least} to {most}")
    if not least <= value <= most:
        raise UsageError(f"{name}: {value}; want {least} to {most}")
    return value


def row_number(request: Request) -> int:
    """Return the number of the picture in the path; UsageError."""
    number = whole_number(request.path_params["number"])
    if number is None:
        raise UsageError("want the number of a picture")
    return number


def state(request: Request, archive: Archive) -> tuple[int, int | None]:
    """Return the parameters `layers` (default: all) and `size` (default and 0: full)."""
    count = max(1, len(archive.layer_names))
    layers = number(request, "layers", count, least=1, most=count)
    return layers, number(request, "size", 0, most=65_535) or None


def span(request: Request) -> tuple[int, int]:
    """Return the parameters `start` and `stop`, at most MOST_ROWS apart."""
    start, stop = number(request, "start"), number(request, "stop")
    if not start <= stop <= start + MOST_ROWS:
        raise UsageError(f"stop: {stop}; want {start} to {start + MOST_ROWS}")
    return start, stop


def wanted(request: Request) -> Filter:
    """Return the filter of the parameters `q` (text in the key) and `label` (name, \x1f, value)."""
    words = request.query_params.get("q", "")
    labels = request.query_params.getlist("label")
    if len(words) > LONGEST_TEXT or len(labels) > MOST_FILTERS:
        raise UsageError(
            f"a filter has at most {LONGEST_TEXT} characters and {MOST_FILTERS} labels"
        )
    pairs = [tuple(map(str, label.split("\x1f", 1))) for label in labels]
    if any(len(pair) != 2 for pair in pairs):
        raise UsageError("label: want a name and a value")
    return Filter(words, tuple((pair[0], pair[1]) for pair in pairs))
