"""The recipe: a small run makes weights that work, and a stopped run goes on as if it had not."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from underpaint import Codec
from underpaint.codec.errors import UsageError, WeightsDamaged
from underpaint.codec.palette.classes import TEXTURE_INDEX
from underpaint.codec.quantize.cells import Cells
from underpaint.codec.training.photos import find_photos
from underpaint.codec.training.residual_bits import ResidualBits
from underpaint.codec.training.run import train
from underpaint.codec.training.samples import CropSource, Samples
from underpaint.codec.training.settings import LiftingPlan, Recipe, TrainingPlan
from underpaint.codec.training.step_log import check_loss
from underpaint.codec.training.train_lifting import LiftingTrainer
from underpaint.codec.training.train_network import NetworkTrainer, pattern
from underpaint.codec.weights.header import SHIPPED
from underpaint.codec.weights.loading import load_weights, unpack_weights

RECIPE = Recipe(classes=8, class_photos=4, class_rounds=3, context_photos=2)
PLAN = TrainingPlan(steps=4, batch=2, crop=64, warm_up=1, checkpoint_every=2, measure_every=4)


class _Stopped(Exception):
    """A crash at the third of four steps."""


def _stop(*_: object) -> None:
    raise _Stopped


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        picture = getattr(data, name)()
        for corner in range(2):
            crop = picture[40 + 60 * corner :, 30 + 90 * corner :][:128, :160]
            Image.fromarray(crop).save(folder / f"{name}-{corner}.png")
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.mark.slow
def test_a_small_run_makes_weights_that_round_trip(photos, tmp_path, caplog):
    output = tmp_path / "weights.safetensors"
    weights = train([str(photos)], output, tmp_path / "run", RECIPE, PLAN, torch.device("cpu"))
    codec = Codec.load(str(output))
    assert codec.weights_id == weights.id
    assert next(weights.network.parameters()).dtype == torch.float32
    picture = data.coffee()[:100, :150]
    stream = codec.encode([picture])[0]
    decoded = codec.decode([stream])[0].astype(float)
    assert np.square(decoded - picture).mean() < 40
    for log in ("weights-training.csv", "weights-held-out.csv", "weights-settings.json"):
        assert (tmp_path / log).exists() == (log != "weights-training.csv")
    settings = json.loads((tmp_path / "weights-settings.json").read_text())
    assert settings["recipe"]["extractor"] == "none: texture alone"
    assert np.linalg.norm(weights.classes.embedding, axis=1) == pytest.approx(1, rel=1e-4)
    again = train([str(photos)], output, tmp_path / "run", RECIPE, PLAN, torch.device("cpu"))
    assert again.id == weights.id
    with pytest.raises(UsageError, match="other settings"):
        train(
            [str(photos)], output, tmp_path / "run", replace(RECIPE, masking=0.1), PLAN,
            torch.device("cpu"),
        )  # fmt: skip


LIFTING = LiftingPlan(
    lifting_steps=4, lifting_widths=(4, 5), lifting_batch=2, lifting_crop=64, lifting_warm_up=1,
    lifting_measure_every=2,
)  # fmt: skip


@pytest.mark.slow
def test_a_run_with_a_lifting_step_fits_what_it_leaves(photos, tmp_path):
    output = tmp_path / "weights.safetensors"
    weights = train(
        [str(photos)], output, tmp_path / "run", RECIPE, PLAN, torch.device("cpu"), lifting=LIFTING
    )
    assert weights.prediction_shape.widths == (4, 5)
    assert all(array.any() for array in weights.prediction_parameters.values())
    plain = unpack_weights((tmp_path / "run/fitted.safetensors").read_bytes())
    assert plain.prediction_shape is None
    assert not np.array_equal(plain.activity, weights.activity)
    codec = Codec.load(str(output))
    picture = data.coffee()[:100, :150]
    decoded = codec.decode(codec.encode([picture]))[0].astype(float)
    assert np.square(decoded - picture).mean() < 40
    assert (tmp_path / "weights-lifting.csv").read_text().startswith("step,state_1")
    assert "lifting" in json.loads((tmp_path / "weights-settings.json").read_text())
    kept = train(
        [str(photos)], tmp_path / "kept.safetensors", tmp_path / "second", RECIPE, PLAN,
        torch.device("cpu"), str(output), "classes",
    )  # fmt: skip
    for name, array in kept.prediction_parameters.items():
        assert np.array_equal(array, weights.prediction_parameters[name])


def test_a_stopped_training_of_the_lifting_step_goes_on_as_if_it_had_not(tmp_path):
    pictures = [data.astronaut()[:96, :128], data.coffee()[:96, :112]]
    codec = Codec.load("fidelity")
    source = CropSource(pictures, lambda photo: codec.quantised([photo])[0], LIFTING.lifting_crop)

    def trainer(folder: str) -> LiftingTrainer:
        weights = load_weights("fidelity").with_prediction(None)
        device = torch.device("cpu")
        return LiftingTrainer(weights, source, source, LIFTING, tmp_path / folder, device)

    through = trainer("through").run()
    half = trainer("half")
    half._measure = _stop
    with pytest.raises(_Stopped):
        half.run()
    assert half._done == 2
    resumed = trainer("half").run()
    for name, known in through.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], known)
    first = through.get_parameter("1.0.weight")
    assert first.any()
    assert first.mean((2, 3)).abs().max() < 1e-6  # blind to the mean of the low band
    assert (tmp_path / "half/log.csv").exists() is False  # every fifty steps


@pytest.mark.parametrize(
    ("scale", "state", "most"),
    [(20.0, Cells(7, 8), 1.01), (6.0, Cells(7, 8), 1.05), (2.0, Cells(1, 2), 1.03)],
)
def test_the_estimate_of_bits_is_the_entropy_where_the_scale_is_known(scale, state, most):
    """Of Laplace draws with the same scale everywhere; a soft edge of the zero cell adds a bit."""
    bits = ResidualBits(2, 6)
    with torch.no_grad():
        bits.weights.fill_(-30)
        bits.weights[..., -1] = np.log(np.expm1(scale / state.width - 0.02))
    draws = np.random.default_rng(4).laplace(0, scale, (1, 9, 96, 96))
    cells = state.index(np.round(draws).astype(int))
    share = np.bincount(cells.ravel() - cells.min()) / cells.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum() * cells.size
    found = bits({1: torch.from_numpy(draws).float()}, state, 3).item()
    assert 1 <= found / entropy <= most


def test_a_stopped_training_goes_on_as_if_it_had_not(tmp_path):
    pictures = [data.astronaut()[:160, :200], data.coffee()[:160, :200]]
    codec = Codec.load()
    source = CropSource(
        pictures[:1], lambda photo: codec.quantised([photo])[0], PLAN.crop, pictures[1:], 0.5
    )

    def trainer(folder: str) -> NetworkTrainer:
        weights, device = load_weights(None), torch.device("cpu")
        samples = Samples(weights, source, PLAN, device)
        return NetworkTrainer(
            weights.network, samples, tmp_path / folder, device, lambda step, network: None
        )

    whole = trainer("whole").run().state_dict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkTrainer, "_log", _stop)
        patch.setattr("underpaint.codec.training.train_network.LOG_EVERY", 3)
        with pytest.raises(_Stopped):
            trainer("stopped").run()
    resumed = trainer("stopped").run().state_dict()
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0)


def test_photos_are_quantised_once_and_when_the_first_crop_is_drawn():
    pictures = [data.astronaut()[:80, :96], data.coffee()[:40, :96], data.chelsea()[:96, :64]]
    codec, asked = Codec.load(), []

    def quantise(photo):
        asked.append(photo)
        return codec.quantised([photo])[0]

    source = CropSource(pictures, quantise, 64)
    assert asked == []
    with ThreadPoolExecutor(4) as pool:
        draws = [pool.submit(source.draw, 2, 1, np.random.default_rng(seed)) for seed in range(8)]
    assert {draw.result()[0].shape for draw in draws} == {(2, 3, 64, 64)}
    assert [photo.shape for photo in asked] == [(80, 96, 3), (96, 64, 3)]
    with pytest.raises(UsageError, match="no photo has sides of 128 pixels or more"):
        CropSource(pictures, quantise, 128).draw(2, 1, np.random.default_rng(0))


def test_no_photos_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match="no such photo"):
        find_photos([str(tmp_path / "nowhere")])
    with pytest.raises(UsageError, match="no photos"):
        find_photos([str(tmp_path)])


def test_weights_of_another_format_are_refused():
    data = SHIPPED.read_bytes()
    assert data.count(b'\\"format\\": 6') == 1
    with pytest.raises(WeightsDamaged) as caught:
        unpack_weights(data.replace(b'\\"format\\": 6', b'\\"format\\": 3'))
    assert caught.value.rule == "W2"


def test_classes_that_are_kept_are_those_of_the_weights_begun_with(photos, tmp_path):
    known = load_weights(None)
    plan = replace(PLAN, steps=0)
    output = tmp_path / "weights.safetensors"
    found = train(
        [str(photos)],
        output,
        tmp_path / "run",
        RECIPE,
        plan,
        torch.device("cpu"),
        str(SHIPPED),
        "classes",
    )
    for name in ("mask", "embedding"):
        kept = getattr(found.classes, name)
        np.testing.assert_array_equal(kept, getattr(known.classes, name))
    ratio = (found.steps / known.steps)[TEXTURE_INDEX]
    assert np.abs(np.log(ratio)).max() > 0.4  # energies are in steps, so classes and head follow
    np.testing.assert_allclose(found.classes.scale * ratio, known.classes.scale, rtol=1e-5)
    np.testing.assert_array_equal(found.head.narrow, known.head.narrow)
    np.testing.assert_array_equal(found.head.skip, known.head.in_steps(ratio).skip)
    assert not np.array_equal(found.head.skip, known.head.skip)
    assert not np.array_equal(found.classes.expected_magnitude, known.classes.expected_magnitude)
    assert not np.array_equal(found.frequencies, known.frequencies)
    state = known.network.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in found.network.state_dict().items())


def test_all_that_is_kept_stays_but_the_statistics_of_latents(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Codec, "quantised", _stop)  # which no step needs
    output = tmp_path / "weights.safetensors"
    found = train(
        [str(photos)], output, tmp_path / "run", replace(RECIPE, latent_photos=3),
        replace(PLAN, steps=0), torch.device("cpu"), str(SHIPPED), "all",
    )  # fmt: skip
    known = load_weights(None)
    for name, array in known.arrays().items():
        assert np.array_equal(found.arrays()[name], array) == (not name.startswith("latents."))
    assert found.parameters.keys() == known.parameters.keys()
    for name, array in known.parameters.items():
        assert np.array_equal(found.parameters[name], array)
    settings = json.loads((tmp_path / "weights-settings.json").read_text())
    assert settings["recipe"]["latent_photos"] == 3


def test_a_pattern_is_what_repeats_with_the_grid():
    rng = np.random.default_rng(2)
    rough = torch.from_numpy(rng.normal(0, 5, (4, 3, 64, 96)))
    grid = torch.from_numpy(rng.normal(0, 1, (16, 16))).repeat(4, 6)
    assert pattern(rough + 30) < 0.5
    assert pattern(grid.expand(4, 3, 64, 96) + 30).item() == pytest.approx(grid.var(correction=0))


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_training_that_diverges_says_so(loss):
    check_loss(1e30, 4, "--learning-rate")
    with pytest.raises(UsageError, match=r"step 5: .* diverged; give a lower --learning-rate "):
        check_loss(loss, 5, "--learning-rate")
