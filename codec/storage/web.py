"""Files of web servers, with limits on the time that a server may take.

A download fails if connecting takes too long, if too few bytes arrive, or if all of it takes too
long. A host that refuses, is unknown or keeps silent is remembered, so that its other files fail at
once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.asyn import sync

from underpaint.codec.storage.extras import NO_ADDRESS
from underpaint.codec.storage.retries import asked_wait, is_transient, with_retries

WEB = ("http://", "https://")
"""Beginnings of web addresses."""


@dataclass(frozen=True)
class TimeLimits:
    """How long a download may take, in seconds."""

    connect_s: float = 10.0
    """To connect."""
    stall_s: float = 30.0
    """Without `least_bytes` more of the file."""
    least_bytes: int = 16 << 10
    total_s: float = 600.0
    """Altogether."""


DEFAULT_LIMITS = TimeLimits()

MOST_STALLS = 3
"""Downloads in a row that a host may let stall before it counts as dead. Others in progress then
end at once, unless their host has sent `TimeLimits.least_bytes` of them."""

LOOK_S = 0.2
"""Period in seconds at which a download in progress looks whether its host counts as dead."""

DEAD_S = 300.0
"""How long a dead host is not asked again, in seconds."""


_AGAIN = "try again later"
_OPEN_IT = "open the address in a browser to see where it leads"


class HostDead(ConnectionError):
    """A host did not answer a short while ago, and was not asked again."""


def session_options(
    url: str, limits: TimeLimits = DEFAULT_LIMITS, *, total: bool = False
) -> dict[str, Any]:
    """Return the options of the fsspec file system of a web address; {} for other addresses.

    `total` says whether `limits.total_s` applies to each request: not for files that are streamed.
    """
    if not url.startswith(WEB):
        return {}
    try:
        import aiohttp
    except ImportError:
        return {}  # opening the file system names the extra
    timeout = aiohttp.ClientTimeout(
        total=limits.total_s if total else None,
        sock_connect=limits.connect_s,
        sock_read=limits.stall_s,
    )
    return {"client_kwargs": {"timeout": timeout}}


def host_of(url: str) -> str:
    """Return host and port of an address, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def download(
    fs: fsspec.AbstractFileSystem, url: str, limit: int, limits: TimeLimits = DEFAULT_LIMITS
) -> bytes:
    """The first `limit` bytes of a file on a web server; busy servers are asked again.

    Raises FileNotFoundError, TimeoutError, ConnectionError, or the error of the HTTP status.
    """
    host, hosts = host_of(url), _hosts()

    def attempt() -> bytes:
        hosts.check(host)
        try:
            data: bytes = sync(fs.loop, _get_unless_dead, fs, url, limit, limits)
        except TimeoutError as error:
            hosts.stalled(host)
            reason = error.__cause__ or error  # fsspec hides the text of the first one
            raise _Final(TimeoutError(f"{host}: {str(reason) or 'no answer in time'}")) from None
        except OSError as error:
            if not _is_unreachable(error):
                raise
            hosts.failed(host)
            raise _Final(ConnectionError(f"{host}: {_unreachable_text(error)}")) from None
        hosts.answered(host)
        return data

    try:
        return with_retries(
            attempt,
            transient=lambda error: is_transient(error) and not is_final(error),
            named=lambda error, _: plain_error(error, url),
        )
    except _Final as final:
        raise final.error from None


class _Final(Exception):
    """Carries an error past the retries."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Hosts:
    """Which hosts are dead. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stalls: dict[str, int] = {}
        self._dead_until: dict[str, float] = {}

    def check(self, host: str) -> None:
        """Raise _Final for a dead host."""
        with self._lock:
            if self._dead_until.get(host, 0.0) > time.monotonic():
                error = HostDead(f"{host} did not answer a short while ago; it was not asked again")
                raise _Final(error)

    def failed(self, host: str) -> None:
        """Take down that a host cannot be reached."""
        with self._lock:
            self._dead_until[host] = time.monotonic() + DEAD_S

    def stalled(self, host: str) -> None:
        """Take down that a host has let a download stall."""
        with self._lock:
            self._stalls[host] = self._stalls.get(host, 0) + 1
            if self._stalls[host] >= MOST_STALLS:
                self._dead_until[host] = time.monotonic() + DEAD_S

    def answered(self, host: str) -> None:
        """Take down that a host is alive."""
        with self._lock:
            self._stalls.pop(host, None)
            self._dead_until.pop(host, None)


@cache
def _hosts() -> _Hosts:
    return _Hosts()


