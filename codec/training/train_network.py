"""Train the backward network: random crops, random states, error against doing nothing.

The loss of a batch is its squared error over the squared error of the cells' expected places, so
every state counts alike whatever its step. Weights are averaged over steps (EMA); a checkpoint
holds all that is needed to go on as if nothing had happened.
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from codec.entropy import Symbols
from codec.latent import (
    bands_picture,
    expected_places,
    picture_bands,
    quantise,
    step_bands,
)
from codec.metrics import ms_ssim
from codec.network import BackwardNetwork
from codec.training.settings import TrainingPlan
from codec.wavelet import BLOCK, DYADIC_LEVELS, synthesise
from codec.weights import Weights

log = logging.getLogger(__name__)

LOG_EVERY = 50
_LOG_FIELDS = ("step", "seconds_a_step", "learning_rate", "loss", "gain_db", "psnr_db", "ms_ssim")


class CropSource:
    """Draws crops aligned to blocks, with the class maps that the whole photo was given."""

    def __init__(self, photos: Sequence[np.ndarray], symbols: Sequence[Symbols], crop: int) -> None:
        self._crop = crop
        self._items = [
            (photo, image.palettes)
            for photo, image in zip(photos, symbols, strict=True)
            if min(photo.shape[:2]) >= crop
        ]
        areas = np.array([photo.shape[0] * photo.shape[1] for photo, _ in self._items], float)
        self._chance = areas / areas.sum()

    def draw(
        self, count: int, palette: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Return pixels float32 [N, 3, crop, crop], the class map of palette state 0 (masks) and
        that of state `palette` (what the network is told), int16 [N, crop / 16, crop / 16]."""
        side = self._crop // BLOCK
        pixels = np.empty((count, self._crop, self._crop, 3), np.uint8)
        maps = np.empty((2, count, side, side), np.int16)
        chosen = rng.choice(len(self._items), count, p=self._chance)
        for place, index in enumerate(chosen):
            photo, palettes = self._items[index]
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
        return stack, maps[0], maps[1]


@dataclass(frozen=True)
class _Stage:
    """A state that a stream can end in: its last layer, place in the chain and palette state."""

    layer: int
    step: int
    palette: int


def _stages(weights: Weights) -> list[_Stage]:
    stages, step, palette = [], 0, 0
    for layer, plan in enumerate(weights.config.layers):
        step, palette = step + plan.cell_steps, palette + plan.palette_steps
        stages.append(_Stage(layer, step, palette - 1))
    return stages


class NetworkTrainer:
    """Holds the network, its average and its optimiser; resumes from a checkpoint folder.

    `measure` is called with the step and the averaged network now and then.
    """

    def __init__(
        self,
        weights: Weights,
        source: CropSource,
        plan: TrainingPlan,
        folder: Path,
        device: torch.device,
        measure: Callable[[int, BackwardNetwork], None],
    ) -> None:
        self._weights, self._source, self._plan = weights, source, plan
        self._measure = measure
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
        losses, gains, psnrs, ssims = [], [], [], []
        while self._step < self._plan.steps:
            loss, gain, psnr, ssim = self._train_step()
            losses.append(loss)
            gains.append(gain)
            psnrs.append(psnr)
            ssims.append(ssim)
            self._step += 1
            if self._step % LOG_EVERY == 0:
                pace = (time.monotonic() - started) / (self._step - begun_at)
                self._log(pace, *(float(np.mean(v)) for v in (losses, gains, psnrs, ssims)))
                losses, gains, psnrs, ssims = [], [], [], []
            if self._step % self._plan.checkpoint_every == 0 or self._step == self._plan.steps:
                self._save()
            if self._step % self._plan.measure_every == 0 or self._step == self._plan.steps:
                self._measure(self._step, self.average)
        return self.average

    def _train_step(self) -> tuple[float, float, float, float]:
        plan, weights = self._plan, self._weights
        rng = np.random.default_rng((plan.seed, self._step))
        stages = _stages(weights)
        stage = stages[rng.integers(len(stages))]
        pixels, mask_map, class_map = self._source.draw(plan.batch, stage.palette, rng)
        pixels = pixels.to(self._device)
        bands = picture_bands(pixels)
        masks = torch.from_numpy(weights.classes.mask[mask_map][:, None]).to(self._device)
        steps = step_bands(weights.steps, masks)
        config = weights.config
        state = config.chain[stage.step]
        q = quantise(bands, steps, config.compander, config.chain[0].zero)
        cells = [torch.from_numpy(state.index(b.cpu().numpy())).to(self._device) for b in q]
        places = expected_places(cells, state, config.compander, weights.centroids[stage.step - 1])
        rate = plan.rate_at(self._step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        estimate = self.network(
            places, cells, steps, torch.from_numpy(class_map.astype(np.int64)).to(self._device),
            state, config.compander,
            torch.full((plan.batch,), stage.layer, device=self._device),
        )  # fmt: skip
        plain = [p * s for p, s in zip(places, steps, strict=True)]
        error, plain_error = _squared(estimate, bands), _squared(plain, bands)
        loss = error / plain_error
        ssim = float("nan")
        if plan.ssim_weight:
            with torch.no_grad():
                before = 1 - ms_ssim(pixels, bands_picture(plain).clamp(0, 255), 255.0).mean()
            after = 1 - ms_ssim(pixels, bands_picture(estimate).clamp(0, 255), 255.0).mean()
            loss = (1 - plan.ssim_weight) * loss + plan.ssim_weight * after / before
            ssim = 1 - after.item()
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
        return loss.item(), gain, psnr, ssim

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
            "step %d of %d: loss %.4f, gain %.3f dB, %.2f s a step",
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
        _forget_after(self._folder / "log.csv", self._step)
        log.info("resumed at step %d", self._step)


def _forget_after(path: Path, step: int) -> None:
    """Drop the rows of a log that steps after `step` have written: they are done again."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) <= step)])


def _squared(estimate: list[torch.Tensor], bands: list[torch.Tensor]) -> torch.Tensor:
    """Return the squared error of bands in the orthonormal domain, low bands joined as needed."""
    shared = len(estimate) - 1
    if len(estimate) == len(bands):
        shared = 3 * (DYADIC_LEVELS - 2)
        estimate = [*estimate[:shared], synthesise(estimate[shared:])]
    target = [*bands[:shared], synthesise(bands[shared:])]
    errors = [((e - t) ** 2).sum() for e, t in zip(estimate, target, strict=True)]
    return torch.stack(errors).sum()
