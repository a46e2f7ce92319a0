"""Taking credentials out of text before it is stored, logged or shown.

Addresses may carry them: `https://user:password@host/…`, or a signature in the query, as Amazon,
Google and Azure make them for a limited time. Whoever reads an archive, a report or a log needs to
know which file was meant and not how to get at it.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_LOGIN = re.compile(r"(?<=://)[^\s/?#@\"'<>]*@")
_QUERY = re.compile(
    r"""(?ix) (?<=[?&;]) ( [\w.-]{0,40} (?: signature | credential | token | secret | passw
    | api_?key | access_?key | accesskeyid | auth | policy ) [\w.-]{0,40} | sig | key | pwd ) =
    [^\s&;"'<>\#]+"""
)
_BEARER = re.compile(r"(?i)\b(authorization\W{1,4}(?:bearer|basic)|bearer)\s+[\w.~+/=-]{8,}")


def redacted(text: str) -> str:
    """The text without user names and passwords in addresses, signatures, tokens and keys."""
    if "://" in text:
        text = _LOGIN.sub(f"{HIDDEN}@", text)
    if "=" in text:
        text = _QUERY.sub(rf"\1={HIDDEN}", text)
    if "earer" in text or "uthorization" in text:
        text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return text
