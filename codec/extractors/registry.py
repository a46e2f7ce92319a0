"""From a name to an extractor."""

from __future__ import annotations

import importlib

from codec.errors import UsageError
from codec.extractors.base import Extractor
from codec.extractors.names import LIBRARIES, ONNX, PENTIMENTO, ExtractorName


def open_extractor(name: str, *, device: str = "cpu", weights: str | None = None) -> Extractor:
    """Open an extractor by its name (see `codec.extractors`) on a torch device.

    `weights` are those of the codec, for `pentimento`. Raises UsageError for a name, file or
    library that is not there, ChecksumMismatch where a file is not the one that was named.
    """
    parsed = ExtractorName.parse(name)
    if parsed.kind == ONNX:
        from codec.extractors.onnx_network import OnnxNetwork

        return OnnxNetwork(parsed, device)
    if parsed.kind in LIBRARIES:
        from codec.extractors.torch_network import TorchNetwork

        return TorchNetwork(parsed, device)
    if parsed.network:
        return _own(parsed, device)
    if parsed.kind == PENTIMENTO:
        from codec.extractors.builtin import TextureFeatures
        from codec.weights import load_weights

        return TextureFeatures(load_weights(weights), device)
    raise UsageError(
        f"{name!r} names no extractor: {PENTIMENTO}, {', '.join(f'{k}:NAME' for k in LIBRARIES)}, "
        f"{ONNX}:FILE or module:Class"
    )


def _own(name: ExtractorName, device: str) -> Extractor:
    """An extractor of the user's, made by calling `module:Class` with the device."""
    try:
        made: Extractor = getattr(importlib.import_module(name.kind), name.network)(device=device)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{name}: {error}") from error
    return made
