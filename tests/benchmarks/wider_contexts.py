"""Estimates what wider contexts of the zero cell's splits would save.

python -m tests.benchmarks.wider_contexts PHOTOS... --fit PHOTOS...

Splits are sampled from photos. Weights of activities and tables are fitted on one set of photos;
the bits of the other set are their cross-entropy under these tables. All contexts are fitted alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.code_length import CodedPhoto, coded_photos
from underpaint.codec.entropy.activity import BIN_EDGES, BINS, W_EXPECTED
from underpaint.codec.errors import UnderpaintError
from underpaint.codec.palette.classes import MAGNITUDE_UNIT
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.fit_activities import Samples, fit_activity_weights
from underpaint.codec.training.fit_contexts import (
    ACTIVITY_UNIT,
    coded_coefficients,
    magnitudes,
    sample_features,
)
from underpaint.codec.transform.subbands import (
    BANDS,
    BLOCK_SIDE,
    COMPONENT,
    COMPONENTS,
    LEVEL,
    LEVELS,
    OFFSET,
    ORIENTATION,
    ORIENTATIONS,
    PARENT,
    STRIDE,
    band_index,
    view,
)
from underpaint.codec.weights.loading import load_weights
from underpaint.pipelines.cli.console import table

FLAGS, WIDER = "flags of blocks", "wider neighbours"

FLAG_STATES = 3
"""A block had left zero before; it leaves zero in this step, and has shown where; or it has not."""


@dataclass(frozen=True)
class Splits:
    """Sampled splits of the zero cell in one band: `samples`, further features and flag states.

    further  float32 [n, more], by name; state  int [n], below FLAG_STATES
    """

    samples: Samples
    further: dict[str, np.ndarray]
    state: np.ndarray

    def with_features(self, names: Sequence[str]) -> Samples:
        """Return the samples with further features behind their own."""
        features = [self.samples.features, *(self.further[name] for name in names)]
        rest = (self.samples.magnitude, self.samples.was_zero, self.samples.share)
        return Samples(np.concatenate(features, 1), *rest)


def splits_of_step(
    photos: Sequence[CodedPhoto], before: Cells, after: Cells, rng: np.random.Generator
) -> list[Splits]:
    """Sample the splits of one step, for each band."""
    drawn: list[list[Splits]] = [[] for _ in range(BANDS)]
    for photo in photos:
        layout, q = photo.layout, photo.q
        old, new = magnitudes(q, before), magnitudes(q, after)
        coded = coded_coefficients(layout, q, after) & (old == 0)
        sampled = sample_features(layout, old, new, photo.expected, rng, coded)
        for band, at, features in sampled:
            share = np.full(len(at), np.count_nonzero(view(coded, layout, band)) / len(at))
            samples = Samples(features, np.abs(q[at]), np.ones(len(at), bool), share)
            flags, state = features_of_flags(photo, old, new, band, at)
            wider = features_of_neighbours(photo, old, new, band, at)
            drawn[band].append(Splits(samples, {FLAGS: flags, WIDER: wider}, state))
    return [_joined(pieces) for pieces in drawn]


def _joined(pieces: Sequence[Splits]) -> Splits:
    if not pieces:
        return Splits(Samples.joined([]), {}, np.zeros(0, int))
    further = {
        name: np.concatenate([piece.further[name] for piece in pieces]) for name in (FLAGS, WIDER)
    }
    state = np.concatenate([piece.state for piece in pieces])
    return Splits(Samples.joined([piece.samples for piece in pieces]), further, state)


def features_of_flags(
    photo: CodedPhoto, old: np.ndarray, new: np.ndarray, band: int, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return features of a coefficient's block and its eastern and southern ones, and its state.

    They count in widths of a cell, which fitted weights do not depend on.
    """
    row = photo.layout.bands[band]
    if not 1 <= row[LEVEL] <= LEVELS - 2:
        return np.zeros((len(at), 6), np.float32), np.zeros(len(at), int)
    y, x = np.divmod(at - row[OFFSET], row[STRIDE])
    first = band - int(row[ORIENTATION])
    height, width = view(new, photo.layout, band).shape
    had_left, leaves, seen, ahead = np.zeros((4, len(at)), int)
    east, south = np.zeros((2, len(at)), bool)
    for orientation in range(ORIENTATIONS):
        coarse, fine = (view(values, photo.layout, first + orientation) for values in (old, new))
        for place in range(BLOCK_SIDE**2):
            v = y // BLOCK_SIDE * BLOCK_SIDE + place // BLOCK_SIDE
            u = x // BLOCK_SIDE * BLOCK_SIDE + place % BLOCK_SIDE
            inside = (v < height) & (u < width)
            v_in, u_in = np.minimum(v, height - 1), np.minimum(u, width - 1)
            had_left += inside & (coarse[v_in, u_in] > 0)
            news = inside & (coarse[v_in, u_in] == 0) & (fine[v_in, u_in] > 0)
            leaves += news
            earlier = (v < y) | ((v == y) & (u < x))
            coded = earlier if orientation == row[ORIENTATION] else orientation < row[ORIENTATION]
            seen += news & coded
            ahead += inside & (coarse[v_in, u_in] == 0) & ~np.asarray(coded)
            u_east, v_south = u + BLOCK_SIDE, v + BLOCK_SIDE
            inside = (v < height) & (u_east < width)
            east |= inside & (fine[v_in, np.minimum(u_east, width - 1)] > 0)
            inside = (v_south < height) & (u < width)
            south |= inside & (fine[np.minimum(v_south, height - 1), u_in] > 0)
    fresh = had_left == 0
    unseen = fresh & (seen == 0)
    on_east, on_south = x % BLOCK_SIDE == BLOCK_SIDE - 1, y % BLOCK_SIDE == BLOCK_SIDE - 1
    features = [
        fresh, unseen, unseen * 16 / np.maximum(ahead, 1), fresh * np.minimum(seen, 4),
        on_east & east, on_south & south,
    ]  # fmt: skip
    return np.stack(features, 1).astype(np.float32), np.where(fresh, 1 + unseen, 0)


