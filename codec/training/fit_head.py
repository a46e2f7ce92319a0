"""Trains the semantic head: pseudo-labels from expensive features, learned from cheap ones.

    texture (local Fourier magnitudes) ---+
    layers of an extractor, if one is given -- fused -> K-means -> a label for each position
    inputs of the head (wavelet energies, colour) ----------------> InfoNCE on these labels

Source: pseudo-labels with contrastive learning, Guo et al. 2023; the loss is that of Khosla et al.
2020 (supervised contrastive learning, arXiv 2004.11362, equation 2).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from underpaint.codec.analysis import Spectrum, transform
from underpaint.codec.palette.semantic_head import HEAD_INPUTS, SemanticHead, head_inputs
from underpaint.codec.quantize.quantizer import step_bands
from underpaint.codec.training.pseudo_labels import fuse, pseudo_labels
from underpaint.codec.training.semantic_layers import SemanticLayers
from underpaint.codec.training.settings import Recipe
from underpaint.codec.training.texture_features import texture_features
from underpaint.codec.transform.band_lists import band_group
from underpaint.codec.transform.colours import Shear
from underpaint.codec.transform.pictures import bands_picture, pad_to_blocks
from underpaint.codec.transform.subbands import BLOCK, DYADIC_LEVELS

log = logging.getLogger(__name__)

_ROUNDS = 6
_AXES_KEPT = 24
"""Principal axes that are kept of texture and of each layer of the extractor."""

COARSE_WIDTH = 16
"""Cell width, in finest steps, of the state that measures the extractor's sensitivity."""

_BATCH = 512
_TEMPERATURE = 0.1
_LEARNING_RATE = 2e-3
_HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class Positions:
    """Sampled positions of many photos.

    energies  float32 [n, 36], mean magnitudes of the texture bands
    inputs    float32 [n, HEAD_INPUTS], inputs of the head
    features  one float32 [n, C] for texture and one for each layer of the extractor
    photo     int64 [n], index of the photo
    changes   float32 [n, 2], or [n, 0] without an extractor: squared changes by coarse quantisation
              in the extractor's features and in the pixels
    """

    energies: np.ndarray
    inputs: np.ndarray
    features: list[np.ndarray]
    photo: np.ndarray
    changes: np.ndarray


def sample_positions(
    photos: Sequence[np.ndarray],
    steps: np.ndarray,
    recipe: Recipe,
    per_photo: int,
    rng: np.random.Generator,
) -> Positions:
    """Sample at most `per_photo` positions of each uint8 [H, W, 3] photo."""
    extractor = (
        SemanticLayers(recipe.extractor, recipe.extractor_input) if recipe.extractor else None
    )
    rows: list[list[np.ndarray]] = []
    for index, photo in enumerate(photos):
        pixels = pad_to_blocks([photo], torch.device("cpu"))
        spectrum = transform(pixels, steps, recipe.profile, recipe.shear)
        energies = spectrum.energies_by_position[0]
        fields = [energies, head_inputs(spectrum.head_inputs()[0])]
        fields.append(texture_features(pixels[0]).numpy())
        changes = np.zeros((*energies.shape[:2], 0), np.float32)
        if extractor is not None:
            coarse = _coarsened(spectrum, steps, recipe.shear)
            layers = extractor(_as_picture(pixels))
            changes = _changes(layers, extractor(_as_picture(coarse)), pixels, coarse)
            fields += layers
        fields.append(changes)
        count = energies.shape[0] * energies.shape[1]
        chosen = rng.permutation(count)[:per_photo]
        row = [field.reshape(count, -1)[chosen] for field in fields]
        rows.append([*row, np.full(len(chosen), index)])
    energies, inputs, *features, changes, photo_of = (
        np.concatenate(part) for part in zip(*rows, strict=True)
    )
    return Positions(energies, inputs, features, photo_of, changes)


def _as_picture(pixels: torch.Tensor) -> np.ndarray:
    """Return uint8 [H, W, 3] of one float [1, 3, H, W]."""
    return pixels[0].clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _coarsened(spectrum: Spectrum, steps: np.ndarray, shear: Shear) -> torch.Tensor:
    """Round bands in rotated colours to a coarse state's steps and go back to pixels."""
    bands = spectrum.bands
    flat = torch.ones(1, 1, *bands[band_group(DYADIC_LEVELS).start].shape[2:])
    coarse = [COARSE_WIDTH * step for step in step_bands(steps, flat)]
    rounded = [(band / step).round() * step for band, step in zip(bands, coarse, strict=True)]
    return bands_picture(rounded, spectrum.rotations, shear)


