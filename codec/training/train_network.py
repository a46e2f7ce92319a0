"""Trains the backward network on random crops in random states.

The loss of a batch is its squared error in pixels relative to that of the reconstruction points
without the network, so that all states have the same weight: over all photos, and for each drawn
picture, which is often exact without the network. Shares of the loss of photos may be the relative
errors in MS-SSIM and in the features of an extractor. Weights are averaged over steps (EMA). A
checkpoint holds the complete state, so that a resumed run gives the same result.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from underpaint.codec.metrics import ms_ssim
from underpaint.codec.reconstruct.backend import fast_dtype
from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.training.checkpoint import restore_checkpoint, save_checkpoint
from underpaint.codec.training.perceptual import FeatureDistance
from underpaint.codec.training.samples import Batch, Draw, Samples
from underpaint.codec.training.step_log import append_rows, check_loss, drop_rows_after
from underpaint.codec.transform.subbands import BLOCK, DYADIC_LEVELS, ORIENTATIONS
from underpaint.codec.transform.wavelet import synthesise

log = logging.getLogger(__name__)

LOG_EVERY = 50
DRAWN_AHEAD = 4
"""Number of batches that are drawn ahead."""

LEAST_ERROR = 0.1
"""Squared error of a drawn picture, in grey levels, that counts like that of the picture without
the network if this has no error at all: 0.3 grey levels."""

_TINY = 1e-4
"""Added to errors that others are divided by: a batch may be exact without the network."""

_LOG_FIELDS = (
    "step",
    "seconds_per_step",
    "learning_rate",
    "loss",
    "gain_db",
    "psnr_db",
)


class NetworkTrainer:
    """Trains a network; resumes from the checkpoint in a folder.

    `measure` is called with the step and the averaged network, every `measure_every` steps.
    """

    def __init__(
        self,
        network: BackwardNetwork,
        samples: Samples,
        folder: Path,
        device: torch.device,
        measure: Callable[[int, BackwardNetwork], None],
        features: FeatureDistance | None = None,
        teacher: BackwardNetwork | None = None,
    ) -> None:
        plan = self._plan = samples.plan
        self._samples = samples
        self._measure, self._features = measure, features
        self._teacher = teacher.to(device) if teacher else None
        self._folder, self._device = folder, device
        torch.manual_seed(plan.seed)
        self.network = network.to(device).train()
        self.average = BackwardNetwork(network.shape).to(device).eval()
        self.average.load_state_dict(self.network.state_dict())
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self._half = fast_dtype(device) == torch.bfloat16
        self._modules = {"network": self.network, "average": self.average}
        folder.mkdir(parents=True, exist_ok=True)
        self._step = restore_checkpoint(folder, self._modules, self._optimiser)
        drop_rows_after(folder / "log.csv", self._step)

    def run(self) -> BackwardNetwork:
        """Train to the end of the plan; return the averaged network."""
        started, begun_at = time.monotonic(), self._step
        figures: list[tuple[float, float, float]] = []
        with ThreadPoolExecutor(DRAWN_AHEAD) as pool:
            ahead: deque[Future[Draw]] = deque()
            while self._step < self._plan.steps:
                while len(ahead) < min(DRAWN_AHEAD, self._plan.steps - self._step):
                    ahead.append(pool.submit(self._samples.draw, self._step + len(ahead)))
                figures.append(self._train_step(ahead.popleft().result()))
                self._step += 1
                check_loss(figures[-1][0], self._step, "--learning-rate")
                if self._step % LOG_EVERY == 0:
                    pace = (time.monotonic() - started) / (self._step - begun_at)
                    self._log(pace, *np.mean(figures, 0).tolist())
                    figures = []
                if self._step % self._plan.checkpoint_every == 0 or self._step == self._plan.steps:
                    save_checkpoint(self._folder, self._step, self._modules, self._optimiser)
                if self._step % self._plan.measure_every == 0 or self._step == self._plan.steps:
                    self._measure(self._step, self.average)
        return self.average

    def _train_step(self, draw: Draw) -> tuple[float, float, float]:
        plan, batch = self._plan, self._samples.batch(draw)
        with torch.no_grad():
            plain = batch.plain()
            before = batch.picture(plain)
        rate = plan.rate_at(self._step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(self._device.type, torch.bfloat16, self._half):
            estimate = batch.estimate(self.network)
        terms, after = [], batch.picture(estimate)
        if plan.teacher_weight < 1:
            terms.append((1 - plan.teacher_weight) * self._own_loss(batch, before, after))
        if self._teacher:
            with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16, self._half):
                taught = batch.estimate(self._teacher)
                unlike = _squared(taught, plain)
            terms.append(plan.teacher_weight * _squared(estimate, taught) / unlike)
        loss = torch.stack(terms).sum()
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
        error, plain_error = (
            (shown.detach() - batch.pixels).square().mean().item() + _TINY
            for shown in (after, before)
        )
        gain = 10 * np.log10(plain_error / error)
        return loss.item(), gain, 10 * np.log10(255**2 / error)

    def _own_loss(self, batch: Batch, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Return the loss that looks at the originals, relative to that without the network.

        Photos have the terms of the plan, drawn pictures the squared error alone.
        """
        drawn = batch.draw.drawn.to(self._device)
        pattern_loss = self._plan.pattern_weight * pattern(after - batch.pixels)
        count, parts = len(drawn), [pattern_loss]
        pictures = batch.pixels, before, after
        if drawn.any():
            errors = relative_errors(*(stack[drawn] for stack in pictures))
            parts.append(errors.sum() / count)
        if not drawn.all():
            share = (~drawn).sum() / count
            parts.append(share * self._photo_loss(batch, *(stack[~drawn] for stack in pictures)))
        return torch.stack(parts).sum()

    def _photo_loss(
        self, batch: Batch, pixels: torch.Tensor, before: torch.Tensor, after: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted errors in squares, MS-SSIM and features, relative to `before`."""
        plan = self._plan
        looks = [(after - pixels).square().mean() / ((before - pixels).square().mean() + _TINY)]
        row, column = batch.draw.corner
        pixels, before, after = (p[..., row:, column:] for p in (pixels, before, after))
        if plan.ssim_weight:
            with torch.no_grad():
                unlike = 1 - ms_ssim(pixels, before, 255.0).mean() + _TINY
            looks.append((1 - ms_ssim(pixels, after, 255.0).mean()) / unlike)
        if self._features and batch.draw.stage.layer < plan.feature_layers:
            with torch.no_grad():
                wanted = self._features.features(pixels)
                unlike = self._features(wanted, before) + _TINY
            looks.append(self._features(wanted, after) / unlike)
        weighted = zip(self._shares(len(looks)), looks, strict=True)
        return torch.stack([weight * look for weight, look in weighted]).sum()

    def _shares(self, count: int) -> list[float]:
        """Return the weights of the first `count` terms: squared error, MS-SSIM, features."""
        looks = [w for w in (self._plan.ssim_weight, self._plan.feature_weight) if w][: count - 1]
        return [1 - sum(looks), *looks]

    def _log(self, pace: float, loss: float, gain: float, psnr: float) -> None:
        rate = f"{self._plan.rate_at(self._step):.2e}"
        figures = [f"{value:.4f}" for value in (loss, gain, psnr)]
        row = [self._step, f"{pace:.3f}", rate, *figures]
        append_rows(self._folder / "log.csv", _LOG_FIELDS, [row])
        log.info(
            "step %d of %d: loss %.4f, gain %.3f dB, %.2f s per step",
            self._step, self._plan.steps, loss, gain, pace,
        )  # fmt: skip


def relative_errors(
    pixels: torch.Tensor, before: torch.Tensor, after: torch.Tensor
) -> torch.Tensor:
    """Return the squared error of each drawn picture `after`, relative to that of `before`.

    Pictures float [N, 3, H, W]; the errors [N]. See `LEAST_ERROR`.
    """
    errors, known = ((shown - pixels).square().mean((1, 2, 3)) for shown in (after, before))
    return errors / (known + LEAST_ERROR)


def pattern(error: torch.Tensor) -> torch.Tensor:
    """Return the variance, a scalar, of the mean error at each pixel offset within a position.

    `error` float [N, 3, H, W], sides multiples of 16. Extractors prefer a faint pattern,
    repeated at every position, to a smooth surface; people do not.
    """
    batch, channels, height, width = error.shape
    squares = error.reshape(batch, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return squares.mean((0, 2, 4)).var((1, 2), correction=0).mean()


def _quarter_joined(bands: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return levels 1 and 2 and the low band at 1/4, from these or from all bands."""
    finer = ORIENTATIONS * (DYADIC_LEVELS - 2)
    return bands if len(bands) == finer + 1 else [*bands[:finer], synthesise(bands[finer:])]


def _squared(estimate: list[torch.Tensor], bands: list[torch.Tensor]) -> torch.Tensor:
    """Return the squared error of bands in the orthonormal domain, low bands joined as needed."""
    pairs = zip(_quarter_joined(estimate), _quarter_joined(bands), strict=True)
    return torch.stack([((e - t) ** 2).sum() for e, t in pairs]).sum()
