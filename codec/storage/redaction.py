"""Removes credentials from text before it is stored, logged or shown.

Addresses may contain credentials: `https://user:password@host/…`, or a signature in the query, as
Amazon, Google and Azure issue for a limited time. Readers of an archive, a report or a log need to
know which file is meant, but not how to gain access to it.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any

HIDDEN = "***"

_LOGIN = re.compile(r"(?<=://)[^\s/?#@\"'<>]*@")
_QUERY = re.compile(
    r"""(?ix) (?<=[?&;]) ( [\w.-]{0,40} (?: signature | credential | token | secret | passw
    | api_?key | access_?key | accesskeyid | auth | policy ) [\w.-]{0,40} | sig | key | pwd ) =
    [^\s&;"'<>\#]+"""
)
_BEARER = re.compile(r"(?i)\b(authorization\W{1,4}(?:bearer|basic)|bearer)\s+[\w.~+/=-]{8,}")


def redacted(text: str) -> str:
    """Return the text without user names and passwords in addresses, signatures, tokens and
    keys.
    """
    if "://" in text:
        text = _LOGIN.sub(f"{HIDDEN}@", text)
    if "=" in text:
        text = _QUERY.sub(rf"\1={HIDDEN}", text)
    if "earer" in text or "uthorization" in text:
        text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return text


def redact_logs() -> None:
    """Remove credentials from everything that this process logs, tracebacks included."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def made(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{''.join(traceback.format_exception(*record.exc_info)).rstrip()}"
            record.exc_info = None
        record.msg, record.args = redacted(text), ()
        return record

    made.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(made)