def _changes(
    layers: list[np.ndarray],
    coarse_layers: list[np.ndarray],
    pixels: torch.Tensor,
    coarse: torch.Tensor,
) -> np.ndarray:
    """Return squared changes of features, relative to their power, and of pixels, [h, w, 2]."""
    features = [
        np.square(a - b).mean(-1) / max(float(np.square(a).mean()), 1e-12)
        for a, b in zip(layers, coarse_layers, strict=True)
    ]
    errors = torch.nn.functional.avg_pool2d((pixels - coarse).square(), BLOCK).mean(1)
    return np.stack([np.mean(features, 0), errors[0].numpy()], -1)


class _Head(nn.Module):
    """The head in training; the linear path starts as principal axes, the hidden layer at zero."""

    def __init__(self, inputs: torch.Tensor, size: int, hidden: int) -> None:
        super().__init__()
        self.mean, self.deviation = inputs.mean(0), inputs.std(0).clamp_min(1e-3)
        scaled = (inputs - self.mean) / self.deviation
        _, axes = torch.linalg.eigh((scaled.T @ scaled).double())
        self.skip = nn.Linear(HEAD_INPUTS, size)
        self.widen = nn.Linear(HEAD_INPUTS, hidden)
        self.narrow = nn.Linear(hidden, size, bias=False)
        with torch.no_grad():
            self.skip.weight.copy_(axes.flip(1)[:, :size].T)
            nn.init.zeros_(self.skip.bias)
            nn.init.zeros_(self.narrow.weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [n, HEAD_INPUTS] to unit vectors [n, E]."""
        x = (inputs - self.mean) / self.deviation
        embedded = self.skip(x) + self.narrow(torch.relu(self.widen(x)))
        return nn.functional.normalize(embedded, dim=1)

    def export(self) -> SemanticHead:
        """Fold the scaling of the inputs into the matrices."""

        def folded(layer: nn.Linear) -> np.ndarray:
            weight = layer.weight / self.deviation
            bias = layer.bias - weight @ self.mean
            return torch.cat([weight, bias[:, None]], 1).detach().numpy()

        narrow = self.narrow.weight.detach().numpy()
        return SemanticHead(folded(self.widen), narrow.copy(), folded(self.skip))


def contrastive_loss(embedded: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the supervised InfoNCE loss of unit vectors [n, E] with labels int64 [n].

    Each position is attracted by the positions of its label, relative to all others of the batch. A
    position without another one of its label does not count.
    """
    similarity = embedded @ embedded.T / _TEMPERATURE
    similarity = similarity.masked_fill(torch.eye(len(labels), dtype=torch.bool), -torch.inf)
    log_chances = similarity.log_softmax(1)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    positives = same.sum(1)
    sums = log_chances.masked_fill(~same, 0).sum(1)
    means = sums[positives > 0] / positives[positives > 0]
    return -means.mean() if len(means) else embedded.sum() * 0


def fit_head(positions: Positions, recipe: Recipe) -> SemanticHead:
    """Train a head on the pseudo-labels of sampled positions; one photo in ten is held out."""
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    groups = [torch.from_numpy(group) for group in positions.features]
    labels = pseudo_labels(fuse(groups, _AXES_KEPT), recipe.pseudo_labels, _ROUNDS, generator)
    inputs = torch.from_numpy(positions.inputs)
    trained = torch.from_numpy(positions.photo % _HELD_OUT_EVERY > 0)
    if not trained.any() or trained.all():
        trained = torch.ones(len(labels), dtype=torch.bool)
    head = _Head(inputs[trained], recipe.embedding, recipe.head_width)
    _report(head, inputs, labels, trained, "before contrastive learning")
    _train(head, inputs[trained], labels[trained], recipe.contrastive_steps, generator)
    _report(head, inputs, labels, trained, "after contrastive learning")
    return head.export()


def _train(
    head: _Head,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    steps: int,
    generator: torch.Generator,
) -> None:
    optimiser = torch.optim.AdamW(head.parameters(), lr=_LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    for step in range(steps):
        batch = torch.randint(len(labels), (_BATCH,), generator=generator)
        loss = contrastive_loss(head(inputs[batch]), labels[batch])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 250 == 0:
            log.info("contrastive step %d of %d: loss %.4f", step + 1, steps, loss.item())


@torch.no_grad()
def _report(
    head: _Head, inputs: torch.Tensor, labels: torch.Tensor, trained: torch.Tensor, when: str
) -> None:
    """Log how often the nearest training position has the same label as a held-out position."""
    known = torch.nonzero(trained)[:, 0][::4]
    asked = torch.nonzero(~trained)[:, 0][:4000]
    if len(asked) and len(known):
        similarity = head(inputs[asked]) @ head(inputs[known]).T
        right = labels[known][similarity.argmax(1)] == labels[asked]
        share = 100 * right.float().mean().item()
        log.info("%s: %.1f %% of nearest positions share the label", when, share)
