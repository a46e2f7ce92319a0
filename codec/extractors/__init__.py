"""Extractors: named networks that turn a picture into one vector, for search and sampling.

    name ──open_extractor──> Extractor
    uint8 [H, W, 3] ──preprocessing──> uint8 [side, side, 3] ──features──> float32 [size], length 1

| name | extractor |
|---|---|
| `underpaint` | texture classes and energies, meaning and colours from the wavelet analysis |
| `torchvision:NAME`, `timm:NAME` | a network of that library with its published weights |
| `torchvision:NAME@FILE`, `timm:NAME@FILE` | the same with weights from a safetensors file |
| `onnx:FILE` | any network in an ONNX file |
| `module:Class` | a class of your own with the members of `Extractor` |

FILE is a path or fsspec URL. A suffix `#sha256=DIGEST&…` requires its SHA-256 and sets options (see
`codec.extractors.names`). The libraries are optional: the extra
`extractors` installs them.
"""

from underpaint.codec.extractors.base import Extractor, Preprocessing
from underpaint.codec.extractors.registry import open_extractor

__all__ = ["Extractor", "Preprocessing", "open_extractor"]
