"""Retries of storage calls that failed for a reason that may pass."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ATTEMPTS = 6
"""Attempts of one storage call before its error is raised."""

FIRST_WAIT_S = 0.2
"""Wait after the first failure in seconds; it doubles each time, with jitter."""

_ANSWERS = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_transient(error: BaseException) -> bool:
    """Return whether a storage error may pass by itself (network, throttling, server error)."""
    if isinstance(error, _ANSWERS):
        return False
    status = getattr(error, "code", getattr(error, "status", None))
    if isinstance(status, int):
        return status in _TRANSIENT_STATUS
    if isinstance(error, OSError | TimeoutError | ConnectionError):
        return "Forbidden" not in str(error)
    return type(error).__module__.split(".")[0] in {"aiohttp", "requests", "urllib3"}


def with_retries(
    call: Callable[[], T],
    *,
    attempts: int = ATTEMPTS,
    wait_s: float = FIRST_WAIT_S,
    transient: Callable[[BaseException], bool] = is_transient,
) -> T:
    """Return `call()`; retry transient errors with exponential waits and jitter."""
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except Exception as error:
            if attempt == attempts or not transient(error):
                raise
        time.sleep(wait_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable")
