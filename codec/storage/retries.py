"""Retries of storage calls that failed for a reason that may pass, and notices of long waits.

A call is tried at most `ATTEMPTS` times, and not again after `MOST_S` seconds. Clients of object
stores retry by themselves too, within one attempt: with the time limits of `stores`, an attempt
ends after 10 to 50 seconds where a store cannot be reached, and after two and a half minutes where
it keeps silent. So a call fails after three minutes at the latest.
"""

from __future__ import annotations

import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TypeVar

from underpaint.codec.errors import UnderpaintError
from underpaint.codec.storage.redaction import redacted

T = TypeVar("T")

ATTEMPTS = 6
"""Attempts of one storage call before its error is raised."""

FIRST_WAIT_S = 0.2
"""Wait after the first failure in seconds; it doubles each time, with jitter."""

MOST_S = 30.0
"""Seconds after which no other attempt is begun."""

NOTICE_S = 4.0
"""Seconds after which a call that fails is named; again after twice the time, and so on."""

QUIET_S = 15.0
"""The same for a call of which no failure is known: it may move many bytes."""

CREDENTIALS = {
    "gs": "`gcloud auth application-default login` or GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "`aws configure` or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
"""Scheme of an address -> where its client looks for credentials."""

_ANSWERS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    UnderpaintError,
)
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_CLIENTS = frozenset({"aiohttp", "botocore", "gcsfs", "google", "requests", "s3fs", "urllib3"})

log = logging.getLogger(__name__)
_notify: Callable[[str], None] = log.warning


def announce(notify: Callable[[str], None] | None) -> None:
    """Pass notices of long waits to `notify`; None: log them as warnings, as at first."""
    global _notify
    _notify = notify or log.warning


def is_transient(error: BaseException) -> bool:
    """Return whether a storage error may pass by itself (network, throttling, server error)."""
    if isinstance(error, (*_ANSWERS, PermissionError)):
        return False
    status = getattr(error, "code", getattr(error, "status", None))
    if isinstance(status, int):
        return status in _TRANSIENT_STATUS
    if isinstance(error, OSError | TimeoutError | ConnectionError):
        return "Forbidden" not in str(error)
    return type(error).__module__.split(".")[0] in {"aiohttp", "requests", "urllib3"}


def with_retries(
    call: Callable[[], T],
    name: str = "",
    *,
    attempts: int = ATTEMPTS,
    wait_s: float = FIRST_WAIT_S,
    transient: Callable[[BaseException], bool] = is_transient,
    named: Callable[[Exception, str], Exception] | None = None,
) -> T:
    """Return `call()`; retry transient errors with exponential waits and jitter.

    A server that asks for a longer wait is given it; one that asks for more than `MOST_S` is not
    called again. `name` is the address that the call asks for. It is named while the call waits.
    Errors of the network and of clients are then raised as OSError with the address, the reason and
    a remedy (or as `named` makes of them); answers of the store, such as FileNotFoundError, as they
    are.
    """
    with waiting(name) as wait:
        for attempt in range(1, attempts + 1):
            try:
                return call()
            except Exception as raised:
                error = _behind(raised)
                asked = asked_wait(error)
                late = time.monotonic() - wait.begin + asked > MOST_S
                if attempt == attempts or late or not transient(error):
                    plain = (named or named_error)(error, name)
                    if plain is raised:
                        raise
                    raise plain from error
                wait.reason = f"{_text(error)}; attempt {attempt + 1} of {attempts}"
            time.sleep(max(asked, wait_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)))
    raise AssertionError("unreachable")


def asked_wait(error: BaseException) -> float:
    """Return for how many seconds a server asks not to be called again; 0 if it does not say.

    Its header Retry-After has seconds or a date (RFC 9110, section 10.2.3).
    """
    text = str((getattr(error, "headers", None) or {}).get("Retry-After", "")).strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


class ClientLog(logging.Handler):
    """Listens to a store's client, which logs why it tries again and does not raise it."""

    _MARKS = ("after exception: ", "etryable error: ")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason for the next notice; print nothing."""
        text = record.getMessage()
        for mark in self._MARKS:
            if mark in text:
                _watch.heard = " ".join(text.partition(mark)[2].split())


class _Wait:
    """A call in progress."""

    def __init__(self, name: str) -> None:
        self.name, self.begin = name, time.monotonic()
        self.reason, self.notices = "", 0


class _Watch:
    """Looks at the calls of this process in a thread of its own, and names one that waits."""

    def __init__(self) -> None:
        self.waits: dict[int, _Wait] = {}
        self.heard = ""
        self._pid = -1

    def start(self) -> None:
        """Start the thread in this process, unless it runs."""
        if self._pid != os.getpid():
            self._pid, self.waits = os.getpid(), {}
            threading.Thread(target=self._run, name="storage waits", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(NOTICE_S / 4)
            now = time.monotonic()
            oldest = min(list(self.waits.values()), key=lambda wait: wait.begin, default=None)
            if oldest is None:
                self.heard = ""
                continue
            reason, span = oldest.reason or self.heard, now - oldest.begin
            if span >= (NOTICE_S if reason else QUIET_S) * 2**oldest.notices:
                oldest.notices += 1
                why = f": {reason}" if reason else ""
                _notify(redacted(f"waiting for {oldest.name} for {span:.0f} s{why}"))


_watch = _Watch()


@contextmanager
def waiting(name: str) -> Iterator[_Wait]:
    """Note that a call for `name` is in progress, which is named if it waits long; "" is not."""
    wait = _Wait(name)
    if name:
        _watch.start()
        _watch.waits[id(wait)] = wait
    try:
        yield wait
    finally:
        _watch.waits.pop(id(wait), None)


_REFUSAL = re.compile(r"Credential|Forbidden|(?<![\w:])401\b")
"""What stores say of credentials that are missing or wrong; `:401` is a port."""


def _behind(error: Exception) -> Exception:
    """Return the network's error that fsspec has taken for a missing file, else the error."""
    cause = error.__cause__
    lost = type(cause).__module__.startswith("aiohttp") and not hasattr(cause, "status")
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and lost:
        return cause
    return error


def _text(error: BaseException) -> str:
    """Return the message of an error on one line, or its kind if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def named_error(error: Exception, name: str) -> Exception:
    """Return an OSError that names the address; the error itself if it is no store's."""
    foreign = type(error).__module__.split(".")[0] in _CLIENTS
    if not name or isinstance(error, _ANSWERS) or not (foreign or isinstance(error, OSError)):
        return error
    scheme = name.partition("://")[0]
    told = f"{type(error).__name__} {error}"
    refused = isinstance(error, PermissionError) or _REFUSAL.search(told) is not None
    if refused and scheme in CREDENTIALS:
        remedy = f"give credentials that may do this, by {CREDENTIALS[scheme]}"
        return PermissionError(f"{name}: {_text(error)}; {remedy}")
    remedy = "check the address and the network, then try again"
    return ConnectionError(f"{name}: {_text(error)}; {remedy}")