def is_final(error: BaseException) -> bool:
    """Return whether asking a web server again would only take more time.

    That is the case if it did not answer in time, if no connection came about, or if it sends the
    client elsewhere for nothing.
    """
    import aiohttp

    led = aiohttp.InvalidURL | aiohttp.RedirectClientError | aiohttp.TooManyRedirects
    astray = isinstance(error, led)
    return isinstance(error, TimeoutError) or astray or _is_unreachable(error)


def plain_error(error: Exception, url: str) -> Exception:
    """Return an error that names the address and the reason; the error itself if it does so."""
    import aiohttp

    if isinstance(error, TimeoutError):
        return TimeoutError(f"{url}: the server did not answer in time")
    if _is_unreachable(error):
        return ConnectionError(f"{url}: {_unreachable_text(error)}")
    if isinstance(error, aiohttp.TooManyRedirects):
        return OSError(f"{url}: the server redirects in a circle; {_OPEN_IT}")
    if isinstance(error, aiohttp.RedirectClientError):
        return OSError(f"{url}: the server redirects to what is no web address; {_OPEN_IT}")
    if isinstance(error, aiohttp.InvalidURL):
        return OSError(f"{url}: {NO_ADDRESS}")
    if isinstance(error, aiohttp.ClientResponseError):
        if isinstance(error.__cause__, aiohttp.http.HttpProcessingError):
            return OSError(f"{url}: the server's answer is not valid HTTP; {_AGAIN}")
        asked = asked_wait(error)
        later = f"; it asks for a wait of {asked:.0f} s; {_AGAIN}" if asked else ""
        return OSError(f"{url}: HTTP {error.status} {error.message}{later}")
    if isinstance(error, aiohttp.ClientPayloadError):
        coded = "encoding" in str(error)
        what = (
            "its content encoding is not valid" if coded else "it does not have its stated length"
        )
        return OSError(f"{url}: the server's answer is damaged: {what}; {_AGAIN}")
    if isinstance(error, aiohttp.ClientError):
        return ConnectionError(f"{url}: the server closed the connection; {_AGAIN}")
    return error


def _is_unreachable(error: BaseException) -> bool:
    """Whether no connection came about: refused, unknown host, no route, bad certificate."""
    import aiohttp

    return isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError)


def _unreachable_text(error: Exception) -> str:
    """Return why no connection came about, without aiohttp's wording."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "unknown host"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no secure connection: the certificate or TLS version is not accepted"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return "the server refused the connection"
    return f"no connection: {getattr(cause, 'strerror', None) or type(cause).__name__}"


async def _get_unless_dead(fs: Any, url: str, limit: int, limits: TimeLimits) -> bytes:
    """Download a file; _Final if its host is found dead before it has sent a fair part of it."""
    host, hosts = host_of(url), _hosts()
    parts: list[bytes] = []
    getting = asyncio.ensure_future(_get(fs, url, limit, limits, parts))
    try:
        while not (await asyncio.wait((getting,), timeout=LOOK_S))[0]:
            if sum(map(len, parts)) < limits.least_bytes:
                hosts.check(host)
        await getting
    finally:
        getting.cancel()
    return b"".join(parts)[:limit]


async def _get(fs: Any, url: str, limit: int, limits: TimeLimits, parts: list[bytes]) -> None:
    """Append the first `limit` bytes of a file to `parts` as they arrive."""
    import aiohttp

    session = await fs.set_session()
    timeout = aiohttp.ClientTimeout(
        total=limits.total_s, sock_connect=limits.connect_s, sock_read=limits.stall_s
    )
    options = {key: value for key, value in fs.kwargs.items() if key != "timeout"}
    size, mark, begin = 0, 0, time.monotonic()
    try:
        async with session.get(fs.encode_url(url), timeout=timeout, **options) as response:
            _check_status(response, url)
            fs._raise_not_found_for_status(response, url)
            async for chunk in response.content.iter_any():
                parts.append(chunk)
                size += len(chunk)
                now = time.monotonic()
                if size - mark >= limits.least_bytes:
                    mark, begin = size, now
                elif now - begin > limits.stall_s:
                    raise TimeoutError(f"only {size - mark} bytes in {limits.stall_s:g} s")
                if size >= limit:
                    break
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise TimeoutError(str(error) or f"not done in {limits.total_s:g} s") from None


def _check_status(response: Any, url: str) -> None:
    """Raise an error that says what an answer is which is no file and needs no client's error.

    A redirect that can be followed has been followed before.
    """
    if response.status == 404:
        raise FileNotFoundError(f"{url}: the server has no such file (HTTP 404)")
    if 300 <= response.status < 400:
        where = f"redirects without saying where to (HTTP {response.status})"
        raise _Final(OSError(f"{url}: the server {where}; {_OPEN_IT}"))
