"""The header of a weights file: its id and its layers, read without torch.

A weights file is a safetensors file: 8 bytes of length (little endian), JSON, tensors. The entry
`__metadata__` of the JSON holds the configuration of the codec, as text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from underpaint.codec.errors import UsageError, WeightsDamaged, WeightsMismatch
from underpaint.codec.storage.download import fetch

PROFILES = {
    profile: Path(__file__).parents[1] / "profiles" / f"{profile}.safetensors"
    for profile in ("perceptual", "fidelity")
}
"""The weights in the package by profile, the default first."""

SHIPPED = next(iter(PROFILES.values()))
"""The default weights."""

WEIGHTS_FORMAT = 6
"""Version of the format of weights files."""

METADATA = "underpaint"
"""Key of the configuration in the metadata."""


@dataclass(frozen=True)
class WeightsHeader:
    """The properties of weights that an archive records.

    layer_names  description of each layer, coarsest first
    """

    id: str
    layer_names: tuple[str, ...]


def content_id(data: bytes) -> str:
    """Return the id of a weights file: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def check_made_with(made_with: str, weights_id: str) -> None:
    """Raise WeightsMismatch unless weights are those of an archive; "" if it is empty."""
    if made_with not in ("", weights_id):
        raise WeightsMismatch(f"made with weights {made_with}, not {weights_id}")


def fetch_weights(path: str | None) -> bytes:
    """Return the bytes of a weights file: a path, URL or name of a profile in the package.

    None is the default profile. Raises UsageError if there is no such file.
    """
    location = str(PROFILES.get(path or "", SHIPPED if path is None else path))
    try:
        return fetch(location)
    except ConnectionError as error:  # it names the address
        raise UsageError(f"weights: {error}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        profiles = ", ".join(PROFILES)
        raise UsageError(
            f"no weights at {location}: {reason}; give a path, a URL or a profile ({profiles})"
        ) from error


@contextmanager
def named(path: str | None) -> Iterator[None]:
    """Put the name of the file before the message of WeightsDamaged."""
    try:
        yield
    except WeightsDamaged as error:
        name = next(iter(PROFILES)) if path is None else path
        raise WeightsDamaged(f"{name}: {error}", rule=error.rule) from error


def metadata(data: bytes) -> dict[str, Any]:
    """Return the configuration of a weights file.

    Raises WeightsDamaged if it has another format, and ValueError, LookupError or TypeError if the
    bytes are no weights file.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    found = json.loads(header["__metadata__"][METADATA])
    if found["format"] != WEIGHTS_FORMAT:
        raise WeightsDamaged(
            f"weights of format {found['format']}, not {WEIGHTS_FORMAT}", rule="W2"
        )
    return dict(found)


def read_header(data: bytes) -> WeightsHeader:
    """Return the header of a weights file, without its tensors.

    Raises WeightsDamaged if it has none.
    """
    try:
        names = tuple(str(layer["name"]) for layer in metadata(data)["codec"]["layers"])
    except (LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsDamaged(f"not a weights file ({reason})", rule="W3") from error
    return WeightsHeader(content_id(data), names)
