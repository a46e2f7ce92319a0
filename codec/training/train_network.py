"""Trains the backward network on random crops in random states.

The loss of a batch is its squared error relative to that of the reconstruction points without the
network, so that all states have the same weight. Shares of the loss may be the relative errors in
MS-SSIM and in the features of an extractor. Weights are averaged over steps (EMA). A checkpoint
holds the complete state, so that a resumed run gives the same result.
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from underpaint.codec.entropy.state import Symbols
from underpaint.codec.metrics import ms_ssim
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.quantize.quantizer import quantise, step_bands
from underpaint.codec.quantize.reconstruction_points import Dequantised
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.training.perceptual import FeatureDistance
from underpaint.codec.training.settings import TrainingPlan
from underpaint.codec.transform.colour_rotation import ColourRotation
from underpaint.codec.transform.pictures import bands_picture, picture_bands
from underpaint.codec.transform.subbands import BLOCK, DYADIC_LEVELS
from underpaint.codec.transform.wavelet import synthesise
from underpaint.codec.weights.model import Weights

log = logging.getLogger(__name__)

LOG_EVERY = 50
DRAWN_AHEAD = 4
"""Number of batches that are drawn ahead."""

_LOG_FIELDS = (
    "step",
    "seconds_per_step",
    "learning_rate",
    "loss",
    "gain_db",
    "psnr_db",
    "relative_ms_ssim_error",
)


class CropSource:
    """Draws crops aligned to blocks, with the class maps of the whole photo."""

    def __init__(self, photos: Sequence[np.ndarray], symbols: Sequence[Symbols], crop: int) -> None:
        self._crop = crop
        self._items = [
            (photo, image.palettes, image.rotation)
            for photo, image in zip(photos, symbols, strict=True)
            if min(photo.shape[:2]) >= crop
        ]
        areas = np.array([photo.shape[0] * photo.shape[1] for photo, *_ in self._items], float)
        self._chance = areas / areas.sum()

    def draw(
        self, count: int, palette: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, list[ColourRotation], np.ndarray, np.ndarray]:
        """Return crops and what belongs to them.

        Pixels float32 [N, 3, crop, crop], the rotations of their colours, the class map of palette
        state 0 (masks) and that of state `palette` (the network's input), int16
        [N, crop / 16, crop / 16].
        """
        side = self._crop // BLOCK
        pixels = np.empty((count, self._crop, self._crop, 3), np.uint8)
        maps = np.empty((2, count, side, side), np.int16)
        rotations: list[ColourRotation] = []
        chosen = rng.choice(len(self._items), count, p=self._chance)
        for place, index in enumerate(chosen):
            photo, palettes, rotation = self._items[index]
            rotations.append(rotation)
            row, column = (
                rng.integers(0, length // BLOCK - side + 1) for length in photo.shape[:2]
            )
            pieces = [
                photo[row * BLOCK :, column * BLOCK :][: self._crop, : self._crop],
                *(
                    palettes[i].class_map[row : row + side, column : column + side]
                    for i in (0, palette)
                ),
            ]
            if rng.random() < 0.5:
                pieces = [piece[:, ::-1] for piece in pieces]
            if rng.random() < 0.5:
                pieces = [piece.swapaxes(0, 1) for piece in pieces]
            pixels[place], maps[0, place], maps[1, place] = pieces
        stack = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
        return stack, rotations, maps[0], maps[1]


@dataclass(frozen=True)
class _Stage:
    """A state at the end of a layer: the layer, the number of cell steps and the palette state."""

    layer: int
    step: int
    palette: int


def _stages(weights: Weights) -> list[_Stage]:
    stages, step, palette = [], 0, 0
    for layer, plan in enumerate(weights.config.layers):
        step, palette = step + plan.cell_steps, palette + plan.palette_steps
        stages.append(_Stage(layer, step, palette - 1))
    return stages


@dataclass(frozen=True)
class _Draw:
    """The inputs of one training step: see `CropSource.draw`."""

    stage: _Stage
    corner: tuple[int, int]
    """First row and column of the pictures for perceptual losses: metrics and extractors sample
    pictures on their own grids, which should not coincide with that of the blocks."""
    pixels: torch.Tensor
    rotations: list[ColourRotation]
    mask_map: np.ndarray
    class_map: np.ndarray


def _cell_index(q: torch.Tensor, state: Cells) -> torch.Tensor:
    """Return `Cells.index` on the device of the tensor, int32."""
    magnitude = q.int().abs()
    index = torch.div(magnitude - state.zero - 1, state.width, rounding_mode="floor") + 1
    return torch.where(magnitude <= state.zero, 0, index * q.sign())


class NetworkTrainer:
    """Trains a network; resumes from the checkpoint in a folder.

    `measure` is called with the step and the averaged network, every `measure_every` steps.
    """

    def __init__(
        self,
        weights: Weights,
        source: CropSource,
        plan: TrainingPlan,
        folder: Path,
        device: torch.device,
        measure: Callable[[int, BackwardNetwork], None],
        features: FeatureDistance | None = None,
    ) -> None:
        self._weights, self._source, self._plan = weights, source, plan
        self._stages = _stages(weights)
        self._measure, self._features = measure, features
        self._folder, self._device = folder, device
        torch.manual_seed(plan.seed)
        self.network = weights.network.to(device).train()
        self.average = BackwardNetwork(weights.network.shape).to(device).eval()
        self.average.load_state_dict(self.network.state_dict())
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self._step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.json").exists():
            self._restore()

    def run(self) -> BackwardNetwork:
        """Train to the end of the plan; return the averaged network."""
        started, begun_at = time.monotonic(), self._step
        figures: list[tuple[float, float, float, float]] = []
        with ThreadPoolExecutor(DRAWN_AHEAD) as pool:
            ahead: deque[Future[_Draw]] = deque()
            while self._step < self._plan.steps:
                while len(ahead) < min(DRAWN_AHEAD, self._plan.steps - self._step):
                    ahead.append(pool.submit(self._drawn, self._step + len(ahead)))
                figures.append(self._train_step(ahead.popleft().result()))
                self._step += 1
                if self._step % LOG_EVERY == 0:
                    pace = (time.monotonic() - started) / (self._step - begun_at)
                    self._log(pace, *np.mean(figures, 0).tolist())
                    figures = []
                if self._step % self._plan.checkpoint_every == 0 or self._step == self._plan.steps:
                    self._save()
                if self._step % self._plan.measure_every == 0 or self._step == self._plan.steps:
                    self._measure(self._step, self.average)
        return self.average

    def _drawn(self, step: int) -> _Draw:
        """Draw the state and the crops of a step; depends on seed and step only."""
        rng = np.random.default_rng((self._plan.seed, step))
        stage = self._stages[rng.integers(len(self._stages))]
        row, column = rng.integers(0, BLOCK, 2).tolist()
        return _Draw(stage, (row, column), *self._source.draw(self._plan.batch, stage.palette, rng))

    def _train_step(self, draw: _Draw) -> tuple[float, float, float, float]:
        plan, weights, config = self._plan, self._weights, self._weights.config
        pixels = draw.pixels.to(self._device)
        state = config.chain[draw.stage.step]
        with torch.no_grad():
            bands = picture_bands(pixels, draw.rotations)
            masks = torch.from_numpy(weights.classes.mask[draw.mask_map][:, None])
            steps = step_bands(weights.steps, masks.to(self._device))
            q = quantise(bands, steps, config.compander, config.chain[0].zero)
            cells = [_cell_index(band, state) for band in q]
            centroids = weights.centroids[draw.stage.step - 1]
            decoded = Dequantised.of(cells, steps, state, config.compander, centroids)
            plain = decoded.coefficients()
            plain_error = _squared(plain, bands)
        rate = plan.rate_at(self._step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(self._device.type, torch.bfloat16, self._device.type == "cuda"):
            estimate = self.network(
                decoded,
                torch.from_numpy(draw.class_map).long().to(self._device),
                torch.full((plan.batch,), draw.stage.layer, device=self._device),
            )
        error = _squared(estimate, bands)
        shares = [error / plain_error]
        after = bands_picture(estimate, draw.rotations).clamp(0, 255)
        shares += self._perceptual_errors(draw, pixels, plain, after)
        weighted = zip(self._shares(len(shares)), shares, strict=True)
        loss = torch.stack([weight * share for weight, share in weighted]).sum()
        loss = loss + plan.pattern_weight * pattern(after - pixels)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        with torch.no_grad():
            decay = min(plan.average, (self._step + 1) / (self._step + 10))
            for slow, fast in zip(
                self.average.parameters(), self.network.parameters(), strict=True
            ):
                slow.lerp_(fast, 1 - decay)
        gain = 10 * np.log10(plain_error.item() / error.item())
        psnr = 10 * np.log10(255**2 / (error.item() / pixels.numel()))
        return loss.item(), gain, psnr, shares[1].item() if plan.ssim_weight else float("nan")

    def _perceptual_errors(
        self,
        draw: _Draw,
        pixels: torch.Tensor,
        plain: list[torch.Tensor],
        after: torch.Tensor,
    ) -> list[torch.Tensor]:
        """Return the errors in MS-SSIM and in features, relative to those without the network."""
        plan, looks = self._plan, []
        if not (plan.ssim_weight or self._features):
            return []
        before = bands_picture(plain, draw.rotations).clamp(0, 255)
        row, column = draw.corner
        pixels, before, after = (p[..., row:, column:] for p in (pixels, before, after))
        if plan.ssim_weight:
            with torch.no_grad():
                unlike = 1 - ms_ssim(pixels, before, 255.0).mean()
            looks.append((1 - ms_ssim(pixels, after, 255.0).mean()) / unlike)
        if self._features and draw.stage.layer < plan.feature_layers:
            with torch.no_grad():
                wanted = self._features.features(pixels)
                unlike = self._features(wanted, before)
            looks.append(self._features(wanted, after) / unlike)
        return looks

    def _shares(self, count: int) -> list[float]:
        """Return the weights of the first `count` terms: squared error, MS-SSIM, features."""
        looks = [w for w in (self._plan.ssim_weight, self._plan.feature_weight) if w][: count - 1]
        return [1 - sum(looks), *looks]

    def _log(self, pace: float, loss: float, gain: float, psnr: float, ssim: float) -> None:
        path = self._folder / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            rows = csv.writer(file)
            if fresh:
                rows.writerow(_LOG_FIELDS)
            rate = self._plan.rate_at(self._step)
            rows.writerow(
                [self._step, f"{pace:.3f}", f"{rate:.2e}"]
                + [f"{value:.4f}" for value in (loss, gain, psnr, ssim)]
            )
        log.info(
            "step %d of %d: loss %.4f, gain %.3f dB, %.2f s per step",
            self._step, self._plan.steps, loss, gain, pace,
        )  # fmt: skip

    def _save(self) -> None:
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self._optimiser.state_dict()["state"].items():
            tensors |= {f"moments.{index}.{k}": v for k, v in moments.items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(tensors, self._folder / "next.safetensors")
        (self._folder / "next.safetensors").replace(self._folder / "state.safetensors")
        (self._folder / "state.json").write_text(json.dumps({"step": self._step}))

    def _restore(self) -> None:
        tensors = load_file(self._folder / "state.safetensors")
        parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "average": {}, "moments": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.network.load_state_dict(parts["network"])
        self.average.load_state_dict(parts["average"])
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["moments"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        known = self._optimiser.state_dict()
        self._optimiser.load_state_dict({"state": state, "param_groups": known["param_groups"]})
        self._step = json.loads((self._folder / "state.json").read_text())["step"]
        _drop_rows_after(self._folder / "log.csv", self._step)
        log.info("resumed at step %d", self._step)


def _drop_rows_after(path: Path, step: int) -> None:
    """Drop the rows of a log after `step`: these steps are repeated."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) <= step)])


def pattern(error: torch.Tensor) -> torch.Tensor:
    """Return the variance, a scalar, of the mean error at each pixel offset within a position.

    `error` float [N, 3, H, W], sides multiples of 16. Extractors prefer a faint pattern,
    repeated at every position, to a smooth surface; people do not.
    """
    batch, channels, height, width = error.shape
    squares = error.reshape(batch, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return squares.mean((0, 2, 4)).var((1, 2), correction=0).mean()


def _squared(estimate: list[torch.Tensor], bands: list[torch.Tensor]) -> torch.Tensor:
    """Return the squared error of bands in the orthonormal domain, low bands joined as needed."""
    shared = len(estimate) - 1
    if len(estimate) == len(bands):
        shared = 3 * (DYADIC_LEVELS - 2)
        estimate = [*estimate[:shared], synthesise(estimate[shared:])]
    target = [*bands[:shared], synthesise(bands[shared:])]
    errors = [((e - t) ** 2).sum() for e, t in zip(estimate, target, strict=True)]
    return torch.stack(errors).sum()
