"""From symbols to the picture as docs/stream.md says it, in float64 numpy: the codec gives the
same."""

import json
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from skimage import data
from torch.nn.functional import conv2d

from tests.helpers.predictions import predicting_weights
from underpaint import Codec
from underpaint.codec.transform.subbands import BANDS, band_levels, geometry, view
from underpaint.codec.weights.header import SHIPPED
from underpaint.codec.weights.loading import pack_weights, unpack_weights

STREAM = (Path(__file__).parents[2] / "docs/stream.md").read_text("utf-8")
HEIGHT, WIDTH = 75, 101
SCALE, LIFT = 1.149604398860241, (
    0.443506852043971, 0.882911075530934, -0.052980118572961, -1.586134342059924,
)  # fmt: skip


def _join(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Inverse wavelet along one axis."""
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    n, m = len(a), len(b)
    joined = np.empty((n + m, *a.shape[1:]))
    if m > 0:
        a, b = a / SCALE, b * SCALE
        i, j = np.arange(n), np.arange(m)
        for update, predict in (LIFT[:2], LIFT[2:]):
            a = a - update * (b[np.clip(i - 1, 0, m - 1)] + b[np.clip(i, 0, m - 1)])
            b = b - predict * (a[j] + a[np.clip(j + 1, 0, n - 1)])
    joined[0::2], joined[1::2] = a, b
    return np.moveaxis(joined, 0, axis)


def _inverse(low: np.ndarray, *levels: list[np.ndarray]) -> np.ndarray:
    """Inverse wavelet of `low` [3, rows, columns] and levels [3 orientations][3, ...]."""
    for across, down, both in levels:
        low = _join(_join(low, across, 2), _join(down, both, 2), 1)
    return low


def _fold(x: np.ndarray) -> np.ndarray:
    c, h, w = x.shape
    x = x.reshape(c, h // 2, 2, w // 2, 2).transpose(0, 2, 4, 1, 3)
    return x.reshape(4 * c, h // 2, w // 2)


def _unfold(x: np.ndarray, by: int = 2) -> np.ndarray:
    c, h, w = x.shape
    x = x.reshape(c // by**2, by, by, h, w).transpose(0, 3, 1, 4, 2)
    return x.reshape(c // by**2, h * by, w * by)


class _Reader:
    """Reads pictures with a weights file."""

    def __init__(self, weights: bytes) -> None:
        header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
        found = json.loads(header["__metadata__"]["underpaint"])
        self.codec, self.network = found["codec"], found["network"]
        self.prediction = found.get("prediction", {"widths": []})
        self.tensors = {name: array.astype(float) for name, array in load(weights).items()}

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self._product(name, x) + self.tensors[f"network.{name}.bias"][:, None, None]

    def _product(self, name: str, x: np.ndarray) -> np.ndarray:
        return np.einsum("oi,ihw->ohw", self.tensors[f"network.{name}.weight"], x)

    def _trunk(self, name: str, x: np.ndarray, state: int) -> np.ndarray:
        x = self._linear(f"{name}_in", x)
        x = x + self.tensors[f"network.{name}_state.weight"][state][:, None, None]
        for i in range(self.network[f"{name}_depth"]):
            spatial = (
                torch.from_numpy(self.tensors[f"network.{name}.{i}.spatial.{kind}"])
                for kind in ("weight", "bias")
            )
            y = conv2d(torch.from_numpy(x)[None], *spatial, padding=2, groups=len(x))[0].numpy()
            y = np.maximum(self._linear(f"{name}.{i}.widen", y), 0)
            x = x + self._product(f"{name}.{i}.narrow", y)
        return x

    def _expand(self, v: np.ndarray) -> np.ndarray:
        knee, power = self.codec["compander"]["knee"], self.codec["compander"]["power"]
        return np.sign(v) * knee * ((1 + np.abs(v) * power / knee) ** (1 / power) - 1)

    def _predicted(self, level: int, low: np.ndarray, s: int) -> np.ndarray:
        """Predicted details of a level, [3 orientations, 3 components, rows, columns]."""
        if level > len(self.prediction["widths"]):
            return np.zeros((3, 3, 1, 1))
        x = low / 64
        for j in range(4):
            own = f"prediction.{level}"
            weight = self.tensors[f"{own}.{j}.weight"]
            bias = self.tensors[f"{own}.{j}.bias"] if j else self.tensors[f"{own}.state"][s - 1]
            padded = torch.from_numpy(np.pad(x, ((0, 0), (1, 1), (1, 1)), "edge")[None])
            x = conv2d(padded, torch.from_numpy(weight), torch.from_numpy(bias))[0].numpy()
            if j < 3:
                x = np.maximum(x, 0)
        return 64 * x.reshape(3, 3, *x.shape[1:])

    def picture(
        self,
        turn: np.ndarray,
        maps: list[np.ndarray],
        cells: list[np.ndarray],
        s: int,
        shrink: int = 0,
    ) -> np.ndarray:
        """`cells` of the 57 bands after `s` cell steps; return uint8 [rows, columns, 3].

        The full picture has padded sides, those of a shrink level are divided by 2**shrink.
        """
        tensors, width = self.tensors, self.codec["widths"][s - 1]
        zero, levels = width - 1, band_levels()
        places, steps, bounds = [], [], []
        for band, q in enumerate(cells):
            level, component = levels[band]
            k, sign = np.abs(q), np.sign(q)
            at = tensors["centroids"][s - 1, level, min(component, 1)][np.minimum(k, 3)]
            inner, rim = zero + 0.5 + (k - 1) * width, zero + 0.5
            places.append(self._expand(sign * (inner + width * at)))
            ends = np.sort([sign * inner, sign * (inner + width)], 0)
            bounds.append(self._expand(np.where(q == 0, [[[-rim]], [[rim]]], ends)))
            y, x = np.indices(q.shape)
            mask = 1.0
            if 1 <= level <= 4:
                mask = tensors["classes.mask"][maps[0][y >> (4 - level), x >> (4 - level)]]
            steps.append(tensors["steps"][band] * mask * np.ones(q.shape))

        def members(level: int) -> list[list[int]]:
            if level == 0:
                return [[0, 1, 2]]
            first = 3 + 9 * (6 - level)
            return [[first + 3 * component + o for component in range(3)] for o in range(3)]

        def scaled(level: int) -> list[np.ndarray]:
            return [np.array([places[b] * steps[b] for b in group]) for group in members(level)]

        def joined(low: np.ndarray, *levels: int) -> np.ndarray:
            for level in levels:
                low = _inverse(low, list(scaled(level) + self._predicted(level, low, s)))
            return low

        def seen(level: int) -> np.ndarray:
            return np.array([places[b] / width for group in members(level) for b in group])

        def move(level: int, change: np.ndarray) -> None:
            moved = [b for group in members(level) for b in group]
            for b, by in zip(moved, change, strict=True):
                places[b] = np.clip(places[b] + width * by, *bounds[b])

        unit = (tensors["steps"][:3] * width)[:, None, None]
        embedded = tensors["network.class_embedding.weight"][maps[-1]].transpose(2, 0, 1)
        low = _inverse(scaled(0)[0], scaled(6), scaled(5))
        if shrink > 2:
            low = low if shrink == 4 else joined(low, 4)
            return self._coloured(_resampled(_turned_back(low, turn), shrink))
        x = np.arcsinh(np.concatenate([low / unit, seen(4), _fold(seen(3))]))
        x = self._trunk("coarse", np.concatenate([x, low / 1024, embedded]), s - 1)
        change = self._linear("coarse_out", x)
        low = low + unit * change[:3]
        move(4, change[3:12])
        move(3, _unfold(change[12:]))
        quarter = joined(low, 4, 3)
        if shrink:
            quarter = quarter if shrink == 2 else joined(quarter, 2)
            return self._coloured(_resampled(_turned_back(quarter, turn), shrink))
        y = np.arcsinh(np.concatenate([quarter / unit, seen(2), _fold(seen(1))]))
        y = np.concatenate([y, _unfold(self._linear("share", x), 4)])
        change = self._linear("fine_out", self._trunk("fine", y, s - 1))
        quarter = quarter + unit * change[:3]
        move(2, change[3:12])
        move(1, _unfold(change[12:]))
        return self._coloured(joined(_turned_back(joined(quarter, 2), turn), 1))

    def _coloured(self, samples: np.ndarray) -> np.ndarray:
        light, c1, c2 = samples
        p, q = self.codec["shear"]
        light = light - p * c1 - q * c2
        grey, c1, c2 = 128 + light / 3**0.5, c1 / 2**0.5, c2 / 6**0.5
        rgb = np.stack([grey + c1 - c2, grey + 2 * c2, grey - c1 - c2], -1)
        return np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)


def _turned_back(samples: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Undo the colour rotation of [3, rows, columns]."""
    light, c1, c2 = samples
    (sin_a, sin_b, sin_c), (cos_a, cos_b, cos_c) = (f(turn * np.pi / 256) for f in (np.sin, np.cos))
    light, c2 = light * cos_c - c2 * sin_c, light * sin_c + c2 * cos_c
    light, c1 = light * cos_b - c1 * sin_b, light * sin_b + c1 * cos_b
    c1, c2 = c1 * cos_a - c2 * sin_a, c1 * sin_a + c2 * cos_a
    return np.stack([light, c1, c2])


def _resampled(low: np.ndarray, shrink: int) -> np.ndarray:
    """Move the samples of a low band [3, h, w] to the pixels of the small picture."""
    row = re.search(rf"^\| {shrink} \|((?: -?\d\.\d{{4}} \|){{8}})$", STREAM, re.MULTILINE)[1]
    near, far = np.array(re.findall(r"-?\d\.\d{4}", row), float).reshape(2, 4)
    low = low / 2**shrink
    for axis, side in ((1, HEIGHT), (2, WIDTH)):
        count = -(-side // 2**shrink)
        moved = []
        for i in range(count):
            u = (Fraction(2 * i + 1, 2) * side / count - Fraction(1, 2)) / 2**shrink
            samples = math.floor(u) + np.arange(-1, 3)
            d = np.abs(samples - u).astype(float)
            f = np.where(d < 1, np.polyval(near[::-1], d), np.polyval(far[::-1], d - 1))
            f = np.where(d < 2, f, 0)
            at = np.clip(samples, 0, low.shape[axis] - 1)
            moved.append(np.tensordot(low.take(at, axis), f / f.sum(), (axis, 0)))
        low = np.stack(moved, axis)
    return low


def _restless(weights: bytes, power: float) -> bytes:
    """The weights, their network's last layers drawn at random and their compander bent."""
    tensors = load(weights)
    rng = np.random.default_rng(5)
    for name in ("network.coarse_out.weight", "network.fine_out.weight"):
        tensors[name] = rng.normal(0, 0.01, tensors[name].shape).astype(np.float16)
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    config = json.loads(header["__metadata__"]["underpaint"])
    config["codec"]["compander"] = {"knee": 6.0, "power": power}
    return save(tensors, {"underpaint": json.dumps(config)})


@pytest.mark.parametrize(
    ("power", "profile", "predicts"),
    [(1.0, "perceptual", False), (0.8, "fidelity", False), (1.0, "fidelity", True)],
)
def test_the_picture_is_as_the_page_says(power, profile, predicts):
    weights = SHIPPED.with_name(f"{profile}.safetensors").read_bytes()
    if predicts:
        weights = pack_weights(predicting_weights(profile))
    weights = _restless(weights, power)
    codec = Codec(unpack_weights(weights), dtype=torch.float32)
    picture = data.astronaut()[60 : 60 + HEIGHT, 180 : 180 + WIDTH]
    stream = codec.encode([picture])[0]
    reader, layout, steps = _Reader(weights), geometry(HEIGHT, WIDTH), 0
    assert codec.symbols(stream)[0].any() == (profile == "fidelity")
    for count, plan in enumerate(reader.codec["layers"], 1):
        steps += plan["cell_steps"]
        turn, *maps, flat = codec.symbols(stream[:count])
        cells = [view(flat, layout, band).astype(int) for band in range(BANDS)]
        expected = reader.picture(turn, maps, cells, steps)[:HEIGHT, :WIDTH]
        difference = np.abs(codec.decode([stream[:count]])[0].astype(int) - expected)
        assert difference.max() <= 1
        assert np.count_nonzero(difference) <= 0.01 * difference.size
        for shrink in (1, 2, 3, 4):
            expected = reader.picture(turn, maps, cells, steps, shrink)
            small = codec.decode([stream[:count]], shrink=2**shrink)[0].astype(int)
            assert small.shape == expected.shape
            assert np.abs(small - expected).max() <= 1
