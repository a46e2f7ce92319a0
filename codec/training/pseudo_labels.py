"""Pseudo-labels: mini-batch K-means over fused features.

Source: Sculley 2010 (web-scale K-means), with seeds by K-means++ (Arthur and Vassilvitskii 2007) on
a sample.
"""

from __future__ import annotations

import torch

BATCH = 4096
_SEED_SAMPLES = 16
"""Number of candidates of K-means++ for each centre."""


def fuse(groups: list[torch.Tensor], axes_kept: int) -> torch.Tensor:
    """Join groups of features of the same positions, float32 [n, ...], into one vector each.

    Each group is projected to its first `axes_kept` principal axes and scaled to a total variance
    of 1, so that texture and every layer of an extractor have the same weight.
    """
    fused = []
    for group in groups:
        centred = group - group.mean(0)
        scatter = (centred.T @ centred).double() / len(centred)
        _, axes = torch.linalg.eigh(scatter)
        placed = centred @ axes.flip(1)[:, :axes_kept].to(group)
        fused.append(placed / placed.square().sum(1).mean().sqrt().clamp_min(1e-12))
    return torch.cat(fused, 1)


def nearest(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return the nearest centre of each point, int64 [n]."""
    half = centres.square().sum(1) / 2
    return torch.cat([(half - part @ centres.T).argmin(1) for part in points.split(BATCH)])


def pseudo_labels(
    points: torch.Tensor, count: int, rounds: int, generator: torch.Generator
) -> torch.Tensor:
    """Cluster points, float32 [n, D], into at most `count`; return the label of each, int64 [n].

    Makes `rounds` passes over all points in batches of `BATCH`. A centre is the running mean of its
    points, so later batches move it less.
    """
    count = min(count, len(points))
    centres = _seeds(points, count, generator)
    given = torch.ones(count, 1, dtype=points.dtype, device=points.device)
    for _ in range(rounds):
        order = torch.randperm(len(points), generator=generator).to(points.device)
        for batch in order.split(BATCH):
            part = points[batch]
            labels = nearest(part, centres)
            sums = torch.zeros_like(centres).index_add_(0, labels, part)
            sizes = torch.bincount(labels, minlength=count)[:, None].to(points)
            given += sizes
            centres += (sums - sizes * centres) / given
    return nearest(points, centres)


def _seeds(points: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Choose centres at random, with probabilities by squared distance to earlier ones."""
    sample = torch.randperm(len(points), generator=generator)[: _SEED_SAMPLES * count]
    candidates = points[sample.to(points.device)]
    centres = [candidates[0]]
    distance = (candidates - centres[0]).square().sum(1)
    for _ in range(1, count):
        chances = distance.double().cpu() + 1e-12
        chosen = int(torch.multinomial(chances, 1, generator=generator))
        centres.append(candidates[chosen])
        distance = torch.minimum(distance, (candidates - centres[-1]).square().sum(1))
    return torch.stack(centres)
