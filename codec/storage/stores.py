"""Object stores: how long a request may take, and what their clients log."""

from __future__ import annotations

import logging
from typing import Any

from underpaint.codec.storage.retries import ClientLog

CONNECT_S = 10.0
"""Seconds to connect to an object store."""

STALL_S = 20.0
"""Seconds without another byte of an answer."""


def store_options(url: str) -> dict[str, Any]:
    """Return the options of the fsspec file system of an object store; {} for other addresses."""
    scheme = url.partition("://")[0]
    if scheme in ("gs", "gcs"):
        import aiohttp  # which gcsfs needs

        _listen("gcsfs")
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STALL_S)
        return {"requests_timeout": limits}
    if scheme in ("s3", "s3a"):
        _listen("s3fs")
        limit = {"connect_timeout": CONNECT_S, "read_timeout": STALL_S}
        return {
            "config_kwargs": {**limit, "retries": {"total_max_attempts": 1}}
        }  # s3fs has its own
    return {}


def _listen(client: str) -> None:
    """Hear what a client logs instead of printing it, unless its log was set up by the user."""
    logger = logging.getLogger(client)
    if logger.level == logging.NOTSET and not logger.handlers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(ClientLog())
