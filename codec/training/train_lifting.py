"""Trains the learned lifting step on random crops in nested states.

The step predicts details in the encoder from the low band of the finest state, and in a decoder
from that of the state that it has. So a batch goes through the closed loop of the finest state,
which gives the residuals, and then through the decoder of a randomly drawn state.

The loss is what the encoder's users pay: the logarithm of the bits of that state, and that of its
squared error, weighted by what an error is worth in bits. A change of 0.01 is a change of 1 % in
bytes at equal quality, to first order (BD-rate).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from underpaint.codec.analysis import closed_loop
from underpaint.codec.quantize.closed_loop import Quantised
from underpaint.codec.quantize.quantizer import step_bands
from underpaint.codec.quantize.reconstruction_points import reconstruction_points
from underpaint.codec.training.checkpoint import restore_checkpoint, save_checkpoint
from underpaint.codec.training.residual_bits import ResidualBits
from underpaint.codec.training.samples import CropSource, cell_index
from underpaint.codec.training.settings import LiftingPlan
from underpaint.codec.training.step_log import append_rows, check_loss, drop_rows_after
from underpaint.codec.transform.band_lists import band_group
from underpaint.codec.transform.colour_rotation import ColourRotation
from underpaint.codec.transform.pictures import picture_bands
from underpaint.codec.transform.prediction import DetailPrediction, Predictions
from underpaint.codec.transform.prediction_shape import PredictionShape
from underpaint.codec.weights.model import Weights

log = logging.getLogger(__name__)

LOG_EVERY = 50

_BITS_RATE = 0.02
"""Peak learning rate of the estimate of bits."""

_AVERAGE = 0.998
"""Decay of the moving average of the parameters."""

_OTHER_BITS = 0.012
"""Bits of each pixel that no prediction changes: class maps, low band, coarsest level."""

_LEAST_ERROR = 0.05
"""Squared error of a pixel below which errors are rounding."""

_ERROR_WORTH = (1.6, 1.5, 1.2, 0.8, 0.55, 0.48)
"""Change of the logarithm of bytes for one of the logarithm of squared error, by state: the slopes
of the rate-distortion curve of the profile `fidelity`."""

_STATE_CHANCE = (0.06, 0.16, 0.2, 0.2, 0.2, 0.18)
"""How often each state is drawn."""


_MEASURED_CROPS = 12


class _Batch:
    """Bands of crops and their steps, and what the coarsest levels are in every state."""

    def __init__(
        self, weights: Weights, pixels: torch.Tensor, rotations: Sequence[ColourRotation],
        mask_map: np.ndarray,
    ) -> None:  # fmt: skip
        self.rotations, self.pixels = rotations, pixels[0, 0].numel()
        masks = torch.from_numpy(weights.classes.mask[mask_map][:, None]).to(pixels.device)
        self.bands = picture_bands(pixels, rotations, weights.config.shear)
        self.steps = step_bands(weights.steps, masks)


class LiftingTrainer:
    """Trains a learned lifting step; resumes from the checkpoint in a folder."""

    def __init__(
        self,
        weights: Weights,
        source: CropSource,
        held_out: CropSource,
        plan: LiftingPlan,
        folder: Path,
        device: torch.device,
    ) -> None:
        """Take weights without the step, fitted as they are; `held_out` is for measurements."""
        self._weights, self._source, self._plan = weights, source, plan
        self._held_out, self._folder, self._device = held_out, folder, device
        torch.manual_seed(plan.seed)
        states = len(weights.config.widths)
        shape = PredictionShape(tuple(map(int, plan.lifting_widths)), states)
        self.step = DetailPrediction(shape).to(device)
        _blind_to_means(self.step)
        self.average = DetailPrediction(shape).to(device)
        self.average.load_state_dict(self.step.state_dict())
        self.bits = ResidualBits(shape.levels + 1, states).to(device)
        self.plain_bits = ResidualBits(shape.levels + 1, states).to(device)
        self._optimiser = torch.optim.AdamW(
            [{"params": self.step.parameters()}, {"params": self.bits.parameters()}],
            lr=_BITS_RATE, betas=(0.9, 0.99), weight_decay=0.0,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self._modules = {
            "step": self.step, "average": self.average, "bits": self.bits,
            "plain_bits": self.plain_bits,
        }  # fmt: skip
        self._done = restore_checkpoint(folder, self._modules, self._optimiser)
        for name in ("log.csv", "held_out.csv"):
            drop_rows_after(folder / name, self._done)

    def run(self) -> DetailPrediction:
        """Train to the end of the plan; return the averaged step."""
        begun, before = time.monotonic(), self._done
        losses: list[float] = []
        while self._done < self._plan.lifting_steps:
            losses.append(self._train_step())
            self._done += 1
            check_loss(losses[-1], self._done, "--lifting-rate")
            if self._done == self._plan.lifting_warm_up:
                self.plain_bits.load_state_dict(self.bits.state_dict())
            if self._done % LOG_EVERY == 0:
                pace = (time.monotonic() - begun) / (self._done - before)
                figures = {"loss": f"{np.mean(losses):.4f}", "seconds_per_step": f"{pace:.3f}"}
                self._log("log.csv", figures)
                log.info("lifting step %d of %d: %s", self._done, self._plan.lifting_steps, figures)
                losses = []
            last = self._done == self._plan.lifting_steps
            if self._done % self._plan.lifting_measure_every == 0 or last:
                save_checkpoint(self._folder, self._done, self._modules, self._optimiser)
                self._measure()
        return self.average

    def _train_step(self) -> float:
        plan, states = self._plan, len(self._weights.config.widths)
        rng = np.random.default_rng((plan.seed, self._done))
        chance = np.interp(np.linspace(0, 1, states), np.linspace(0, 1, 6), _STATE_CHANCE)
        state = int(rng.choice(states, p=chance / chance.sum())) + 1
        batch = self._drawn(self._source, plan.lifting_batch, rng)
        rates = plan.rate_at(self._done), _BITS_RATE * plan.decay_at(self._done)
        for group, rate in zip(self._optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        loss = self._loss(batch, state, self.step, self.bits)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.step.parameters(), 1.0)
        self._optimiser.step()
        _blind_to_means(self.step)
        with torch.no_grad():
            decay = min(_AVERAGE, (self._done + 1) / (self._done + 10))
            for slow, fast in zip(self.average.parameters(), self.step.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        return loss.item()

    def _drawn(self, source: CropSource, count: int, rng: np.random.Generator) -> _Batch:
        with torch.no_grad():
            pixels, rotations, mask_map, *_ = source.draw(count, 0, rng)
            return _Batch(self._weights, pixels.to(self._device), rotations, mask_map)

    def _loss(
        self, batch: _Batch, state: int, step: DetailPrediction | None, bits: ResidualBits
    ) -> torch.Tensor:
        """Return the loss of a batch in the state after `state` cell steps; without a step: plain.

        Logarithms are taken for each crop, as a mean of BD-rates over photos does.
        """
        config = self._weights.config
        finest = Predictions(step, batch.rotations, len(config.widths))
        with torch.autocast(self._device.type, torch.bfloat16):
            loop = closed_loop(self._weights)
            quantised = loop.quantise(batch.bands, batch.steps, finest)
            error = self._error(batch, replace(finest, step=state), quantised)
        rate = bits(self._coded(batch, quantised), config.chain[state], state)
        log_rate = torch.log(rate / batch.pixels + _OTHER_BITS)
        worth = np.interp(
            (state - 1) / max(1, len(config.widths) - 1), np.linspace(0, 1, 6), _ERROR_WORTH
        )
        return (log_rate + worth * torch.log(error / batch.pixels + _LEAST_ERROR)).mean()

    def _coded(self, batch: _Batch, quantised: Quantised) -> dict[int, torch.Tensor]:
        """Return the residuals of the predicted levels and the next coarser one: `ResidualBits`."""
        groups = {level: band_group(level) for level in range(1, self.step.shape.levels + 2)}
        return {
            level: torch.cat(
                [
                    residual / step
                    for residual, step in zip(
                        quantised.residuals[group], batch.steps[group], strict=True
                    )
                ],
                1,
            )
            for level, group in groups.items()
        }

    def _error(self, batch: _Batch, predictions: Predictions, quantised: Quantised) -> torch.Tensor:
        """Return the squared error of each picture as a decoder of a state has it, float32 [N].

        The gradient takes the place in a cell other than zero for the residual itself.
        """
        weights, config, state = self._weights, self._weights.config, predictions.step
        with torch.no_grad():
            cells = [cell_index(band, config.chain[state]) for band in quantised.indices]
            points = reconstruction_points(
                cells, config.chain[state], config.compander, weights.centroids[state - 1]
            )
        decoded = [
            point * step + (residual - residual.detach()) * (cell != 0)
            for point, step, residual, cell in zip(
                points, batch.steps, quantised.residuals, cells, strict=True
            )
        ]
        errors = [
            (band - target).square().sum((1, 2, 3))
            for band, target in zip(predictions.complete(decoded), batch.bands, strict=True)
        ]
        return torch.stack(errors).sum(0)

    @torch.no_grad()
    def _measure(self) -> None:
        """Append the estimated change in bytes, in percent, on crops of held-out photos."""
        if self._done < self._plan.lifting_warm_up:
            return
        rng = np.random.default_rng(self._plan.seed)
        batch = self._drawn(self._held_out, _MEASURED_CROPS, rng)
        gains = []
        for state in range(1, len(self._weights.config.widths) + 1):
            plain = self._loss(batch, state, None, self.plain_bits).item()
            gains.append(100 * (self._loss(batch, state, self.average, self.bits).item() - plain))
        figures = {f"state_{state}": f"{gain:.2f}" for state, gain in enumerate(gains, 1)}
        figures["mean_from_2"] = f"{np.mean(gains[1:]):.2f}"
        self._log("held_out.csv", figures)
        log.info("lifting step %d, %% of bytes on held-out photos: %s", self._done, figures)

    def _log(self, name: str, figures: dict[str, str]) -> None:
        row = [self._done, *figures.values()]
        append_rows(self._folder / name, ["step", *figures], [row])


@torch.no_grad()
def _blind_to_means(step: DetailPrediction) -> None:
    """Take the mean out of the first kernels: details do not depend on the mean of the low band."""
    for level in range(1, step.shape.levels + 1):
        first = step.get_parameter(f"{level}.0.weight")
        first.sub_(first.mean((2, 3), keepdim=True))
