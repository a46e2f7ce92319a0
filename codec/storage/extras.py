"""Optional packages: the extra that installs each, and the message that names it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
from collections.abc import Mapping
from importlib.metadata import distributions
from socket import gaierror
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import fsspec

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.retries import named_error, waiting
from underpaint.codec.storage.stores import store_options

EXTRAS = {
    "aiohttp": "http",
    "apache_beam": "pipeline",
    "gcsfs": "gcs",
    "imagecodecs": "evaluate",
    "matplotlib": "evaluate",
    "onnx": "train",
    "onnxruntime": "tasks",
    "pillow_heif": "heif",
    "psutil": "evaluate",
    "s3fs": "s3",
    "scipy": "evaluate",
    "ssimulacra2": "evaluate",
    "starlette": "serve",
    "timm": "extractors",
    "torchvision": "extractors",
    "tqdm": "evaluate",
    "uvicorn": "serve",
}
"""Name of an imported package -> extra of `underpaint` that installs it."""

SCHEMES = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3", "http": "http", "https": "http"}
"""Scheme of a URL -> extra of `underpaint` that installs its file system."""

NO_ADDRESS = "not a valid web address; correct it in its table or command"

_WEB_HOST = re.compile(r"(?P<scheme>https?)://([^/?#]*@)?\[[^]/?#]*\](?=[:/?#]|$)")
"""Beginning of a web address whose host is an IPv6 address, which has `::` in it."""

_CHAINED_HOST = re.compile(r"::https?://([^/?#]*@)?\[")


def install_hint(extra: str) -> str:
    """Return the command that installs an extra beside this installation of the package.

    The package is on no index, so the command names what it was installed from: a folder, a file or
    a repository, as `direct_url.json` (PEP 610) records it.
    """
    # a folder *.egg-info, which a build leaves in a checkout, has no record
    records = (found.read_text("direct_url.json") for found in distributions(name="underpaint"))
    try:
        return _command(json.loads(next(filter(None, records), "{}")), extra)
    except (ValueError, TypeError, AttributeError):
        return _command({}, extra)


def _command(origin: Mapping[str, Any], extra: str) -> str:
    """Return the command for a record of PEP 610; {} if there is none."""
    url = str(origin.get("url", ""))
    path = url2pathname(url.removeprefix("file://")) if url.startswith("file://") else ""
    pip = "pip install"
    if "vcs_info" in origin:
        return f"{pip} {shlex.quote(f'underpaint[{extra}] @ git+{url}')}"
    if "archive_info" in origin and (not path or os.path.isfile(path)):
        return f"{pip} {shlex.quote(f'underpaint[{extra}] @ {url}')}"
    if path and os.path.isdir(path):
        if os.path.isfile(constraints := os.path.join(path, "constraints.txt")):
            pip += f" --constraint {shlex.quote(constraints)}"
        if origin.get("dir_info", {}).get("editable"):
            pip += " --editable"
        return f"{pip} {shlex.quote(f'{path}[{extra}]')}"
    return f"pip install --constraint constraints.txt '.[{extra}]' in the folder of Underpaint"


def missing_extra(error: ImportError) -> str | None:
    """Return the extra that installs the package of a failed import; None if no extra does."""
    return EXTRAS.get((error.name or "").partition(".")[0])


def require_extras(command: str, *extras: str) -> None:
    """UsageError that names those of the extras that are not completely installed, if any."""
    missing = {
        extra
        for package, extra in EXTRAS.items()
        if extra in extras and importlib.util.find_spec(package) is None
    }
    if missing:
        raise UsageError(f"{command} needs {install_hint(','.join(sorted(missing)))}")


def is_chain(address: str) -> bool:
    """Return whether an address is an fsspec chain, `zip://a.jpg::gs://bucket/b.zip`.

    A local path is none, whatever its name is: it begins with a slash, or exists, or does not
    begin with the name of a file system (`o::ut` is a path, `zip::ut` is none, `./zip::ut` is one).
    The colons of an IPv6 host make no chain either.
    """
    if host := _WEB_HOST.match(address):
        address = f"{host['scheme']}://{address[host.end() :]}"
    if "::" not in address or address.startswith("/"):
        return False
    if "://" in address:
        return True
    return address.partition("::")[0] in fsspec.available_protocols() and not os.path.lexists(
        address
    )


def file_system(url: str, **options: Any) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the fsspec file system of a path or URL, and the path in that file system's terms.

    Raises UsageError for an unknown scheme, and for a scheme whose package is not installed; the
    message names the command that installs it. An empty path is a UsageError.
    """
    if not url:
        raise UsageError("a path is empty")
    _check_web(url)
    web_host = _WEB_HOST.match(url)
    if "::" in url and not is_chain(url) and not web_host:  # fsspec would split the local path
        fs = fsspec.filesystem("file", **options)
        return fs, fs._strip_protocol(os.path.abspath(url))
    try:
        options = {**store_options(url), **options}
        if web_host:  # fsspec would split this host
            return fsspec.filesystem(web_host["scheme"], **options), url
        with waiting(url if "://" in url else ""):  # a store's client may ask for credentials
            return fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = SCHEMES.get(url.partition("://")[0].rpartition("::")[2])
        if extra is None:
            raise UsageError(f"{url}: {error}") from None
        raise UsageError(f"{url}: reading it needs {install_hint(extra)}") from None
    except ValueError as error:
        raise UsageError(f"{url}: {error}") from None
    except (ConnectionError, TimeoutError, gaierror) as error:  # some connect when they are made
        raise named_error(error, url) from None


def _check_web(url: str) -> None:
    """Raise UsageError for a web address without a host, or with a host or port that cannot be.

    The file of a chain may be one, which fsspec cannot take apart if its host is an IPv6 address.
    """
    if is_chain(url) and _CHAINED_HOST.search(url):
        raise UsageError(f"{url}: a chain cannot hold an IPv6 host; give the name of the host")
    if not url.startswith(("http://", "https://")):
        return
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"{url}: {NO_ADDRESS}")
