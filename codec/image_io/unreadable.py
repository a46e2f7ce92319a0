"""Names of picture formats that are recognised but not read, and of texts in their place."""

from __future__ import annotations

import re

from underpaint.codec.image_io.tiff import PHOTOMETRIC, Directory

_SIGNATURES = tuple(
    (re.compile(signature, re.DOTALL), name)
    for signature, name in (
        (rb"8BPS\0[\x01\x02]", "PSD (Adobe Photoshop)"),
        (rb"....ftypcrx ", "CR3 (Canon raw)"),
        (rb"II.{4}HEAPCCDR", "CRW (Canon raw)"),
        (rb"FUJIFILMCCD-RAW", "RAF (Fujifilm raw)"),
        (rb"II(RO|RS)", "ORF (Olympus raw)"),
        (rb"IIU\0", "RW2 (Panasonic raw)"),
        (rb"\0MRM", "MRW (Minolta raw)"),
        (rb"FOVb", "X3F (Sigma raw)"),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (rb"II\xbc", "JPEG XR"),
        (rb"\x76\x2f\x31\x01", "OpenEXR"),
        (rb"#\?(RADIANCE|RGBE)", "Radiance HDR"),
        (rb"gimp xcf", "XCF (GIMP)"),
        (rb"BPG\xfb", "BPG"),
        (rb"icns", "ICNS (icon)"),
        (rb"\0\0[\x01\x02]\0[\x01-\x40]\0", "ICO (icon)"),
        (rb"\x8bJNG", "JNG"),
        (rb"\x8aMNG", "MNG"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "EPS (PostScript)"),
        (rb"SIMPLE  =", "FITS"),
        (rb".{128}DICM", "DICOM"),
        (rb"(\xef\xbb\xbf)?\s*(<\?xml.{0,200}?\?>\s*)?(<!.{0,400}?>\s*)*<svg[\s>]", "SVG"),
    )
)
_TEXTS = (
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*(<!doctype html|<html)[\s>]", re.IGNORECASE),
        "an HTML page: the folders of a web server cannot be listed, so name the pictures, or list "
        "their addresses in a table",
    ),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*[\"}]"),
        "JSON: a table of addresses is a .jsonl file, with one object in each line",
    ),
)
_MAKE, _SUB_DIRECTORIES, _SUBFILE_TYPE, _DNG_VERSION = 271, 330, 254, 50706
_SENSOR_PHOTOMETRICS = {32803: "of a colour filter array", 34892: "of linear sensor data"}


def unreadable_format(data: bytes) -> str | None:
    """Return the name of a format that is known but not read; None for others."""
    for signature, name in _SIGNATURES:
        if signature.match(data):
            return name
    return None


def text_format(data: bytes) -> str | None:
    """Return what a text is that is often taken for a picture, and a remedy; None for others."""
    for beginning, name in _TEXTS:
        if beginning.match(data):
            return name
    return None


def raw_photo(page: Directory) -> str | None:
    """Return the kind of raw photo that a TIFF file is; None for a picture in TIFF.

    Raw photos of many cameras (NEF, ARW, DNG, …) are TIFF files whose first page is a thumbnail.
    """
    if _DNG_VERSION in page.fields:
        return "DNG (raw)"
    sensor = _SENSOR_PHOTOMETRICS.get(page.number(PHOTOMETRIC, 0))
    if sensor:
        return f"TIFF {sensor} (raw)"
    if page.number(_SUBFILE_TYPE, 0) & 1 and _SUB_DIRECTORIES in page.fields:
        make = page.content(_MAKE)[:40].split(b"\0")[0].decode("latin-1").strip()
        return f"raw photo of {make}" if make.isprintable() and make else "raw photo"
    return None