def features_of_neighbours(
    photo: CodedPhoto, old: np.ndarray, new: np.ndarray, band: int, at: np.ndarray
) -> np.ndarray:
    """Return magnitudes that no context looks at, as a decoder knows them."""
    bands = photo.layout.bands
    row = bands[band]
    stride, level, component = row[STRIDE], int(row[LEVEL]), int(row[COMPONENT])
    y, x = np.divmod(at - row[OFFSET], stride)
    down = 2 * stride
    features = [
        old[at + 2] + old[at + down],
        new[at - down - 1] + new[at - down + 1],
        new[at - stride - 2] + new[at - stride + 2],
        old[at + stride - 2] + old[at + stride + 2],
        old[at + down - 1] + old[at + down + 1],
    ]
    parent = int(row[PARENT])
    beside, above, of_others = np.zeros((3, len(at)), int)
    if parent >= 0:
        across = bands[parent, STRIDE]
        of_parent = bands[parent, OFFSET] + (y >> 1) * across + (x >> 1)
        beside = new[of_parent + np.where(x & 1, 1, -1)]
        above = new[of_parent + np.where(y & 1, across, -across)]
        for other in range(ORIENTATIONS):
            if other != row[ORIENTATION]:
                of_others = of_others + _same_place(
                    photo, new, band_index(level + 1, component, other), y >> 1, x >> 1
                )
    features += [beside, above, of_others]
    if level:
        later = [(component, other) for other in range(int(row[ORIENTATION]) + 1, ORIENTATIONS)]
        later += [(other, int(row[ORIENTATION])) for other in range(component + 1, COMPONENTS)]
        known = [_same_place(photo, old, band_index(level, *which), y, x) for which in later]
        features.append(np.sum([np.zeros(len(at), int), *known], 0))
    else:
        features.append(np.zeros(len(at), int))
    return np.stack(features, 1).astype(np.float32)


