"""What a file of weights says of itself, read without torch: its name and its layers.

A file of weights is a safetensors file: 8 bytes of length (little endian), JSON, tensors. Under
`__metadata__` the JSON holds the configuration of the codec, as text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from underpaint.codec.errors import UsageError, WeightsDamaged
from underpaint.codec.storage.download import fetch

PROFILES = {
    profile: Path(__file__).parents[1] / "profiles" / f"{profile}.safetensors"
    for profile in ("perceptual", "fidelity")
}
"""The weights in the package by what they are made for, the default first."""

SHIPPED = next(iter(PROFILES.values()))
"""The weights that are taken where none are named."""

WEIGHTS_FORMAT = 3

METADATA = "pentimento"
"""Key of the configuration among the metadata: the first name of this project. It stays, because
the id of a weights file is the hash of all its bytes."""


@dataclass(frozen=True)
class WeightsHeader:
    """What an archive records of the weights it is made with."""

    id: str
    layer_names: tuple[str, ...]
    """What each layer adds, coarsest first."""


def content_id(data: bytes) -> str:
    """Return the name of a weights file: 16 hex digits of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def fetch_weights(path: str | None) -> bytes:
    """Return a file of weights: a path or URL (see `codec.storage.download`), or a profile in the
    package by
    name. None is the default profile.

    Raises UsageError where there is none.
    """
    location = str(PROFILES.get(path or "", SHIPPED if path is None else path))
    try:
        return fetch(location)
    except OSError as error:
        raise UsageError(f"no weights at {location}: {error}") from error


def metadata(data: bytes, formats: Container[int] = (WEIGHTS_FORMAT,)) -> dict[str, Any]:
    """Return the configuration; WeightsDamaged where it is of none of the formats or, for what is
    no such file, a ValueError, LookupError or TypeError."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    found = json.loads(header["__metadata__"][METADATA])
    if found["format"] not in formats:
        raise WeightsDamaged(f"weights of format {found['format']}, not {WEIGHTS_FORMAT}")
    return dict(found)


def read_header(data: bytes) -> WeightsHeader:
    """Return the header of a file; WeightsDamaged where it has none. Tensors are not looked at."""
    try:
        names = tuple(str(layer["name"]) for layer in metadata(data)["codec"]["layers"])
    except (LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsDamaged(f"weights cannot be read: {reason}") from error
    return WeightsHeader(content_id(data), names)
