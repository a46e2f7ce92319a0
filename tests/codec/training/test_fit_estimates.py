"""Fits of estimates: starts are shares counted, and mixing weights averaged over photos."""

from dataclasses import replace

import numpy as np
import pytest
from skimage import data

from underpaint import Codec
from underpaint.codec.entropy.coder import EntropyCoder, Tally
from underpaint.codec.entropy.estimates import CHANCES, LEARNING_SHIFT, Estimates
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.training.fit_estimates import counted, with_estimates
from underpaint.codec.transform.subbands import geometry
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights

PHOTOS = [data.astronaut()[60:190, 180:300], data.coffee()[100:196, 200:360]]
SHAPES = [photo.shape for photo in PHOTOS]


def _blank(profile: str) -> tuple[Weights, list[Symbols]]:
    """Return weights whose estimates know nothing, and the symbols of the photos."""
    weights = load_weights(profile)
    config = weights.config
    neutral = Estimates.neutral(len(config.widths), config.mixes_splits)
    symbols = [Codec(weights).quantised([photo])[0] for photo in PHOTOS]
    return replace(weights, estimates=neutral), symbols


def _length(weights: Weights, symbols: list[Symbols]) -> int:
    return sum(
        len(part)
        for shape, image in zip(SHAPES, symbols, strict=True)
        for parts in EntropyCoder(weights).encode(image, geometry(*shape[:2]), 6)
        for part in parts
    )


def _bits(weights: Weights, symbols: list[Symbols]) -> float:
    bits = 0.0
    for shape, image in zip(SHAPES, symbols, strict=True):
        for parts in EntropyCoder(weights).encode(image, geometry(*shape[:2]), 6):
            bits += (16 - np.log2((np.concatenate(parts) & 0xFFFF) + 1.0)).sum()
    return bits


def test_photos_are_added_up():
    weights, symbols = _blank("fidelity")
    both = counted(weights, SHAPES, symbols)
    alone = [
        counted(weights, [shape], [image]) for shape, image in zip(SHAPES, symbols, strict=True)
    ]
    for name in ("tables", "estimates"):
        first, second = (getattr(tally, name) for tally in alone)
        assert first.any()
        np.testing.assert_array_equal(getattr(both, name), first + second)
    assert weights.estimates.mixing.tobytes() != both.mixing.tobytes()
    known = Estimates.neutral(6, True).mixing
    np.testing.assert_array_equal(weights.estimates.mixing, known)  # the weights keep theirs


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_each_symbol_is_seen_by_all_estimates_of_its_kind(profile):
    weights, symbols = _blank(profile)
    tally, layout = counted(weights, SHAPES, symbols), weights.config.table_layout
    for step in range(1, layout.cell_steps):
        _, _, zero, first, _, sign = layout.cells(step).tolist()
        seen = tally.estimates[step]
        kinds = [seen[:, at : at + 81] for at in (0, 81, 162)]
        signs = tally.tables[sign : sign + 456].sum()
        assert [kind.sum() for kind in kinds] == [signs] * 3
        assert len({kind[..., 1].sum() for kind in kinds}) == 1
        if weights.config.mixes_splits:
            splits = tally.tables[zero:first, :2].sum(0)
            for at in (243, 499):
                np.testing.assert_array_equal(seen[:, at : at + 256].sum((0, 1)), splits)
    assert not tally.estimates[0].any()


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_starts_are_the_shares_counted_and_the_fit_is_deterministic(profile):
    weights, symbols = _blank(profile)
    tally = counted(weights, SHAPES, symbols)
    fitted, again = (with_estimates(weights, tally, SHAPES, symbols).estimates for _ in range(2))
    for name in ("shares", "counts", "mixing"):
        np.testing.assert_array_equal(getattr(fitted, name), getattr(again, name))
    often = tally.estimates.sum(-1) > 100
    share = tally.estimates[often][:, 1] / tally.estimates[often].sum(1)
    assert often.sum() > 20
    np.testing.assert_allclose(fitted.shares[often] / CHANCES, share, atol=0.01)
    assert fitted.counts[often].min() > fitted.counts[tally.estimates.sum(-1) == 0].max()


def test_mixing_weights_are_averaged_over_the_photos_of_the_last_pass(monkeypatch):
    weights, symbols = _blank("fidelity")
    tally = counted(weights, SHAPES, symbols)
    passes: list[tuple[int, np.ndarray, np.ndarray]] = []
    count = EntropyCoder.count

    def recorded(self, image, layout, learned: Tally) -> None:
        before = learned.mixing.copy()
        count(self, image, layout, learned)
        passes.append((learned.learning_shift, before, learned.mixing.copy()))

    monkeypatch.setattr(EntropyCoder, "count", recorded)
    mixing = with_estimates(weights, tally, SHAPES, symbols).estimates.mixing
    shifts, begun, ended = zip(*passes, strict=True)
    assert shifts[-2:] == (LEARNING_SHIFT, LEARNING_SHIFT)
    assert min(shifts) < LEARNING_SHIFT  # the first pass learns faster
    np.testing.assert_array_equal(begun[-1], ended[-2])  # from photo to photo
    np.testing.assert_array_equal(mixing, np.round((ended[-1] + ended[-2]) / 2))
    assert not np.array_equal(ended[-1], ended[-2])


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_fitted_estimates_shorten_the_code(profile):
    weights, symbols = _blank(profile)
    tally = counted(weights, SHAPES, symbols)
    fitted = with_estimates(weights, tally, SHAPES, symbols)
    started = replace(weights, estimates=Estimates.counted(tally.estimates, tally.mixing * 0))
    unmixed = replace(fitted.estimates, mixing=weights.estimates.mixing)
    assert _length(fitted, symbols) == _length(weights, symbols)  # as many symbols
    assert _bits(fitted, symbols) < _bits(replace(fitted, estimates=unmixed), symbols)
    assert _bits(replace(fitted, estimates=unmixed), symbols) < _bits(weights, symbols)
    assert _bits(started, symbols) > _bits(fitted, symbols)
