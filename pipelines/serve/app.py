"""The web application of the gallery: a page, and the interface that it reads an archive through.

Only GET and HEAD are answered, and only these addresses:

    /                      the page; /gallery.css, /gallery.js and others, its style and scripts
    /api/archive           layers, sizes, labels and totals of the archive
    /api/rows              keys and sides of rows, by their numbers or by a filter
    /api/values            the values of a label
    /api/row/N             all about one row
    /api/picture/N         a picture of a row: layers, size, format
    /api/state/N, map/N    palette and class map of a row at a number of layers
    /api/original/N        the source file, where the archive keeps it
    /archive/data/FILE     a byte range of a data file: layers as they are stored, for the page's
                           decoder
    /api/weights           the weights file that this decoder needs
    /api/similar/N         rows that are like a row; /api/duplicates, pairs of such rows
    /api/failures          dead letters; /api/histograms, sizes and bits per pixel
    /api/traffic           bytes read from storage so far

The files of the page are read when the application is made. No address names a path.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import anyio.to_thread
import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from underpaint.codec.arguments import whole_number
from underpaint.codec.errors import (
    ArchiveChanged,
    ArchiveDamaged,
    NoSuchKey,
    UnderpaintError,
    UsageError,
)
from underpaint.codec.image_io.read import WRITE_SUFFIX, write_picture
from underpaint.codec.storage.redaction import redacted
from underpaint.pipelines.serve import requests
from underpaint.pipelines.serve.byte_ranges import file_range
from underpaint.pipelines.serve.corpus import Corpus, clipped, label_text
from underpaint.pipelines.serve.guard import Guard
from underpaint.pipelines.serve.static_files import media_type, static_files
from underpaint.pipelines.serve.statistics import described, histograms

PAGE = "gallery.html"

PICTURE_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}

WORKERS = 4
"""Requests that read or decode at a time; others wait."""

MOST_PAIRS = 200
"""Pairs of likely duplicates that are listed."""

LONGEST_NAME = 120
"""Characters of a key that the name of a download has at most."""

MOST_WAITING = 512
"""Requests that wait; further ones are refused with status 503."""

Answer = Callable[[Request], Any]


def application(corpus: Corpus, hosts: Sequence[str], weights: bytes) -> Starlette:
    """Return the application; requests for hosts other than `hosts` (without port) are refused.

    `weights` is the file of the weights that read the archive.
    """
    api = _Api(corpus, weights)
    routes = [
        Route(f"/{'' if name == PAGE else name}", _page(content, media_type(name)), methods=["GET"])
        for name, content in static_files().items()
    ]
    routes += [
        Route(f"/api/{path}", api.answering(answer), methods=["GET"])
        for path, answer in api.answers().items()
    ]
    routes.append(Route("/archive/data/{name}", api.answering(api.file_range), methods=["GET"]))
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=frozenset(hosts))],
        exception_handlers={404: _not_found, 405: _not_found},
    )
    app.router.redirect_slashes = False
    return app


class _Api:
    """Answers about one archive."""

    def __init__(self, corpus: Corpus, weights: bytes) -> None:
        self._corpus, self._weights_file = corpus, weights
        self._workers = anyio.CapacityLimiter(WORKERS)
        self._large = anyio.CapacityLimiter(1)
        self._waiting = 0

    def answers(self) -> dict[str, Answer]:
        """Return the function of each address."""
        return {
            "archive": self._archive,
            "rows": self._rows,
            "values": self._values,
            "row/{number}": self._row,
            "picture/{number}": self._picture,
            "state/{number}": self._state,
            "map/{number}": self._map,
            "original/{number}": self._original,
            "weights": self._weights,
            "similar/{number}": self._similar,
            "duplicates": self._duplicates,
            "failures": self._failures,
            "histograms": self._histograms,
            "traffic": self._traffic,
        }

    def answering(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that runs `answer` in a thread, with errors as JSON of one line."""

        async def endpoint(request: Request) -> Response:
            if self._waiting >= MOST_WAITING:
                return JSONResponse({"error": "too many requests at once"}, 503)
            self._waiting += 1
            try:
                limiter = self._large if self._is_large(request) else self._workers
                value = await anyio.to_thread.run_sync(
                    self._answered, answer, request, limiter=limiter
                )
            except NoSuchKey:
                return JSONResponse({"error": "no picture with this key"}, 404)
            except UsageError as error:
                return JSONResponse({"error": redacted(str(error))}, 400)
            except ArchiveChanged as error:
                return JSONResponse({"error": redacted(str(error))}, 409)
            except UnderpaintError as error:
                return JSONResponse({"error": redacted(str(error))}, 500)
            except OSError as error:  # of the store
                text = redacted(" ".join(str(error).split())) or type(error).__name__
                return JSONResponse({"error": clipped(text)}, 502)
            finally:
                self._waiting -= 1
            if isinstance(value, Response):
                return value
            body = json.dumps(value, ensure_ascii=True, allow_nan=False, default=str)
            return Response(body, 200, {"cache-control": "no-store"}, "application/json")

        return endpoint

    def _answered(self, answer: Answer, request: Request) -> Any:
        """Return the answer; ArchiveChanged rather than what a replaced archive seems to lack."""
        try:
            return answer(request)
        except (ArchiveDamaged, OSError):
            self._corpus.check_unchanged()
            raise

    def _is_large(self, request: Request) -> bool:
        """Return whether a request may decode a large picture: in full, or at a large size."""
        size = whole_number(request.query_params.get("size", "0"))
        small = size is not None and 0 < size <= 1024
        return request.url.path.startswith(("/api/picture", "/api/state", "/api/map")) and not small

    def _archive(self, request: Request) -> Any:
        return described(self._corpus)

    def _rows(self, request: Request) -> Any:
        corpus = self._corpus
        if key := request.query_params.get("key"):
            return {"rows": corpus.rows([corpus.number_of(key)]), "count": 1}
        start, stop = requests.span(request)
        found = corpus.find(requests.wanted(request))
        count = len(corpus.archive) if found is None else len(found)
        chosen = range(min(start, count), min(stop, count))
        numbers = list(chosen) if found is None else found[chosen.start : chosen.stop].tolist()
        return {
            "rows": corpus.rows(numbers),
            "count": count,
            "damaged": corpus.damaged if found is not None else 0,
            **self._traffic(request),
        }

    def _values(self, request: Request) -> Any:
        values, others = self._corpus.label_values(request.query_params.get("label", ""))
        return {"values": values, "others": others}

    def _row(self, request: Request) -> Any:
        number = requests.row_number(request)
        row, archive = self._corpus.row(number), self._corpus.archive
        labels = {name: value for name, value in row.labels.items() if value is not None}
        notes = list(row.notes)
        try:
            stored = self._corpus.stored_layers(number)
        except ArchiveDamaged as error:
            self._corpus.check_unchanged()
            stored = {}
            notes.append(str(error))
        return {
            "n": number,
            "key": clipped(row.key),
            "width": row.width,
            "height": row.height,
            "source": clipped(redacted(row.source_uri)),
            "source_bytes": row.source_bytes,
            "format": row.source_format,
            "notes": [clipped(redacted(note)) for note in notes],
            "labels": {clipped(name): label_text(value) for name, value in labels.items()},
            "metadata": _metadata(row.metadata),
            **stored,
            "original": archive.manifest.keeps_source,
        }

    def _picture(self, request: Request) -> Response:
        number, form = requests.row_number(request), request.query_params.get("format", "jpeg")
        if form not in WRITE_SUFFIX:
            raise UsageError(f"format: choose {', '.join(WRITE_SUFFIX)}")
        layers, size = requests.state(request, self._corpus.archive)
        if "thumbnail" in request.query_params and size is not None:
            pixels, quality = self._corpus.thumbnail(number, layers, size), 85
        else:
            pixels, quality = self._corpus.state(number, layers, size).pixels, 95
        data = write_picture(np.ascontiguousarray(pixels), form, quality=quality)
        response = Response(data, 200, _cached(request))
        response.headers["content-type"] = PICTURE_TYPES[form]
        if "download" in request.query_params:
            name = _file_name(self._corpus.row(number).key)
            stem = PurePosixPath(name).stem + WRITE_SUFFIX[form]
            response.headers["content-disposition"] = _attachment(stem)
        return response

    def _state(self, request: Request) -> Any:
        number = requests.row_number(request)
        view = self._corpus.state(number, *requests.state(request, self._corpus.archive))
        height, width = view.pixels.shape[:2]
        return {
            "name": view.name,
            "bytes": view.total_bytes,
            "width": width,
            "height": height,
            "palette": [asdict(entry) for entry in view.palette[:256]],
            "classes": len(view.palette),
            **self._traffic(request),
        }

    def _map(self, request: Request) -> Response:
        number = requests.row_number(request)
        view = self._corpus.state(number, *requests.state(request, self._corpus.archive))
        data = write_picture(view.coloured_map(), "png")
        return Response(data, 200, _cached(request), "image/png")

    def _original(self, request: Request) -> Response:
        number = requests.row_number(request)
        name = _file_name(self._corpus.row(number).key)
        headers = {"content-disposition": _attachment(name), **_cached(request)}
        data = self._corpus.original(number)
        return Response(data, 200, headers, "application/octet-stream")

    def file_range(self, request: Request) -> Response:
        """Return a byte range of a data file of the archive."""
        return file_range(request, self._corpus.archive)

    def _weights(self, request: Request) -> Response:
        return Response(self._weights_file, 200, _cached(request), "application/octet-stream")

    def _similar(self, request: Request) -> Any:
        count = requests.number(request, "count", 24, least=1, most=200)
        found = self._corpus.similar(requests.row_number(request), count)
        rows = self._corpus.rows([number for number, _ in found])
        for row, (_, cosine) in zip(rows, found, strict=True):
            row["similarity"] = round(cosine, 4)
        return {"rows": rows}

    def _duplicates(self, request: Request) -> Any:
        percent = requests.number(request, "percent", 98, least=50, most=100)
        pairs = self._corpus.duplicates(percent / 100, MOST_PAIRS)
        return {"pairs": pairs, "most": MOST_PAIRS}

    def _failures(self, request: Request) -> Any:
        start, stop = requests.span(request)
        cause = request.query_params.get("cause", "")
        return {"letters": list(self._corpus.letters(start, stop - start, cause))}

    def _histograms(self, request: Request) -> Any:
        return histograms(self._corpus)

    def _traffic(self, request: Request) -> dict[str, int]:
        traffic = self._corpus.archive.traffic
        return {"fetched": traffic.fetched, "requests": traffic.requests}


def _page(content: bytes, media_type: str) -> Callable[[Request], Response]:
    def page(request: Request) -> Response:
        return Response(content, 200, {"cache-control": "no-cache"}, media_type)

    return page


def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "nothing here"}, getattr(error, "status_code", 404))


def _cached(request: Request) -> dict[str, str]:
    """Return the header that lets the browser keep a picture whose address names its version."""
    versioned = "v" in request.query_params
    return {"cache-control": "private, max-age=86400" if versioned else "no-store"}


def _file_name(key: str) -> str:
    """Return the name of a file from the last part of a key, without characters that steer."""
    name = "".join(
        letter
        for letter in key.replace("\\", "/").rpartition("/")[2][-LONGEST_NAME:]
        if letter.isprintable()
    )
    return name.strip(" .") or "picture"


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _metadata(text: str | None) -> dict[str, str]:
    """Return the members of a row's metadata as texts; the stored EXIF block is left out."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):  # of another writer
        return {"metadata": clipped(text or "")}
    if not isinstance(found, dict):
        return {"metadata": clipped(str(found))}
    return {clipped(str(k)): label_text(v) for k, v in found.items() if k != "exif"}
