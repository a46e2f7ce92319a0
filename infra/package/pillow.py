"""Pillow plugin: `Image.open` and `save` for the one-file form of a picture, `.underpaint`.

    import underpaint.pillow
    from PIL import Image

    with Image.open("photo.underpaint") as picture:  # or any beginning of the file
        picture.draft("RGB", (256, 256))  # decode a smaller picture; its longer work is never done
        picture.limit_layers(2)  # decode layers 1 and 2 only
        picture.load()
    Image.open("photo.jpg").save("photo.underpaint", layers=4, effort=2)

A picture is decoded when its pixels are first needed. A file that was cut opens from the layers
that are whole, and a file that was exported for a smaller size as the picture of that size.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from io import BytesIO
from os import PathLike, fspath
from types import NoneType
from typing import IO

import numpy as np
from PIL import Image, ImageFile, ImageOps

from underpaint.codec.bitstream import MAGIC, VERSION, unpack_stream
from underpaint.codec.errors import LayerDamaged, UnderpaintError
from underpaint.codec.image_io.icc import to_srgb
from underpaint.codec.stream_file import StreamFile, read_stream_file
from underpaint.codec.transform.sizes import DEFAULT_SIZES, SHRINKS

__all__ = ["UnderpaintImageFile", "add_weights"]

FORMAT = "UNDERPAINT"
EXTENSION = ".underpaint"
MIME_TYPE = "image/x-underpaint"

_WITHOUT_ALPHA = ("1", "L", "P", "RGB", "CMYK", "LAB")
"""Modes that `save` takes; they are converted to RGB in sRGB."""

_OPTIONS = ("layers", "effort", "weights", "sizes")

_NEAR = 0.8
"""Likeness from which a name is taken for one of these; options of other formats have 0.6."""


def add_weights(weights: str) -> str:
    """Load weights that are not a profile, so that pictures made with them open; return their id.

    `weights` is the path or fsspec URL of a weights file. Raises as `Codec.load`.
    """
    from underpaint.codec.codecs import SHARED

    return SHARED.named(weights).weights_id


class UnderpaintImageFile(ImageFile.ImageFile):
    """A picture in a `.underpaint` file, mode RGB.

    Its `info` holds `full_size` (width and height of the picture that was encoded), `layers` (the
    number of layers that will be decoded), `weights` (the id of the weights, 16 hex digits) and
    `cut` (whether the file ends within a part).
    """

    format = FORMAT
    format_description = "Underpaint layered picture"

    _decoded = True  # of an unpickled picture, which has pixels and no file

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        if _accept(data[:2]) is not True:
            raise SyntaxError("not an Underpaint picture")
        try:
            self._file: StreamFile = read_stream_file(data)
        except UnderpaintError as error:
            raise OSError(f"Underpaint picture: {error}") from error
        self._most_layers: int | None = None
        self._decoded = False
        self._mode = "RGB"
        picture = self._file.picture
        self.info["full_size"] = (picture.width, picture.height)
        self.info["weights"] = picture.weights_id
        self.info["cut"] = self._file.cut
        self._choose(self._file.shrink_level)

    def _choose(self, shrink_level: int) -> None:
        """Set the size to that of a shrink level."""
        height, width = self._file.sides(shrink_level)
        self._size = width, height
        self._level = shrink_level
        self.info["layers"] = len(self._file.prefix(shrink_level, self._most_layers))

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Choose the smallest picture that is at least as large as `size`, (width, height).

        Its sides are those of the full picture divided by 1, 2, 4, 8 or 16 and rounded up. Without
        effect once the pixels are loaded. Returns the mode and the box of the picture, or None if
        nothing changed. `mode` is ignored: pictures are RGB.
        """
        if self._decoded or size is None:
            return None
        level = self._level
        while level + 1 < len(SHRINKS):
            height, width = self._file.sides(level + 1)
            if width < size[0] or height < size[1]:
                break
            level += 1
        if level == self._level:
            return None
        self._choose(level)
        return self.mode, (0, 0, *self._size)

    def limit_layers(self, layers: int) -> None:
        """Decode at most layers 1 to `layers`; layer 1 is the coarsest.

        Raises ValueError if `layers` is no integer of 1 or more, or the pixels are loaded already.
        """
        if not _is_integer(layers) or layers < 1:
            raise ValueError(f"layers: {layers!r}; want an integer of 1 or more")
        if self._decoded:
            raise ValueError("the picture is loaded already: limit its layers before")
        self._most_layers = layers
        self._choose(self._level)

    def reduce(
        self, factor: int | tuple[int, int], box: tuple[int, int, int, int] | None = None
    ) -> Image.Image:
        """Return a picture with sides divided by `factor`, rounded up, as `Image.reduce` does.

        Before the pixels are loaded, factors of 2, 4, 8 and 16 without a box are decoded at that
        size, by the wavelet and not by averages of boxes.
        """
        if not self._decoded and box is None and factor in SHRINKS:
            assert isinstance(factor, int)
            level = self._level + SHRINKS.index(factor)
            if level < len(SHRINKS):
                return Image.fromarray(self._pixels(level))
        return super().reduce(factor, box)

    def load(self) -> Image.core.PixelAccess | None:
        """Decode the pixels if that has not been done; OSError if the file is damaged.

        With `ImageFile.LOAD_TRUNCATED_IMAGES`, a damaged layer and all finer ones are left out.
        """
        if not self._decoded:
            pixels = self._pixels(self._level)
            self._decoded = True
            if self.fp and self._exclusive_fp:
                self.fp.close()
            self.fp = BytesIO(pixels.tobytes())
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Do nothing: the decoded pixels are read from their beginning."""

    def verify(self) -> None:
        """Compare the checksums of all whole parts, without decoding; OSError if one differs."""
        try:
            for level in () if self._decoded else range(self._file.shrink_level, len(SHRINKS)):
                unpack_stream(self._file.prefix(level), level)
        except UnderpaintError as error:
            raise OSError(f"Underpaint picture: {error}") from error
        super().verify()

    def _pixels(self, shrink_level: int) -> np.ndarray:
        from underpaint.codec.codecs import SHARED

        layers = self._file.prefix(shrink_level, self._most_layers)
        try:
            codec = SHARED.reading(self._file.picture.weights_id)
            shrink = SHRINKS[shrink_level]
            try:
                return codec.decode([layers], shrink=shrink)[0]
            except LayerDamaged as error:
                if not (ImageFile.LOAD_TRUNCATED_IMAGES and error.layer):
                    raise
                self.info["layers"] = error.layer
                return codec.decode([layers[: error.layer]], shrink=shrink)[0]
        except UnderpaintError as error:
            raise OSError(f"Underpaint picture: {error}") from error


def _accept(prefix: bytes) -> bool | str:
    if prefix[:1] != bytes([MAGIC]):
        return False
    if len(prefix) > 1 and prefix[1] != VERSION:
        return f"Underpaint picture of version {prefix[1]}; this reader knows version {VERSION}"
    return len(prefix) > 1


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write an image as its layers joined.

    Options of `Image.save`: `layers` (the coarsest N layers; all), `effort` (1 to 3), `weights`
    (profile name, path or URL), `sizes` (short sides in pixels that the layers are cut for),
    `icc_profile` (in place of the image's own). Options of other formats, such as `quality`, have
    no effect, as with all plugins.
    Raises OSError for a mode that cannot be written, ValueError for an option of another type or
    out of range, and for a name that is nearly one of these options.
    """
    from underpaint.codec.codecs import SHARED

    options = getattr(image, "encoderinfo", {})
    if image.mode not in _WITHOUT_ALPHA or "transparency" in image.info:
        raise OSError(
            f"cannot write {'transparency' if image.mode in _WITHOUT_ALPHA else image.mode} as "
            f'{FORMAT}: pictures are opaque RGB with 8 bits; convert the image to "RGB" first'
        )
    for name in options.keys() - _OPTIONS:
        if near := difflib.get_close_matches(name, _OPTIONS, 1, _NEAR):
            hint = f"no option {name!r}; did you mean {near[0]!r}?"
            raise ValueError(f"cannot write {FORMAT}: {hint}")
    layers, effort = options.get("layers"), options.get("effort", 1)
    weights, sizes = options.get("weights"), options.get("sizes", DEFAULT_SIZES)
    weights = fspath(weights) if isinstance(weights, PathLike) else weights
    for name, value, fits, want in (
        ("layers", layers, layers is None or _is_integer(layers), "an integer"),
        ("effort", effort, _is_integer(effort), "an integer"),
        ("weights", weights, isinstance(weights, (str, NoneType)), "a profile, a path or a URL"),
        ("sizes", sizes, isinstance(sizes, (tuple, list)) and all(map(_is_integer, sizes)),
         "a list of integers"),
    ):  # fmt: skip
        if not fits:
            raise ValueError(f"cannot write {FORMAT}: {name}: {value!r}; want {want}")
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("1", "P"):
        upright = upright.convert("L" if upright.mode == "1" else "RGB")
    rgb, _ = to_srgb(upright, options.get("icc_profile", image.info.get("icc_profile")))
    try:
        [stream] = SHARED.named(weights).encode(
            [np.asarray(rgb)], layers=layers, effort=effort, sizes=sizes
        )
    except UnderpaintError as error:
        raise ValueError(f"cannot write {FORMAT}: {error}") from error
    file.write(b"".join(stream))


def _save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write an image of one frame; OSError for more, which `save_all` asks for."""
    more = getattr(image, "encoderinfo", {}).get("append_images")
    more = (
        [one for one in more if isinstance(one, Image.Image)] if isinstance(more, Iterable) else []
    )
    frames = sum(getattr(one, "n_frames", 1) for one in (image, *more))
    if frames > 1:
        raise OSError(f"cannot write {frames} frames as {FORMAT}: a file holds one picture")
    _save(image, file, filename)


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


Image.register_open(FORMAT, UnderpaintImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_save_all(FORMAT, _save_all)
Image.register_extension(FORMAT, EXTENSION)
Image.register_mime(FORMAT, MIME_TYPE)
