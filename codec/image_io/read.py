"""Decoding of source pictures to pixels, and encoding of pixels as picture files.

`read_picture` decodes one picture file to uint8 sRGB pixels, whatever its colour space, depth or
orientation, or raises one of three errors with a message of one line. `docs/pictures.md` lists the
outcome for each kind of picture; each row of its table has a test.

Pillow's decoder classes are used directly, never `Image.open`. Its pixel limits are global
variables of the host program, and its warnings cannot be suppressed without affecting other
threads. Here the limits are checked on the header (`codec.image_io.headers`), nothing global
changes, and calls from several threads are independent.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    DdsImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    SunImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from underpaint.codec.errors import PictureDamaged, PictureError, PictureTooLarge, UsageError
from underpaint.codec.image_io.colour_spaces import SRGB, profile_of
from underpaint.codec.image_io.exif import exif_colour_space
from underpaint.codec.image_io.headers import Header, check_size, scan
from underpaint.codec.image_io.icc import to_srgb
from underpaint.codec.image_io.metadata import capture_metadata
from underpaint.codec.image_io.tiff import exif_orientation
from underpaint.codec.limits import MAX_EXIF_BYTES

WRITE_SUFFIX = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""Formats that `write_picture` supports, with their file suffixes."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    pixels: uint8 [H, W, 3], sRGB, upright, opaque, contiguous and writable.
    format: the source format as Pillow names it ("JPEG", "PNG", …).
    notes: conversions and losses, one short text each; empty for an ordinary photo.
    metadata: when and with which camera the picture was taken, see `capture_metadata`.
    exif: the EXIF block as it is, with the GPS position; empty if there is none, or it is longer
        than MAX_EXIF_BYTES.
    """

    pixels: np.ndarray
    format: str
    notes: tuple[str, ...]
    metadata: Mapping[str, str | int | bool] = field(default_factory=dict)
    exif: bytes = b""


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """Does not read a resolution from EXIF, which warns if the block is damaged."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


class _Tiff(TiffImagePlugin.TiffImageFile):
    """Does not check the global pixel limit: the header has been checked already."""

    def load_prepare(self) -> None:
        ImageFile.ImageFile.load_prepare(self)


def _heic(file: io.BytesIO) -> ImageFile.ImageFile:
    from pillow_heif import HeifImageFile

    image: ImageFile.ImageFile = HeifImageFile(file)  # type: ignore[no-untyped-call]
    return image


_DECODERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "DDS": DdsImagePlugin.DdsImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "HEIC": _heic,
    "JPEG": _Jpeg,
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PCX": PcxImagePlugin.PcxImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "QOI": QoiImagePlugin.QoiImageFile,
    "SGI": SgiImagePlugin.SgiImageFile,
    "SUN": SunImagePlugin.SunImageFile,
    "TGA": TgaImagePlugin.TgaImageFile,
    "TIFF": _Tiff,
    "WEBP": WebPImagePlugin.WebPImageFile,
}

PICTURE_FORMATS = tuple(_DECODERS)
"""Formats that are read; a file is recognised by its content, not by its name."""

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".jpx"}
    | {".jpf", ".j2c", ".png", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tif", ".tiff"}
    | {".webp", ".heic", ".heif", ".hif", ".tga", ".vda", ".icb", ".vst", ".pcx", ".sgi", ".rgb"}
    | {".rgba", ".bw", ".ras", ".qoi", ".dds"}
)
"""Lower-case file suffixes of pictures."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(data: bytes) -> Picture:
    """Decode one picture file.

    Raises UnsupportedFormat (none of PICTURE_FORMATS), PictureTooLarge (over a limit of
    `codec.limits`, found before decoding) or PictureDamaged (truncated, corrupt, or of a kind that
    its decoder does not support); each message is one line.
    """
    try:
        header = scan(data)
    except MemoryError as error:
        raise PictureTooLarge("the header needs more memory than there is") from error
    try:
        if header.unclosed:
            header = _closed(header)
        with _DECODERS[header.format](io.BytesIO(header.data)) as image:
            check_size(header.format, *image.size)
            image.load()
            check_size(header.format, *image.size)
            return _finish(image, header, data)
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureTooLarge(f"{header.format} needs more memory than there is") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PictureDamaged(f"{header.format} cannot be decoded: {reason}") from error


def _closed(header: Header) -> Header:
    """Add the end marker to a JPEG that lacks nothing else; return any other header unchanged.

    Where pixels are missing, they depend on the bytes that stand in for them.
    """
    pictures = []
    for padding in (b"", b"\x5a" * 64):
        with _Jpeg(io.BytesIO(header.data + padding + b"\xff\xd9")) as image:
            image.load()
            pictures.append(image.tobytes())
    if pictures[0] != pictures[1]:
        return header
    notes = (*header.notes, "end marker of the JPEG was missing")
    return replace(header, data=header.data + b"\xff\xd9", notes=notes)


