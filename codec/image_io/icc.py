"""Conversion of embedded colour profiles (ICC.1) to sRGB; each profile's transform is built
once.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from underpaint.codec.limits import MAX_PROFILE_BYTES

_MODE_OF_SPACE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_NEAR = 2
"""A profile that changes no colour by more than this many 8-bit levels is treated as sRGB."""


def to_srgb(
    image: Image.Image, profile: bytes | None, label: str = "profile"
) -> tuple[Image.Image, str | None]:
    """Convert a picture of mode L, RGB, CMYK or LAB to RGB in sRGB; return it with a note.

    `label` names the colour space in the note. A profile that is broken, over its limit or for
    another colour space is ignored, with a note.
    """
    note = None
    if profile is not None:
        try:
            mode = _mode_of(profile)
            if mode == "RGB" and image.mode == "L":
                image = image.convert("RGB")
            if mode != image.mode:
                note = f"{mode} profile of a picture in {image.mode} ignored"
            elif transform := _transform_of(profile, mode):
                return transform.apply(image), f"{label} converted to sRGB"
            elif mode in ("RGB", "L"):
                return image.convert("RGB"), None
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            note = "broken profile ignored"
    if image.mode == "CMYK":
        note = ", ".join(filter(None, (note, "CMYK converted without a profile")))
    if image.mode == "LAB":
        lab = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        return lab.apply(image), ", ".join(filter(None, (note, "Lab converted to sRGB")))
    return image.convert("RGB"), note


def _open(profile: bytes) -> ImageCms.ImageCmsProfile:
    if not 128 < len(profile) <= MAX_PROFILE_BYTES:
        raise ValueError(f"profile of {len(profile)} bytes")
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


@lru_cache(maxsize=16)
def _mode_of(profile: bytes) -> str:
    space = _open(profile).profile.xcolor_space.strip()
    return _MODE_OF_SPACE.get(space, space)


@lru_cache(maxsize=16)
def _transform_of(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform to sRGB; None if it would change nothing."""
    transform = ImageCms.buildTransform(
        _open(profile),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode not in ("L", "RGB"):
        return transform
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    if mode == "L":
        samples = np.arange(256, dtype=np.uint8)[None]
    else:
        samples = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    before = Image.fromarray(samples)
    moved = np.asarray(transform.apply(before), np.int16) - np.asarray(before.convert("RGB"))
    return None if np.abs(moved).max() <= _NEAR else transform
