"""Opens extractors by name."""

from __future__ import annotations

import importlib

from underpaint.codec.errors import UsageError
from underpaint.codec.extractors.base import Extractor
from underpaint.codec.extractors.names import LIBRARIES, ONNX, UNDERPAINT, ExtractorName


def open_extractor(name: str, *, device: str = "cpu", weights: str | None = None) -> Extractor:
    """Open an extractor by its name (see `codec.extractors`) on a torch device.

    `weights` are those of the codec, for `underpaint`. Raises UsageError for an unknown name or a
    missing file or library, and ChecksumMismatch if a file has another digest than its name.
    """
    parsed = ExtractorName.parse(name)
    if parsed.kind == ONNX:
        from underpaint.codec.extractors.onnx_network import OnnxNetwork

        return OnnxNetwork(parsed, device)
    if parsed.kind in LIBRARIES:
        from underpaint.codec.extractors.torch_network import TorchNetwork

        return TorchNetwork(parsed, device)
    if parsed.network:
        return _own(parsed, device)
    if parsed.kind == UNDERPAINT:
        from underpaint.codec.extractors.builtin import TextureFeatures
        from underpaint.codec.weights.loading import load_weights

        return TextureFeatures(load_weights(weights), device)
    raise UsageError(
        f"{name!r} names no extractor: {UNDERPAINT}, {', '.join(f'{k}:NAME' for k in LIBRARIES)}, "
        f"{ONNX}:FILE or module:Class"
    )


def _own(name: ExtractorName, device: str) -> Extractor:
    """Return an extractor of the user, made by calling `module:Class` with the device."""
    try:
        made: Extractor = getattr(importlib.import_module(name.kind), name.network)(device=device)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{name}: {error}") from error
    return made
