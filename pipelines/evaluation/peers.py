"""Other picture codecs, called peers, and the qualities at which they are measured.

The qualities of a peer run from coarse to fine and cover about 0.03 to 3 bits per pixel of a photo,
or as much of this range as the codec reaches: all but JPEG 2000 end near 0.1 bits per pixel, where
little is left of a JPEG. Each peer runs in one thread, so that all codecs use one core per process.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features
from PIL import __version__ as pillow_version

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.extras import install_hint

WEBP_METHOD = 6
AVIF_SPEED = 6
AVIF_SLOW_SPEED = 3
AVIF_TUNES = ("psnr", "ssimulacra2")
"""Metrics that libaom can optimise for; its own choice for pictures is another, `iq`."""
JPEG_XL_EFFORT = 7


@dataclass(frozen=True)
class Peer:
    """A picture codec at fixed settings, but for its quality."""

    name: str
    """Name on the command line."""
    label: str
    """Codec and settings, for tables and plots."""
    version: str
    """Library and version; part of the cache key."""
    qualities: tuple[float, ...]
    """Qualities to measure, coarse to fine, in the unit of the codec's own option."""
    encode: Callable[[np.ndarray, float], bytes]
    """Maps uint8 [H, W, 3] sRGB and a quality to a file."""
    decode: Callable[[bytes], np.ndarray]
    """Maps a file to uint8 [H, W, 3]."""

    @property
    def key(self) -> str:
        """Cache key of this peer's results, besides photo and quality."""
        return f"{self.label}, {self.version}"


def _save(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def _open(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _encode_jpeg(pixels: np.ndarray, quality: float) -> bytes:
    return _save(pixels, format="JPEG", quality=int(quality), optimize=True, subsampling="4:2:0")


def _encode_webp(pixels: np.ndarray, quality: float) -> bytes:
    return _save(pixels, format="WEBP", quality=quality, method=WEBP_METHOD)


def _encode_avif(
    pixels: np.ndarray, quality: float, speed: int, subsampling: str, tune: str | None
) -> bytes:
    return _save(
        pixels,
        format="AVIF",
        quality=int(quality),
        speed=speed,
        max_threads=1,
        subsampling=subsampling,
        advanced={"tune": tune} if tune else None,
    )


def _decode_avif(data: bytes) -> np.ndarray:
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one thread a process, as every other peer
    return _open(data)


def _encode_jpeg_2000(pixels: np.ndarray, bits_per_pixel: float) -> bytes:
    return _save(
        pixels,
        format="JPEG2000",
        no_jp2=True,
        irreversible=True,
        mct=1,
        quality_mode="rates",
        quality_layers=[24 / bits_per_pixel],
    )


def _encode_jpeg_xl(pixels: np.ndarray, distance: float) -> bytes:
    import imagecodecs

    return bytes(
        imagecodecs.jpegxl_encode(
            pixels, distance=distance, effort=JPEG_XL_EFFORT, lossless=False, numthreads=1
        )
    )


def _decode_jpeg_xl(data: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


def short_labels(labels: Sequence[str]) -> list[str]:
    """Return labels without the settings in brackets; labels that would then be equal keep them.

    "AVIF (speed 6)" becomes "AVIF", unless "AVIF (speed 6, tune psnr)" is there as well.
    """
    short = [label.split(" (")[0] for label in labels]
    return [s if short.count(s) == 1 else label for s, label in zip(short, labels, strict=True)]


def _jpeg() -> Peer:
    return Peer(
        name="jpeg",
        label="JPEG (optimised, 4:2:0)",
        version=f"Pillow {pillow_version}, libjpeg-turbo {features.version('libjpeg_turbo')}",
        qualities=(1, 4, 6, 9, 13, 19, 27, 37, 50, 64, 75, 84, 90, 94),
        encode=_encode_jpeg,
        decode=_open,
    )


def _webp() -> Peer:
    return Peer(
        name="webp",
        label=f"WebP (method {WEBP_METHOD})",
        version=f"Pillow {pillow_version}, libwebp {features.version('webp')}",
        qualities=(0, 1, 5, 12, 22, 35, 50, 65, 77, 85, 91, 95, 98),
        encode=_encode_webp,
        decode=_open,
    )


def _avif(
    name: str, speed: int = AVIF_SPEED, subsampling: str = "4:2:0", tune: str | None = None
) -> Peer:
    chroma = f" {subsampling}" if subsampling != "4:2:0" else ""
    tuned = f", tune {tune}" if tune else ""
    return Peer(
        name=name,
        label=f"AVIF{chroma} (speed {speed}{tuned})",
        version=f"Pillow {pillow_version}, libavif {features.version('avif')}",
        qualities=(0, 6, 12, 20, 28, 36, 44, 52, 60, 68, 75, 82, 88, 94),
        encode=functools.partial(_encode_avif, speed=speed, subsampling=subsampling, tune=tune),
        decode=_decode_avif,
    )


def _jpeg_xl() -> Peer:
    import imagecodecs

    return Peer(
        name="jxl",
        label=f"JPEG XL (effort {JPEG_XL_EFFORT})",
        version=f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}",
        qualities=(25, 18, 13, 9.5, 7, 5, 3.5, 2.5, 1.7, 1.1, 0.7, 0.4),
        encode=_encode_jpeg_xl,
        decode=_decode_jpeg_xl,
    )


def _jpeg_2000() -> Peer:
    return Peer(
        name="jp2",
        label="JPEG 2000 (9/7, rate-controlled)",
        version=f"Pillow {pillow_version}, OpenJPEG {features.version('jpg_2000')}",
        qualities=(0.03, 0.06, 0.09, 0.14, 0.21, 0.3, 0.45, 0.65, 0.95, 1.4, 2.1, 3.0),
        encode=_encode_jpeg_2000,
        decode=_open,
    )


_AVIFS: dict[str, dict[str, Any]] = {
    "avif": {},
    "avif-444": {"subsampling": "4:4:4"},
    **{f"avif-{tune}": {"tune": tune} for tune in AVIF_TUNES},
    "avif-slow": {"speed": AVIF_SLOW_SPEED},
    **{f"avif-slow-{tune}": {"speed": AVIF_SLOW_SPEED, "tune": tune} for tune in AVIF_TUNES},
}

_MAKERS: dict[str, tuple[Callable[[], Peer], str]] = {
    "jpeg": (_jpeg, "libjpeg_turbo"),
    "webp": (_webp, "webp"),
    **{
        name: (functools.partial(_avif, name, **options), "avif")
        for name, options in _AVIFS.items()
    },
    "jxl": (_jpeg_xl, ""),
    "jp2": (_jpeg_2000, "jpg_2000"),
}

PEER_NAMES = tuple(_MAKERS)


def peer_named(name: str) -> Peer:
    """Return the peer of that name; raises UsageError if it is unknown or not installed."""
    if name not in _MAKERS:
        raise UsageError(f"no peer {name!r}; there are {', '.join(PEER_NAMES)}")
    make, feature = _MAKERS[name]
    if feature and not features.check(feature):
        raise UsageError(f"this build of Pillow cannot write {name}")
    try:
        return make()
    except ImportError as error:
        raise UsageError(f"{name} needs {install_hint('evaluate')} ({error})") from error


def peers_named(names: Sequence[str]) -> list[Peer]:
    """Return each peer once, in the given order."""
    return [peer_named(name) for name in dict.fromkeys(names)]
