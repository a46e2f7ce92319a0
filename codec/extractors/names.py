"""How extractors are named.

    underpaint
    torchvision:resnet50                        timm:vit_small_patch14_dinov2.lvd142m
    torchvision:resnet50@gs://b/r50.safetensors#sha256=DIGEST
    onnx:https://host/net.onnx#sha256=DIGEST&output=pool10&order=bgr&mean=123,117,104&std=1,1,1

Options of `onnx:`, after `#` and parted by `&`:

| option | meaning | default |
|---|---|---|
| `sha256` | 64 hex digits that the file must have | the file's own, once it is opened |
| `output` | name of any tensor of the network | its first output |
| `size` | sides of the square it sees | those of its input, else 224 |
| `mean`, `std` | subtracted and divided by: red, green, blue in 0..255 | ImageNet's |
| `order` | `rgb` or `bgr` | `rgb` |
| `layout` | `nchw` or `nhwc` | where its input has three channels |
| `output_layout` | of an output with positions, over which its mean is taken | `nchw` |
| `crop` | share of the shorter side kept at the centre, 0 for all, squeezed | 0.875 |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.download import Address

UNDERPAINT, ONNX = "underpaint", "onnx"
LIBRARIES = ("torchvision", "timm")


@dataclass(frozen=True)
class ExtractorName:
    """A name in its parts: `kind:network@location#sha256=DIGEST&option=value`."""

    kind: str
    network: str = ""
    """Of a library."""
    location: str = ""
    """Path or URL of a file; "" where there is none."""
    sha256: str | None = None
    """64 lowercase hex digits."""
    options: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> ExtractorName:
        """The parts of a name; UsageError for one that is none."""
        body, _, tail = text.partition("#")
        options = _options(text, tail)
        sha256 = options.pop("sha256", None)
        if sha256 is not None:
            sha256 = Address.parse(f"#sha256={sha256}").sha256
        kind, _, rest = body.partition(":")
        network, location = "", ""
        if kind in LIBRARIES:
            network, _, location = rest.partition("@")
        elif kind == ONNX:
            location = rest
        elif rest:
            network = rest
        if not kind or (kind in LIBRARIES and not network) or (kind == ONNX and not location):
            raise UsageError(f"{text!r} names no extractor")
        if (options and kind != ONNX) or (sha256 and not location):
            raise UsageError(f"{text!r}: this extractor takes no options after #")
        return ExtractorName(kind, network, location, sha256, options)

    @property
    def address(self) -> str:
        """Of the file, as `fetch` takes it."""
        return str(Address(self.location, self.sha256))

    def of(self, sha256: str | None) -> ExtractorName:
        """The same, held to a digest."""
        return replace(self, sha256=sha256)

    def __str__(self) -> str:
        return self._text(self.location)

    @property
    def identity(self) -> str:
        """The name without the place of the file."""
        return self._text("")

    def _text(self, location: str) -> str:
        body = self.kind
        if self.network or (location and self.kind == ONNX):
            body += f":{self.network or location}"
        if self.network and location:
            body += f"@{location}"
        digest = [("sha256", self.sha256)] if self.sha256 else []
        options = [*digest, *sorted(self.options.items())]
        tail = "&".join(f"{name}={value}" for name, value in options)
        return f"{body}#{tail}" if tail else body


def _options(text: str, tail: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in tail.split("&") if tail else ():
        name, has_value, value = part.partition("=")
        if not has_value or not name or name in options:
            raise UsageError(f"{text!r}: {part!r} is no option")
        options[name] = value
    return options
