"""Names of extractors.

    underpaint
    torchvision:resnet50                        timm:vit_small_patch14_dinov2.lvd142m
    torchvision:resnet50@gs://b/r50.safetensors#sha256=DIGEST
    onnx:https://host/net.onnx#sha256=DIGEST&output=pool10&order=bgr&mean=123,117,104&std=1,1,1

Options of `onnx:`, after `#` and separated by `&`:

| option | meaning | default |
|---|---|---|
| `sha256` | SHA-256 of the file, 64 hex digits | that of the file that is opened |
| `output` | name of any tensor of the network | its first output |
| `size` | side of its square input | that of the network, else 224 |
| `mean`, `std` | mean and deviation of red, green, blue in 0..255 | those of ImageNet |
| `order` | `rgb` or `bgr` | `rgb` |
| `layout` | `nchw` or `nhwc` | from the axis of its input with three channels |
| `output_layout` | layout of an output with positions, which is averaged over them | `nchw` |
| `crop` | share of the shorter side that is kept, at the centre; 0: all, resized | 0.875 |
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
    """The parts of a name `kind:network@location#sha256=DIGEST&option=value`."""

    kind: str
    network: str = ""
    """Name of a network in a library."""
    location: str = ""
    """Path or URL of a file, or ""."""
    sha256: str | None = None
    """64 lowercase hex digits."""
    options: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> ExtractorName:
        """Parse a name; raises UsageError if it is not one."""
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
        """Address of the file, as `fetch` takes it."""
        return str(Address(self.location, self.sha256))

    def of(self, sha256: str | None) -> ExtractorName:
        """Return the name with a digest."""
        return replace(self, sha256=sha256)

    def __str__(self) -> str:
        return self._text(self.location)

    @property
    def identity(self) -> str:
        """The name without the location of the file."""
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
