"""The codec: pictures to layers, and any prefix of the layers to a picture or to latents.

    picture -> analysis -> symbols -> entropy coder -> layers                    (encoder)
    layers  -> entropy decoder -> state -> backend -> picture or latents         (decoder, backend)

Source: the method of Guo et al. 2023 (arXiv 2410.06149), on wavelet latents.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from underpaint.codec.arguments import as_integer, as_location, check_flags
from underpaint.codec.bitstream import check_sides
from underpaint.codec.decoder import Decoder
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.errors import UsageError
from underpaint.codec.reconstruct.backend import Latents, Picture, choose_backend
from underpaint.codec.reconstruct.interleave import interleaved
from underpaint.codec.runtime.imports import without_collection
from underpaint.codec.runtime.threads import in_threads
from underpaint.codec.transform.sizes import DEFAULT_SIZES, Size, check_sizes
from underpaint.codec.transform.subbands import DYADIC_LEVELS
from underpaint.codec.weights.header import check_made_with
from underpaint.codec.weights.loading import load_weights, matching
from underpaint.codec.weights.model import Weights

if TYPE_CHECKING:
    import torch

    from underpaint.codec.encoder import Encoder

COARSE_LEVELS = 2
"""Default number of wavelet levels in latents: 48 channels with the low band."""


def parsed_device(device: str | torch.device) -> torch.device:
    """Return a torch device, which this machine may lack; UsageError for other values."""
    import torch

    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise UsageError(f"device {device!r}: not a torch device; try cpu or cuda") from None


def available_device(device: str | torch.device) -> torch.device:
    """Return a torch device; UsageError if there is no such device on this machine."""
    import torch

    found = parsed_device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {str(device)!r}: PyTorch finds no CUDA GPU here; use cpu")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {str(device)!r}: there are {torch.cuda.device_count()} GPUs")
    return found


class Codec:
    """Encodes and decodes pictures with one set of weights on one torch device.

    On a CPU, torch is imported at the first call that needs it: decoding without the network and
    textures, latents and checks do without.
    """

    @without_collection()
    def __init__(
        self,
        weights: Weights,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        """Take weights; the network computes in `dtype`, by default one that is fast here."""
        if not isinstance(weights, Weights):
            raise UsageError(f"load a codec with Codec.load({weights!r})")
        self._weights = weights
        self._device = None if device == "cpu" else available_device(device)
        self._decoder = Decoder(weights)
        self._backend = choose_backend(weights, self._device, dtype)

    @cached_property
    def _encoder(self) -> Encoder:
        from underpaint.codec.encoder import Encoder

        return Encoder(self._weights, self._device or available_device("cpu"))

    @classmethod
    def load(
        cls, weights: str | os.PathLike[str] | None = None, *, device: str | torch.device = "cpu"
    ) -> Codec:
        """Load weights from a path or fsspec URL, or by the name of a profile in the package.

        None is the default profile. Raises UsageError if there are no such weights and
        WeightsDamaged if they cannot be read.
        """
        return cls(load_weights(as_location("weights", weights)), device)

    @classmethod
    def load_for(
        cls,
        made_with: str,
        weights: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "cpu",
    ) -> Codec:
        """Load the codec that reads an archive: `weights`, or the profile that made it.

        `made_with` is the id of the archive's weights, "" if it is empty. Raises as `load` does,
        and WeightsMismatch if the weights are others.
        """
        location = as_location("weights", weights)
        codec = cls.load(matching(location, made_with), device=device)
        check_made_with(made_with, codec.weights_id)
        return codec

    @property
    def weights_id(self) -> str:
        """Id of the weights, 16 hex digits, which every stream carries."""
        return self._weights.id

    @property
    def layers(self) -> int:
        """Number of layers of a full stream."""
        return len(self._weights.config.layers)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Name of each layer, coarsest first."""
        return tuple(plan.name for plan in self._weights.config.layers)

    def encode(
        self,
        images: Sequence[np.ndarray],
        *,
        layers: int | None = None,
        effort: int = 1,
        sizes: Sequence[int] = DEFAULT_SIZES,
    ) -> list[tuple[bytes, ...]]:
        """Encode uint8 [H, W, 3] sRGB images of any mix of shapes to their coarsest `layers`.

        Layers are cut into parts for `sizes`, short sides in pixels, so that a reader may take the
        parts of a smaller picture only. A higher `effort`, 1 to 3, takes more time and fewer bytes:
        see `quantize.rate_distortion` and `search`. The bytes of an image do not depend on others.
        Raises PictureTooLarge for sides over the limits, and UsageError for anything that is not
        such an array.
        """
        layers = self.layers if layers is None else as_integer("layers", layers)
        if not 1 <= layers <= self.layers:
            raise UsageError(f"layers: {layers} of {self.layers}")
        self._check_images(images, effort)
        check_sizes(sizes)
        return self._encoder.encode(images, layers, effort, sizes)

    def quantised(
        self, images: Sequence[np.ndarray], *, effort: int = 1, finest: bool = True
    ) -> list[Symbols]:
        """Return the symbols that `encode` writes for uint8 images of one padded size.

        `finest` tells that the finest state will be coded: from effort 2 on, it is optimised.
        """
        self._check_images(images, effort)
        return self._encoder.symbols(images, effort, finest)

    def decode(
        self,
        streams: Sequence[Sequence[bytes]],
        *,
        size: int | None = None,
        shrink: int | None = None,
        texture: int | None = None,
        refine: bool = True,
    ) -> list[np.ndarray]:
        """Decode any non-empty prefix of the layers of each image to uint8 [H, W, 3].

        With `size`, the result is the smallest picture whose short side has at least so many
        pixels, of 1, 1/2, 1/4, 1/8 and 1/16 of the sides; the full one if there is none. With
        `shrink`, the sides are divided by 1, 2, 4, 8 or 16, rounded up. Only the parts that this
        picture needs are decoded, and others may be missing from the layers.

        With `texture`, a seed, the fine texture that a coarse state leaves open is drawn from the
        distributions of its classes: for looks only (see `reconstruct.texture`). The full state
        needs none. Without `refine` the backward network is skipped: 0.1 to 0.3 dB less on photos,
        and on a CPU 1.6 (`fidelity`) to 2.5 times as fast in the full state, 1.7 to 8 times in a
        coarse one.
        Raises LayerDamaged, WeightsMismatch or UnknownVersion.
        """
        pictures = self._pictures(streams, Size.of(size, shrink), texture, refine)
        return in_threads(interleaved, pictures)

    def decode_tensors(
        self,
        streams: Sequence[Sequence[bytes]],
        *,
        size: int | None = None,
        shrink: int | None = None,
        texture: int | None = None,
        refine: bool = True,
    ) -> list[torch.Tensor]:
        """Decode as `decode` does, to uint8 [3, H, W] on the device of the codec."""
        import torch

        return [
            torch.as_tensor(picture)
            for picture in self._pictures(streams, Size.of(size, shrink), texture, refine)
        ]

    def latents(
        self,
        streams: Sequence[Sequence[bytes]],
        *,
        levels: int = COARSE_LEVELS,
        size: int | None = None,
        normalize: bool = False,
    ) -> list[Latents]:
        """Return the state of each image as tensors; raises as `decode` does.

        `levels` is the number of wavelet levels beside the low band, from 4 (the coarsest, of
        16 pixels) to finer ones: 0 to 4 give 3, 12, 48, 192 and 768 channels. The finer half of
        them is nearly empty in coarse states, and takes most of the time. With `size`, as in
        `decode`, levels that the picture of this size does without are zero; what they need may be
        missing from the layers. With `normalize`, the mean of coefficients over photos is
        subtracted, and they are divided by their standard deviation, by statistics in the weights
        for each band and number of layers (see `reconstruct.latent_statistics`).
        """
        check_flags(normalize=normalize)
        if not 0 <= as_integer("levels", levels) <= DYADIC_LEVELS:
            raise UsageError(f"levels: {levels} of {DYADIC_LEVELS}")
        at_least = DYADIC_LEVELS - levels
        wanted = Size.of(size, None).no_finer_than(at_least)
        states = self._decoder.states(_checked_streams(streams), wanted)
        return self._backend.latents(states, levels=levels, normalize=normalize)

    def check(self, stream: Sequence[bytes], *, size: int | None = None) -> None:
        """Decode every layer of one image to symbols, without synthesis; raises as `decode`.

        With `size`, as in `decode`, only what a picture of this size needs is looked at.
        """
        self._decoder.state(_checked_stream(stream), Size.of(size, None))

    def symbols(self, stream: Sequence[bytes]) -> list[np.ndarray]:
        """Return the decoded integers of one image: colour rotation, class maps, then cells.

        The rotation is int16 [3], the class map of each palette state int16 [h, w]. The cells are
        one flat int16 array in coding order, with the margins of `transform.subbands`. They are
        equal on every machine, device and library version.
        """
        state = self._decoder.state(_checked_stream(stream))
        rotation = np.array(state.rotation, np.int16)
        return [rotation, *(palette.class_map for palette in state.palettes), state.cell]

    def _pictures(
        self, streams: Sequence[Sequence[bytes]], size: Size, texture: int | None, refine: bool
    ) -> Sequence[Picture]:
        check_flags(refine=refine)
        if texture is not None:
            as_integer("texture", texture)
        states = self._decoder.states(_checked_streams(streams), size)
        return self._backend.pictures(states, refine=refine, texture=texture)

    def _check_images(self, images: Sequence[np.ndarray], effort: int) -> None:
        """Raise UsageError or PictureTooLarge unless the images can be encoded."""
        from underpaint.codec.quantize.rate_distortion import EFFORTS

        if as_integer("effort", effort) not in EFFORTS:
            raise UsageError(f"effort: {effort} of {EFFORTS[-1]}")
        if not isinstance(images, Iterable):
            raise UsageError(f"want a list of images, not {type(images).__name__}")
        for image in images:
            if not isinstance(image, np.ndarray):
                raise UsageError(
                    f"want uint8 [H, W, 3] arrays, not {type(image).__name__}: for a Pillow image "
                    'pass np.asarray(image.convert("RGB"))'
                )
            if isinstance(images, np.ndarray) and image.ndim == 2:
                raise UsageError("want a list of images: pass [image] for a single one")
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UsageError(f"want uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
            check_sides(*image.shape[:2])


def _checked_streams(streams: Sequence[Sequence[bytes]]) -> Sequence[Sequence[bytes]]:
    """Return the streams; UsageError if they are the layers of one image, or rows."""
    if not isinstance(streams, Iterable):
        raise UsageError(f"want a list of images, not {type(streams).__name__}")
    for stream in streams:
        if isinstance(stream, bytes):
            raise UsageError("want a list of images: pass [row.layers] for a single one")
        _checked_stream(stream)
    return streams


def _checked_stream(stream: Sequence[bytes]) -> Sequence[bytes]:
    """Return the layers of one image; UsageError for anything but a sequence of bytes."""
    if not isinstance(stream, Sequence) or isinstance(stream, str | bytes | bytearray):
        raise UsageError(f"want the layers of each image, not {type(stream).__name__}")
    for number, layer in enumerate(stream, 1):
        try:
            memoryview(layer)
        except TypeError:
            raise UsageError(f"layer {number}: want bytes, not {type(layer).__name__}") from None
    return stream