def _same_place(
    photo: CodedPhoto, values: np.ndarray, band: int, y: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Return a band's values at (y, x), 0 beyond its end."""
    of_band = view(values, photo.layout, band)
    height, width = of_band.shape
    if not of_band.size:
        return np.zeros(len(y), values.dtype)
    inside = (y < height) & (x < width)
    return np.where(inside, of_band[np.minimum(y, height - 1), np.minimum(x, width - 1)], 0)


def _bins(features: np.ndarray, weights: np.ndarray, width: int) -> np.ndarray:
    return np.searchsorted(BIN_EDGES, features @ weights * (64 / width), side="right")


def table_bits(
    learn: Samples, learn_index: np.ndarray, look: Samples, look_index: np.ndarray, zero: int
) -> float:
    """Return the bits of `look` under tables of `learn`; the indices say which table each uses.

    Tables with few counts follow the one of all samples.
    """
    size = 1 + max(learn_index.max(initial=0), look_index.max(initial=0))
    counts = np.zeros((size, 2))
    outcome = (learn.magnitude > zero).astype(int)
    np.add.at(counts, (learn_index, outcome), learn.share / learn.share.mean())
    whole = counts.sum(0) + np.array([1, 0.02])
    counts += 4 * whole / whole.sum()
    bits = -np.log2(counts / counts.sum(1, keepdims=True))
    return float((look.share * bits[look_index, (look.magnitude > zero).astype(int)]).sum())


def step_bits(
    learn: Sequence[Splits], look: Sequence[Splits], stored: np.ndarray, after: Cells
) -> Iterator[tuple[str, float]]:
    """Yield each context by name, with the bits of all splits in `look`.

    `stored` int32 [BANDS, FEATURES] are weights of activities, in units of 1 / ACTIVITY_UNIT.
    """
    weights = stored.astype(np.float64) * after.width / ACTIVITY_UNIT
    weights[:, W_EXPECTED] *= MAGNITUDE_UNIT
    used = [band for band in range(BANDS) if len(learn[band].state) and len(look[band].state)]

    def total(fitted: np.ndarray, names: Sequence[str], by_state: bool) -> float:
        bits = 0.0
        for band in used:
            indexed = []
            for splits in (learn[band], look[band]):
                samples = splits.with_features(names)
                bins = _bins(samples.features, fitted[band], after.width)
                indexed += [samples, bins + BINS * splits.state if by_state else bins]
            bits += table_bits(*indexed, after.zero)
        return bits

    yield "as stored", total(weights, (), False)
    yield "as stored, times the state of the block", total(weights, (), True)
    arms: dict[str, tuple[str, ...]] = {
        "weights fitted to code length": (),
        f"with {FLAGS}": (FLAGS,),
        f"with {WIDER}": (WIDER,),
        "with both": (FLAGS, WIDER),
    }
    for name, names in arms.items():
        more = sum(learn[used[-1]].further[added].shape[1] for added in names)
        start = np.concatenate([weights, np.zeros((BANDS, more))], 1)
        samples = [
            learn[band].with_features(names) if band in used else Samples.joined([])
            for band in range(BANDS)
        ]
        fitted = fit_activity_weights(samples, start, after, np.random.default_rng(1))
        yield name, total(fitted, names, False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the report; 0, or 2 after a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.wider_contexts", description=__doc__.splitlines()[0]
    )
    parser.add_argument("photos", nargs="+", help="photos whose code lengths are estimated")
    parser.add_argument("--fit", nargs="+", required=True, help="other photos, to fit on")
    parser.add_argument("--fit-photos", type=int, default=150, help="number of photos to fit on")
    parser.add_argument("--layers", nargs="+", type=int, default=[4, 5, 6], help="2 or greater")
    parser.add_argument(
        "--weights", help="profile name, path or URL of a weights file (default: perceptual)"
    )
    chosen = parser.parse_args(arguments)
    try:
        weights = load_weights(chosen.weights)
        fitted = coded_photos(weights, chosen.fit, chosen.fit_photos)
        tested = coded_photos(weights, chosen.photos, None)
    except UnderpaintError as error:
        print(f"wider_contexts: {error}", file=sys.stderr)
        return 2
    columns: list[dict[str, float]] = []
    for layer in chosen.layers:
        before, after = weights.config.chain[layer - 1 : layer + 1]
        rng = np.random.default_rng(layer)
        learn, look = (splits_of_step(some, before, after, rng) for some in (fitted, tested))
        columns.append(dict(step_bits(learn, look, weights.activity[layer - 1], after)))
    base = [column["as stored"] for column in columns]
    rows = [["bits of splits", *(f"layer {layer}" for layer in chosen.layers), "all"]]
    for name in columns[0]:
        bits = [column[name] for column in columns]
        changes = [now / then - 1 for now, then in zip(bits, base, strict=True)]
        rows.append([name, *(f"{change:+.2%}" for change in (*changes, sum(bits) / sum(base) - 1))])
    print(f"fitted on {len(fitted)} photos; {len(tested)} other photos, weights {weights.id}\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