def write_picture(pixels: np.ndarray, format: str, *, quality: int = 95) -> bytes:
    """Encode uint8 [H, W, 3] sRGB pixels as "png", "jpeg" or "webp"; `quality` is for the last two.

    Raises UsageError for another format, another array or a size that the format cannot hold.
    """
    if format not in WRITE_SUFFIX:
        raise UsageError(f"no picture format {format!r}: choose from {', '.join(WRITE_SUFFIX)}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UsageError(f"not uint8 [H, W, 3]: {pixels.dtype} {list(pixels.shape)}")
    options = {
        "png": {"compress_level": 3},
        "jpeg": {"quality": quality, "subsampling": 0},
        "webp": {"quality": quality},
    }[format]
    out = io.BytesIO()
    try:
        Image.fromarray(pixels).save(out, format, **options)
    except (OSError, ValueError) as error:
        height, width, _ = pixels.shape
        raise UsageError(f"{width} x {height} pixels do not fit into {format}") from error
    return out.getvalue()


def _finish(image: ImageFile.ImageFile, header: Header, data: bytes) -> Picture:
    """Convert colour, alpha and orientation of a loaded image."""
    notes = list(header.notes)
    if header.format in ("WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1:
        notes.append("first frame of an animation")
    colour, alpha = _split(image, header, notes)
    if header.narrow:
        levels = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(int).tolist()
        colour = colour.point(levels * len(colour.getbands()))
        notes.append("narrow range expanded")
    profile = header.profile if header.profile is not None else image.info.get("icc_profile")
    space = header.space
    exif = header.exif
    if header.format in ("JPEG", "WEBP"):
        exif = image.info.get("exif") or b""
    if profile is None and space is None and exif and header.format != "PNG":
        space, note = exif_colour_space(exif)
        notes += [note] if note else []
    label = "profile"
    if profile is None and space and space != SRGB and colour.mode in ("L", "RGB"):
        profile, label = profile_of(space), space.name
    rgb, outcome = to_srgb(colour, profile, label)
    notes += [outcome] if outcome else []
    if alpha is not None and not header.opaque and alpha.getextrema() != (255, 255):
        canvas = Image.new("RGB", rgb.size, "white")
        canvas.paste(rgb, mask=alpha)
        rgb = canvas
        notes.append("alpha composited on white")
    orientation = header.orientation
    if image.info.get("exif"):
        orientation = exif_orientation(image.info["exif"])
    if header.format == "HEIC":
        orientation = 1  # libheif has applied it
    if orientation != 1:
        rgb = rgb.transpose(_UPRIGHT[orientation])
        notes.append(f"orientation {orientation} applied")
    metadata = capture_metadata(data if header.format == "TIFF" else exif)
    if header.format in ("AVIF", "HEIC"):  # their EXIF orientation has no meaning
        metadata["orientation"] = header.orientation
    return Picture(
        _pixels_of(rgb),
        header.format,
        tuple(notes),
        metadata,
        exif if len(exif) <= MAX_EXIF_BYTES else b"",
    )


def _bands(width: int, height: int) -> Iterator[slice]:
    """Yield bands of rows, a few megapixels each, so that temporaries stay small."""
    rows = max(1, (1 << 22) // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _pixels_of(rgb: Image.Image) -> np.ndarray:
    width, height = rgb.size
    if width * height <= 1 << 22:
        return np.array(rgb)
    pixels = np.empty((height, width, 3), np.uint8)
    for rows in _bands(width, height):
        pixels[rows] = np.asarray(rgb.crop((0, rows.start, width, rows.stop)))
    return pixels


def _split(
    image: Image.Image, header: Header, notes: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours in mode L, RGB, CMYK or LAB, and the alpha channel in mode L, if any."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _reduce_grey(image, header, notes)
    if header.depth > 8:
        notes.append(f"{header.depth}-bit reduced to 8")
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        if header.format == "PNG" and image.mode != "P":
            _scale_key(image, header, notes)
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    elif image.mode == "P":
        palette = image.palette.mode if image.palette else "RGB"
        image = image.convert({"RGBA": "RGBA", "CMYK": "CMYK"}.get(palette, "RGB"))
    elif image.mode == "PA":
        image = image.convert("RGBA")
    if image.mode in ("LA", "RGBA"):
        return image.convert(image.mode[:-1]), image.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _scale_key(image: Image.Image, header: Header, notes: list[str]) -> None:
    """Scale a PNG's transparent colour from its own depth to the 8 bits of the decoded image."""
    key = image.info["transparency"]
    if header.depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)
        notes.append("transparent colour matched at 8 bits")
    elif image.mode == "L":
        image.info["transparency"] = key * 255 // ((1 << header.depth) - 1) & 255


def _reduce_grey(
    image: Image.Image, header: Header, notes: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """Scale grey of more than 8 bits to 8 bits without clipping.

    Up to 16 bits, the format defines white. Samples of 32 bits have no defined white: integers that
    fit into 8 or 16 bits, and fractions from 0 to 1, are scaled accordingly; all others are
    stretched from their minimum to their maximum.
    """
    values = np.asarray(image)
    alpha = None
    if image.mode.startswith("I;16") or (image.mode == "I" and header.format == "PPM"):
        low, high = 0.0, 65535.0 if header.format != "TIFF" else float((1 << header.depth) - 1)
        if "transparency" in image.info:
            opaque = values != image.info["transparency"]
            alpha = Image.fromarray(opaque.view(np.uint8) * np.uint8(255))
        notes.append(f"{header.depth}-bit reduced to 8")
    else:
        if image.mode == "I" and header.depth == 32 and header.unsigned:
            values = values.view(np.uint32)
        if not np.isfinite(values).all():
            raise PictureDamaged(f"{header.format} has samples that are not finite")
        low, high = float(values.min()), float(values.max())
        for white in (1.0,) if image.mode == "F" else (255.0, 65535.0):
            if low >= 0 and high <= white:
                low, high = 0.0, white
                break
        notes.append(f"{header.depth}-bit samples from {low:g} to {high:g} scaled to 8 bits")
    scale = 255 / (high - low) if high > low else 0.0
    grey = np.empty(values.shape, np.uint8)
    for rows in _bands(*image.size):
        grey[rows] = np.rint((values[rows].astype(np.float64) - low) * scale).clip(0, 255)
    if header.white_is_zero:
        grey = 255 - grey
    return Image.fromarray(grey), alpha
