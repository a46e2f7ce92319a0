"""The learned lifting step: compiled rows are tensors to rounding, and the loop is closed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.predictions import random_prediction
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.quantize.closed_loop import ClosedLoop
from underpaint.codec.quantize.compander import Compander
from underpaint.codec.quantize.reconstruction_points import reconstruction_points
from underpaint.codec.transform.colour_rotation import ColourRotation
from underpaint.codec.transform.prediction import DetailPrediction, Predictions
from underpaint.codec.transform.prediction_rows import DetailPredictor
from underpaint.codec.transform.prediction_shape import PredictionShape
from underpaint.codec.transform.subbands import LEVELS
from underpaint.codec.transform.wavelet import analyse, synthesise

STATES = 3
ROTATIONS = [ColourRotation(0, 0, 0), ColourRotation(40, -20, 9)]


@pytest.mark.parametrize("widths", [(1,), (16, 24, 32, 32), (7, 2)])
def test_the_parameters_are_those_of_the_shape(widths):
    shape = PredictionShape(widths, STATES)
    arrays = DetailPrediction(shape).parameter_arrays()
    assert {name: array.shape for name, array in arrays.items()} == shape.parameters()


def test_an_untrained_step_predicts_nothing():
    step = DetailPrediction(PredictionShape((4,), STATES))
    for band in step(1, torch.randn(2, 3, 9, 11), 2):
        assert band.shape == (2, 3, 9, 11)
        assert not band.any()


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 40),
    width=st.integers(1, 18),
    step=st.integers(1, STATES),
    seed=st.integers(0, 99),
)
def test_compiled_rows_predict_what_tensors_do(rows, columns, width, step, seed):
    prediction = random_prediction((width, 3), STATES, seed)
    predictor = DetailPredictor(prediction.shape, prediction.parameter_arrays(), step)
    low = 300 * np.random.default_rng(seed).normal(size=(3, rows, columns)).astype(np.float32)
    for level in (1, 2):
        found = predictor.details(level, low)
        with torch.inference_mode():
            known = torch.cat(prediction(level, torch.from_numpy(low)[None], step), 1)[0].numpy()
        assert found.shape == (9, rows, columns)
        assert np.abs(found - known).max() <= 1e-4 * np.abs(known).max() + 1e-4


def _bands(seed: int) -> list[torch.Tensor]:
    """Bands of two noisy pictures of 48 x 80 pixels."""
    rng = torch.Generator().manual_seed(seed)
    return analyse(300 * torch.randn(2, 3, 48, 80, generator=rng))


@torch.inference_mode()
def test_errors_of_quantisation_do_not_add_up_in_the_loop():
    """Whatever is predicted, a decoder of the finest state is half a step off in each band."""
    bands, size = _bands(1), 8.0
    steps = [torch.tensor(size) for _ in bands]
    predictions = Predictions(random_prediction((6, 5, 4), STATES), ROTATIONS, STATES)
    finest, compander = Cells(0, 1), Compander(8.0, 1.0)
    centroids = np.full((LEVELS + 1, 2, 4), 0.5, np.float32)
    loop = ClosedLoop(finest, 10_000, compander, centroids)
    quantised = loop.quantise(bands, steps, predictions)
    points = reconstruction_points(quantised.indices, finest, compander, centroids)
    decoded = predictions.complete([point * size for point in points])
    for band, found, residual in zip(bands, decoded, quantised.residuals, strict=True):
        assert (band - found).abs().max() <= size / 2 + 1e-2
        assert residual.shape == band.shape
    assert (bands[0] - quantised.residuals[0]).abs().max() > size  # something was predicted
    open_loop = predictions.complete(bands)[0]
    assert (open_loop - bands[0]).abs().max() > size


@torch.inference_mode()
def test_a_beginning_of_the_bands_is_completed_alike():
    """Smaller pictures, and low bands that were joined before, get the same predictions."""
    bands = _bands(2)
    predictions = Predictions(random_prediction((6, 5, 4), STATES), ROTATIONS, 2)
    whole = predictions.complete(bands)
    for finest in (2, 3, 5):
        coarse = predictions.complete(bands[3 * (finest - 1) :], finest)
        for band, known in zip(coarse, whole[3 * (finest - 1) :], strict=True):
            assert torch.equal(band, known)
    low = synthesise(whole[6:])
    joined = predictions.complete([*bands[:6], low])
    for band, known in zip(joined[:6], whole[:6], strict=True):
        assert torch.allclose(band, known, atol=1e-2)
