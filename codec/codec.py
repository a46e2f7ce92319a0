"""The codec: pictures to layers, any prefix of layers to pictures or to latents.

    picture -> bands -> class map -> palette chain ------------------> layers 0, 1
                 |         | masks                                        | contexts
                 +------ finest indices -> scalar chain -------------> layers 0 ... n
    layers 0 ... k -> palette state, cells -> expected places -> backward network -> picture

Source: the method of Guo et al. 2023 (arXiv 2410.06149), on wavelet latents.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from underpaint.codec.bitstream import PictureHeader, check_sides, pack_layer, unpack_stream
from underpaint.codec.encoder import Analysis, position_masks
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.state import CodedState, Symbols, Workspace
from underpaint.codec.errors import LayerDamaged, UsageError, WeightsMismatch
from underpaint.codec.quantize.quantizer import (
    StateTables,
    bands_picture,
    expected_places,
    step_bands,
    unflatten,
)
from underpaint.codec.quantize.rate_distortion import EFFORTS, JUDGED_LAYERS, merit
from underpaint.codec.reconstruct.cpu_latents import embed, fold
from underpaint.codec.reconstruct.cpu_network import Refiner
from underpaint.codec.reconstruct.cpu_pixels import Painter
from underpaint.codec.reconstruct.texture import add_texture
from underpaint.codec.runtime.threads import BATCH_PIXELS, batches, in_threads
from underpaint.codec.transform.colour_rotation import turned
from underpaint.codec.transform.subbands import Geometry, geometry
from underpaint.codec.transform.wavelet import DYADIC_LEVELS, ORIENTATIONS, synthesise
from underpaint.codec.weights.loading import load_weights, matching
from underpaint.codec.weights.model import Weights

WORKSPACE_KEPT = 1 << 25
"""Most coefficients and magnitudes that a thread keeps in a workspace after use (64 MiB)."""

COARSE_LEVELS = 2
"""Wavelet levels that latents hold unless told otherwise: 48 channels with the low band."""


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device computes in it natively, else float32.

    The network only ever predicts means, so its precision moves pixels by less than rounding and
    symbols not at all.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


@dataclass(frozen=True)
class Latents:
    """A state of an image as tensors, without synthesis, at 1/16 of its sides.

    class_map     int64 [h, w]
    embedding     float32 [E, h, w], of length 1: what each position's class is about
    coefficients  float32 [C, h, w], expected wavelet coefficients, folded to one position, low
                  band and coarse levels first; zero where the state knows nothing; in opponent
                  colours, however those of the picture have turned
    """

    class_map: np.ndarray
    embedding: np.ndarray
    coefficients: np.ndarray


class Codec:
    """Encode and decode pictures with one set of weights on one torch device."""

    def __init__(
        self,
        weights: Weights,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        """Take weights; `dtype` is what the network computes in, by default what is fast here."""
        self._weights = weights
        self._device = torch.device(device)
        network = copy.deepcopy(weights.network)
        self._network = network.to(self._device, dtype or fast_dtype(self._device)).eval()
        self._entropy = EntropyCoder(weights)
        self._analysis = Analysis(weights, self._device)
        self._workspaces: list[Workspace] = []
        self._state_tables: dict[int, StateTables] = {}
        self._refiners: dict[int, Refiner] = {}
        self._ends = np.cumsum([plan.cell_steps for plan in weights.config.layers])

    @classmethod
    def load(cls, weights: str | None = None, *, device: str | torch.device = "cpu") -> Codec:
        """Load weights from a path or fsspec URL (None: those in the package).

        Raises UsageError if there are none and WeightsDamaged if they cannot be read.
        """
        return cls(load_weights(weights), device)

    @classmethod
    def load_for(
        cls, made_with: str, weights: str | None = None, *, device: str | torch.device = "cpu"
    ) -> Codec:
        """Load the codec that reads an archive: `weights`, or the profile that made it.

        `made_with` is the id of the archive's weights ("" of an empty one). Raises as `load` does,
        and WeightsMismatch if the weights are others.
        """
        codec = cls.load(matching(weights, made_with), device=device)
        if made_with not in ("", codec.weights_id):
            raise WeightsMismatch(
                f"the archive was made with weights {made_with}, not {codec.weights_id}"
            )
        return codec

    @property
    def weights_id(self) -> str:
        """Name of the weights, 16 hex digits, which every stream carries."""
        return self._weights.id

    @property
    def layers(self) -> int:
        """Number of layers of a full stream."""
        return len(self._weights.config.layers)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """What each layer adds, coarsest first."""
        return tuple(plan.name for plan in self._weights.config.layers)

    def encode(
        self, images: Sequence[np.ndarray], *, layers: int | None = None, effort: int = 1
    ) -> list[tuple[bytes, ...]]:
        """Encode uint8 [H, W, 3] sRGB images of any mix of sizes into their coarsest `layers`.

        `effort` 1 to 3 says how long to look for fewer bytes (see
        `codec.quantize.rate_distortion`). The bytes of
        an image do not depend on what else is in the batch. Raises PictureTooLarge for sides
        beyond the limits and UsageError for anything that is not such an array.
        """
        count = self._checked_layers(layers)
        if effort not in EFFORTS:
            raise UsageError(f"effort: {effort} of {EFFORTS[-1]}")
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UsageError(f"want uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
            check_sides(*image.shape[:2])
        streams: dict[int, tuple[bytes, ...]] = {}
        for batch in batches([image.shape[:2] for image in images]):
            symbols = self.quantised(
                [images[i] for i in batch], effort=effort, finest=count == self.layers
            )
            packed = in_threads(
                lambda job: self._pack(job[1], images[job[0]].shape[:2], count),
                list(zip(batch, symbols, strict=True)),
            )
            streams.update(zip(batch, packed, strict=True))
        return [streams[i] for i in range(len(images))]

    def decode(
        self,
        streams: Sequence[Sequence[bytes]],
        *,
        texture: int | None = None,
        refine: bool = True,
    ) -> list[np.ndarray]:
        """Decode any non-empty prefix of the layers of each image to uint8 [H, W, 3].

        With `texture`, a seed, the fine texture that a coarse state cannot know is drawn from the
        laws of its classes: for looks alone (see `codec.reconstruct.texture`); the full state has
        all of it.
        Without `refine` the backward network is left out: 0.2 to 0.3 dB less, on a CPU at four
        times the speed in the full state and over twenty times in a coarse one.
        Raises LayerDamaged, WeightsMismatch or UnknownVersion.
        """
        return [
            picture.permute(1, 2, 0).contiguous().cpu().numpy()
            for picture in self.decode_tensors(streams, texture=texture, refine=refine)
        ]

    def decode_tensors(
        self,
        streams: Sequence[Sequence[bytes]],
        *,
        texture: int | None = None,
        refine: bool = True,
    ) -> list[torch.Tensor]:
        """Decode as `decode` does to uint8 [3, H, W], left on the device of the codec."""
        compiled = self._device.type == "cpu"
        if compiled and not refine and texture is None:
            return in_threads(self._decoded_and_painted, streams)
        pictures: dict[int, torch.Tensor] = {}
        for batch, states in self._decoded_batches(streams):
            whole = self._last_layer(states) + 1 == self.layers
            if compiled and (texture is None or whole):
                found = self._refined(states) if refine else in_threads(self._painted, states)
                pictures.update(zip(batch, found, strict=True))
                continue
            pixels = self._synthesised(states, texture, refine)
            for image, picture, state in zip(batch, pixels, states, strict=True):
                pictures[image] = picture[:, : state.layout.height, : state.layout.width]
        return [pictures[i] for i in range(len(streams))]

    def latents(
        self, streams: Sequence[Sequence[bytes]], *, levels: int = COARSE_LEVELS
    ) -> list[Latents]:
        """Return the state of each image as tensors; raises as `decode` does.

        `levels` says how many wavelet levels beside the low band the coefficients hold, from 4
        (16 pixels) to finer ones: 0 to 4 give 3, 12, 48, 192 and 768 channels. The finer half of
        them is all but empty in the coarse states, and costs most of the time.
        """
        if not 0 <= levels <= DYADIC_LEVELS:
            raise UsageError(f"levels: {levels} of {DYADIC_LEVELS}")
        if self._device.type == "cpu":
            return in_threads(lambda stream: self._folded(stream, levels), streams)
        return self._folded_batches(streams, levels)

    def _folded_batches(self, streams: Sequence[Sequence[bytes]], levels: int) -> list[Latents]:
        """Return the states of images as latents, in batches of one size on the device."""
        finest = DYADIC_LEVELS + 1 - levels
        found: dict[int, Latents] = {}
        most_pixels = BATCH_PIXELS * 4 ** (DYADIC_LEVELS - levels)
        for batch, states in self._decoded_batches(streams, most_pixels):
            places, _, steps = self._places(states, finest)
            scaled = [p * s for p, s in zip(places, steps, strict=True)]
            low = synthesise(scaled[ORIENTATIONS * levels :])
            turns = [state.turn for state in states]
            scaled = turned([*scaled[: ORIENTATIONS * levels], low], turns, finest, back=True)
            parts = [scaled[-1]]
            for level in range(DYADIC_LEVELS, finest - 1, -1):
                first = ORIENTATIONS * (level - finest)
                bands = torch.cat(scaled[first : first + ORIENTATIONS], 1)
                side = 1 << (DYADIC_LEVELS - level)
                parts.append(torch.nn.functional.pixel_unshuffle(bands, side))
            packed = torch.cat(parts, 1).cpu().numpy()
            for image, coefficients, state in zip(batch, packed, states, strict=True):
                class_map = state.palettes[-1].class_map.astype(np.int64)
                embedding = self._weights.classes.embedding[class_map].transpose(2, 0, 1)
                found[image] = Latents(class_map, np.ascontiguousarray(embedding), coefficients)
        return [found[i] for i in range(len(streams))]

    def _folded(self, stream: Sequence[bytes], levels: int) -> Latents:
        """Return the state of one image as latents, in compiled loops."""
        with self._in_workspace(stream) as state:
            weights = self._weights
            masks = weights.classes.mask[state.palettes[0].class_map]
            class_map = state.palettes[-1].class_map
            places = self._tables(state.cell_step).places
            return Latents(
                class_map.astype(np.int64),
                embed(class_map, weights.classes.embedding),
                fold(state.cell, state.layout, places, weights.steps, masks, levels, state.turn),
            )

    def _decoded_and_painted(self, stream: Sequence[bytes]) -> torch.Tensor:
        """Return the picture of one image, uint8 [3, H, W], in compiled loops; no network."""
        with self._in_workspace(stream) as state:
            return self._painted(state)

    def _painted(self, state: CodedState) -> torch.Tensor:
        """Return the picture of a state without the network, uint8 [3, H, W], on a CPU."""
        picture = torch.empty((3, state.layout.height, state.layout.width), dtype=torch.uint8)
        painter = self._painter(state)
        painter.paint(painter.join(painter.low(), (4, 3, 2)), picture.numpy())
        return picture

    @torch.inference_mode()
    def _refined(self, states: Sequence[CodedState]) -> list[torch.Tensor]:
        """Return the pictures of states of one padded size, uint8 [3, H, W], on a CPU."""
        step = states[0].cell_step
        if step not in self._refiners:
            self._refiners[step] = Refiner(
                self._network, self._tables(step), self._weights.steps, self._last_layer(states)
            )
        pictures = [
            torch.empty((3, state.layout.height, state.layout.width), dtype=torch.uint8)
            for state in states
        ]
        classes = _last_class_maps(states)
        self._refiners[step].paint(
            [self._painter(state) for state in states],
            torch.from_numpy(classes),
            [picture.numpy() for picture in pictures],
        )
        return pictures

    @contextmanager
    def _in_workspace(self, stream: Sequence[bytes]) -> Iterator[CodedState]:
        """Decode one image to symbols in a reused workspace, which is returned afterwards."""
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            workspace = Workspace()
        state = self._decoded(stream, workspace)
        yield state
        state.clear()
        if workspace.coefficients.size <= WORKSPACE_KEPT:
            self._workspaces.append(workspace)

    def _last_layer(self, states: Sequence[CodedState]) -> int:
        """Return the last layer that states of one number of layers have read."""
        return int(np.searchsorted(self._ends, states[0].cell_step))

    def _tables(self, step: int) -> StateTables:
        """Return what the cells of a state stand for."""
        if step not in self._state_tables:
            config, centroids = self._weights.config, self._weights.centroids[step - 1]
            self._state_tables[step] = StateTables.of(
                config.chain, step, config.compander, centroids
            )
        return self._state_tables[step]

    def _painter(self, state: CodedState) -> Painter:
        masks = self._weights.classes.mask[state.palettes[0].class_map]
        tables = self._tables(state.cell_step)
        return Painter(state.cell, state.layout, tables, self._weights.steps, masks, state.turn)

    def check(self, stream: Sequence[bytes]) -> None:
        """Decode every layer of one image to symbols, without synthesis; raises as `decode`."""
        self._decoded(stream)

    def symbols(self, stream: Sequence[bytes]) -> list[np.ndarray]:
        """Return the decoded integers of one image: turn of colours, class maps, then cells.

        The turn is int16 [3], a class map of each palette state int16 [h, w]. The cells are int16,
        one flat array in walking order with the margins of `bands`. Equal on every machine, device
        and library version.
        """
        state = self._decoded(stream)
        turn = np.array(state.turn, np.int16)
        return [turn, *(palette.class_map for palette in state.palettes), state.cell]

    def _checked_layers(self, layers: int | None) -> int:
        if layers is None:
            return self.layers
        if not 1 <= layers <= self.layers:
            raise UsageError(f"layers: {layers} of {self.layers}")
        return layers

    @torch.inference_mode()
    def quantised(
        self, images: Sequence[np.ndarray], *, effort: int = 1, finest: bool = True
    ) -> list[Symbols]:
        """Return palette chain and finest indices of uint8 images of one padded size.

        `finest` says whether the finest state will be written, and is worth a search.
        """
        candidates, bands = self._analysis.candidates(images, effort, finest)
        if len(candidates[0]) == 1:
            return [symbols for (symbols,) in candidates]
        layouts = [geometry(*image.shape[:2]) for image in images]
        return [
            min(choices, key=lambda choice: self._merit(choice, [b[i] for b in bands], layouts[i]))
            for i, choices in enumerate(candidates)
        ]

    def _merit(self, symbols: Symbols, bands: list[torch.Tensor], layout: Geometry) -> float:
        """Judge a class map by the bytes and the error of one state before the network."""
        layers = self._pack(symbols, (layout.height, layout.width), JUDGED_LAYERS)
        places, _, steps = self._places([self._decoded(layers)])
        errors = [
            (p * s - band).square().sum() for p, s, band in zip(places, steps, bands, strict=True)
        ]
        return merit(sum(map(len, layers)), torch.stack(errors).sum().item())

    def _pack(self, symbols: Symbols, shape: tuple[int, ...], layers: int) -> tuple[bytes, ...]:
        layout = geometry(*shape)
        header: PictureHeader | None = PictureHeader(shape[0], shape[1], self.weights_id)
        blobs, check = [], 0
        for index, (count, payload) in enumerate(self._entropy.encode(symbols, layout, layers)):
            blob, check = pack_layer(index, count, payload, check, header)
            blobs.append(blob)
            header = None
        return tuple(blobs)

    def _decoded(self, stream: Sequence[bytes], workspace: Workspace | None = None) -> CodedState:
        layers = unpack_stream(stream)
        header = layers[0].picture
        if header is None:
            raise LayerDamaged(0, "S9", "names no picture")
        if header.weights_id != self.weights_id:
            raise WeightsMismatch(f"made with weights {header.weights_id}, not {self.weights_id}")
        if len(layers) > self.layers:
            raise LayerDamaged(self.layers, "S11", f"a stream has at most {self.layers} layers")
        state = CodedState(
            geometry(header.height, header.width), workspace=workspace or Workspace()
        )
        for layer in layers:
            self._entropy.decode(layer.payload, layer.symbols, layer.index, state)
        return state

    def _decoded_batches(
        self, streams: Sequence[Sequence[bytes]], most_pixels: int = BATCH_PIXELS
    ) -> Iterator[tuple[list[int], list[CodedState]]]:
        """Yield images of one padded size and one number of layers, decoded to symbols."""
        if not streams:
            return
        shapes = []
        for stream in streams:
            header = unpack_stream(stream[:1])[0].picture
            shapes.append((header.height, header.width) if header else (1, 1))
        for batch in batches(shapes, [len(stream) for stream in streams], most_pixels):
            yield batch, in_threads(self._decoded, [streams[i] for i in batch])

    @torch.inference_mode()
    def _places(
        self, states: Sequence[CodedState], finest: int = 1
    ) -> tuple[list[torch.Tensor], ...]:
        """Return expected places, cells and steps of the bands from level `finest` on."""
        weights = self._weights
        step = states[0].cell_step
        cells = unflatten([state.cell for state in states], states[0].layout, finest)
        cells = [band.to(self._device) for band in cells]
        state = weights.config.chain[step]
        places = expected_places(
            cells, state, weights.config.compander, weights.centroids[step - 1], finest
        )
        masks = position_masks(
            weights, [coded.palettes[0].class_map for coded in states], self._device
        )
        steps = step_bands(weights.steps, masks, finest)
        return places, cells, steps

    @torch.inference_mode()
    def _synthesised(
        self, states: Sequence[CodedState], texture: int | None, refine: bool = True
    ) -> torch.Tensor:
        """Return the pictures of states of one padded size, uint8 [N, 3, H, W] with padding."""
        step = states[0].cell_step
        last_layer = self._last_layer(states)
        places, cells, steps = self._places(states)
        classes = _last_class_maps(states)
        if refine:
            bands = self._network(
                places, cells, steps, torch.from_numpy(classes).to(self._device),
                self._weights.config.chain[step], self._weights.config.compander,
                torch.full((len(states),), last_layer, device=self._device),
            )  # fmt: skip
        else:
            bands = [place * scale for place, scale in zip(places, steps, strict=True)]
        if texture is not None and last_layer + 1 < self.layers:
            add_texture(
                bands, cells, steps, classes, self._weights.classes.expected_magnitude,
                self._weights.config.chain[step], self._weights.config.compander, texture,
            )  # fmt: skip
        turns = [state.turn for state in states]
        return bands_picture(bands, turns).clamp_(0, 255).round_().to(torch.uint8)


def _last_class_maps(states: Sequence[CodedState]) -> np.ndarray:
    """Return the finest class maps that states of one size know, int64 [N, h, w]."""
    return np.stack([state.palettes[-1].class_map for state in states]).astype(np.int64)
