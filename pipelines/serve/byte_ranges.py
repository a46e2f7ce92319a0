"""Byte ranges of the data files of an archive: what a browser decodes pictures from.

    GET /archive/data/U-H.parquet        Range: bytes=START-STOP

Only files that the manifest names are found: no part of the address is a path of the disk. A
request names one range of at most LONGEST_RANGE bytes.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from underpaint.codec.archive import Archive
from underpaint.codec.archive.records import DATA

LONGEST_RANGE = 8 << 20
"""Most bytes of one answer; `static/stored_layers.js` asks for as many."""

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})", re.ASCII)


def file_range(request: Request, archive: Archive) -> Response:
    """Return the bytes that the header `Range` names of the data file in the path.

    206 with bytes, fewer at the end of the file; 416 for a range behind the end or of more than
    LONGEST_RANGE bytes; 400 without exactly one range; 404 for other files. Raises ArchiveDamaged.
    """
    try:
        entry = archive.manifest.units.data_file(f"{DATA}/{request.path_params['name']}")
    except KeyError:
        return _refusal(404, "the archive has no data file of this name")
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or int(found[1]) > int(found[2]):
        return _refusal(400, "want one range of bytes: Range: bytes=START-STOP")
    start, stop = int(found[1]), min(int(found[2]) + 1, entry.bytes)
    if start >= entry.bytes:
        return _refusal(416, "a range behind the end of the file", entry.bytes)
    if stop - start > LONGEST_RANGE:
        return _refusal(416, f"a range of more than {LONGEST_RANGE:,} bytes", entry.bytes)
    headers = {
        "content-range": f"bytes {start}-{stop - 1}/{entry.bytes}",
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=86400, immutable",  # the name changes with the content
    }
    data = archive.data.read_range(entry, start, stop)
    return Response(data, 206, headers, "application/octet-stream")


def _refusal(status: int, reason: str, size: int | None = None) -> Response:
    headers = {} if size is None else {"content-range": f"bytes */{size}"}
    return JSONResponse({"error": reason}, status, headers)
