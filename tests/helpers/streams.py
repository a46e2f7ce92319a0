"""Streams of any payloads, framed as the codec frames them, one part a layer."""

from __future__ import annotations

from collections.abc import Sequence

from underpaint.codec.bitstream import PictureHeader, pack_part


def framed(payloads: Sequence[bytes], picture: PictureHeader) -> list[bytes]:
    """Return the layers with these payloads, whole words of 4 bytes each."""
    layers: list[bytes] = []
    check = 0
    header: PictureHeader | None = picture
    for layer, payload in enumerate(payloads):
        part, check = pack_part(layer, 0, True, payload, (check, 0), header)
        layers.append(part)
        header = None
    return layers
