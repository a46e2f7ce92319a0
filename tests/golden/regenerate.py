"""Make the conformance vectors: `python -m tests.golden.regenerate` from the root, half a minute.

They are to be made anew, and only then, when the shipped weights change or a rule of docs/stream.md
does. `README.md` says what a vector is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from skimage import data

from underpaint import Codec
from underpaint.codec.archive import ArchiveWriter, DeadLetter, Row, publish
from underpaint.codec.bitstream import picture_header
from underpaint.codec.entropy.coder import EntropyCoder
from underpaint.codec.entropy.state import Symbols
from underpaint.codec.framing import Framing
from underpaint.codec.palette.merging import MOST_ENTRIES, PaletteState
from underpaint.codec.quantize.cells import FAR_BITS, FAR_GROUPS, NEAR_CELLS
from underpaint.codec.transform.colour_rotation import ColourRotation
from underpaint.codec.transform.sizes import SHRINKS
from underpaint.codec.transform.subbands import BANDS, geometry, view
from underpaint.codec.weights.loading import load_weights
from underpaint.codec.weights.model import Weights

FOLDER = Path(__file__).parent
ARCHIVE = FOLDER / "archive"

GRID = 6
"""Pixels and means are taken on a grid of at most this many rows and columns."""

LEAST_TOLERANCE = {"pixels": 2, "means": 1}
"""Most that a pixel, and the mean of a cell of the grid, may differ in 0..255, where the network
gives the same in bfloat16 as in float32; else twice the largest difference is added."""

LARGEST_BYTES = 300_000
"""Most that all vectors may take."""


@dataclass(frozen=True)
class Vector:
    """One conformance stream: what it exercises, how it is made, and the sizes it is cut for."""

    exercises: str
    make: Callable[[Codec, Weights], Sequence[bytes]]
    sizes: tuple[int, ...] = ()


def _picture(exercises: str, make: Callable[[], np.ndarray], sizes: tuple[int, ...] = ()) -> Vector:
    return Vector(exercises, lambda codec, weights: codec.encode([make()], sizes=sizes)[0], sizes)


def _forged(
    exercises: str, height: int, width: int, make: Callable[[Weights, Symbols], None]
) -> Vector:
    """A stream of symbols that no picture need have: `make` changes those of nothing at all."""

    def pack(codec: Codec, weights: Weights) -> Sequence[bytes]:
        layout = geometry(height, width)
        labels = np.zeros(layout.positions, np.int16)
        one = np.zeros(1, np.int16)
        states = [PaletteState(one, labels, one) for _ in weights.config.palette_budgets]
        symbols = Symbols(states, np.zeros(layout.size, np.int16))
        make(weights, symbols)
        return pack_symbols(weights, symbols, height, width)

    return Vector(exercises, pack)


def pack_symbols(
    weights: Weights, symbols: Symbols, height: int, width: int, sizes: Sequence[int] = ()
) -> list[bytes]:
    """Write symbols as all layers of a stream: integers alone, so the same bytes everywhere."""
    framing = Framing(height, width, weights.id, sizes)
    layout, count = geometry(height, width), len(weights.config.layers)
    coded = EntropyCoder(weights).encode(symbols, layout, count, framing.finest_levels)
    return [framing.layer(intervals) for intervals in coded]


def _many_entries(weights: Weights, symbols: Symbols) -> None:
    """Every class at once, in the finest palette; each parent has one child more than the last."""
    classes = np.arange(min(weights.classes.count, MOST_ENTRIES), dtype=np.int16)
    parents = np.repeat(np.arange(64), np.arange(1, 65))[: classes.size].astype(np.int16)
    firsts = np.flatnonzero(np.diff(parents, prepend=-1))
    rng = np.random.default_rng(1)
    roots, shape = np.zeros(firsts.size, np.int16), symbols.palettes[0].labels.shape
    coarse = _patches(rng, np.zeros(shape, np.int16), roots)
    symbols.palettes[0] = PaletteState(classes[firsts], coarse, roots)
    symbols.palettes[1] = PaletteState(
        classes[::-1].copy(), _patches(rng, coarse, parents), parents
    )


def _patches(rng: np.random.Generator, coarse: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Split the labels `coarse` at random, so that every vote of the neighbours comes up."""
    labels = np.zeros_like(coarse)
    for (y, x), parent in np.ndenumerate(coarse):
        near = [(y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1)]
        known = [labels[v, u] for v, u in near if v >= 0 and 0 <= u < coarse.shape[1]]
        siblings = [label for label in known if parents[label] == parent]
        alike = siblings and rng.random() < 0.7
        labels[y, x] = rng.choice(siblings if alike else np.flatnonzero(parents == parent))
    return labels


def _largest_magnitudes(weights: Weights, symbols: Symbols) -> None:
    """Cells of every size: values at the limit, at each edge of each cell, and small ones."""
    most = weights.config.chain[0].zero
    widths = weights.config.widths
    edges = [e for w in widths for e in (w - 1, w, 2 * w - 1, 2 * w)]
    groups = [NEAR_CELLS + 1 + (((1 << group) - 1) << FAR_BITS) for group in range(FAR_GROUPS)]
    edges += [cell * widths[0] + e for cell in groups for e in (-1, 0)]
    values = np.array([0, 0, 0, most, *(e for e in edges if e <= most)])
    rng = np.random.default_rng(2)
    layout = geometry(40, 56)
    for band in range(BANDS):
        target = view(symbols.q, layout, band)
        target[:] = rng.choice(values, target.shape) * rng.choice([-1, 1], target.shape)
        if band % 5 == 0:
            target[rng.random(target.shape) < 0.9] = 0


def _turned_most(weights: Weights, symbols: Symbols) -> None:
    """Few coefficients, whose colours turn as far as they can."""
    _sparse(weights, symbols)
    symbols.rotation = ColourRotation(-128, 127, 1)


def _sparse(weights: Weights, symbols: Symbols) -> None:
    """Few coefficients of all orders of magnitude: block flags of both kinds in every step."""
    rng = np.random.default_rng(4)
    layout, most = geometry(130, 70), weights.config.chain[0].zero
    for band in range(BANDS):
        target = view(symbols.q, layout, band)
        values = np.floor(2 ** (rng.random(target.shape) * np.log2(most + 1)))
        target[:] = values * rng.choice([-1, 1], target.shape) * (rng.random(target.shape) < 0.02)


def _last_coefficient(weights: Weights, symbols: Symbols) -> None:
    """Nothing but the last coefficient of the last band, at its least and only finest value."""
    view(symbols.q, geometry(48, 80), BANDS - 1)[-1, -1] = -1


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _flat(height: int, width: int, *colour: int) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def _checkerboard() -> np.ndarray:
    return (np.indices((32, 48)).sum(0) % 2 * 255)[..., None].repeat(3, 2).astype(np.uint8)


def _dots() -> np.ndarray:
    picture = _flat(160, 144, 40, 90, 60)
    picture[21, 30] = picture[100:103, 90:93] = (255, 0, 255)
    return picture


def _edges() -> np.ndarray:
    y, x = np.mgrid[:64, :72]
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]])
    return colours[(x + 2 * y) // 40 % 5].astype(np.uint8)


VECTORS: dict[str, Vector] = {
    "one-pixel": _picture(
        "1 x 1 pixels; levels 5 and 6 have no coefficients", lambda: _flat(1, 1, 200, 30, 90)
    ),
    "one-column": _picture(
        "one column of positions: bands without a column; height no multiple of 16",
        lambda: data.astronaut()[100:190, 210:219],
    ),
    "one-row": _picture(
        "one row of positions: bands without a row; width no multiple of 16",
        lambda: data.astronaut()[150:157, 150:255],
    ),
    "odd-sides": _picture(
        "odd sides, 3 x 4 positions: parents and siblings past the edge",
        lambda: data.coffee()[120:157, 200:253],
    ),
    "odd-positions": _picture(
        "5 x 3 positions: odd numbers of coefficients at levels 5 and 6",
        lambda: data.coffee()[200:280, 300:348],
    ),
    "longest-side": _picture(
        "65535 x 1 pixels, the longest side; flat", lambda: _flat(1, 65535, 10, 20, 30)
    ),
    "flat": _picture(
        "one colour: nearly every group is flagged empty", lambda: _flat(70, 70, 7, 250, 128)
    ),
    "noise": _picture("uniform noise: every block flagged, high bins", lambda: _noise(40, 36)),
    "checkerboard": _picture("largest amplitude at the finest level", _checkerboard),
    "dots": _picture("two dots: most blocks flagged empty, block contexts at their edges", _dots),
    "edges": _picture("saturated colours with hard edges: chroma contexts", _edges),
    "photo": _picture(
        "a photo of several textures, a palette that splits",
        lambda: data.astronaut()[20:132, 160:288]
    ),
    "sizes": _picture(
        "layers cut for two sizes, and first layers that are not",
        lambda: data.astronaut()[20:243, 130:385], (56, 112),
    ),
    "sizes-alike": _picture(
        "layers cut for three sizes, two of which are one picture: parts of sizes 0, 2 and 3",
        lambda: data.astronaut()[0:150, 150:310], (16, 18, 40),
    ),
    "many-entries": _forged(
        "every class in one palette, parents with 1 to many children, votes and guesses of all "
        "numbers; no coefficients",
        512, 496, _many_entries,
    ),
    "largest-magnitudes": _forged(
        "values at the limit and on both sides of each cell's edges, both signs, all three tables",
        40, 56, _largest_magnitudes,
    ),
    "sparse": _forged(
        "few coefficients of all orders of magnitude: block flags 0, 1 and 2 in every step",
        130, 70, _sparse,
    ),
    "turned": _forged(
        "the least and the greatest angle, and the least that turns at all", 130, 70, _turned_most
    ),
    "last-coefficient": _forged(
        "empty layers, then one coefficient: the last of the last band, in the last layer",
        48, 80, _last_coefficient,
    ),
}  # fmt: skip


def symbols_digest(codec: Codec, layers: Sequence[bytes]) -> str:
    """Return the SHA-256 that docs/stream.md defines of the symbols of a prefix of layers."""
    header = picture_header(layers)
    rotation, *class_maps, cells = codec.symbols(layers)
    layout = geometry(header.height, header.width)
    arrays = [rotation, *class_maps, *(view(cells, layout, band) for band in range(BANDS))]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype("<i2").tobytes())
    return digest.hexdigest()


def probe(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels at, and means between, evenly spread places: uint8 and float [.., .., 3]."""
    rows, columns = (min(GRID, side) for side in picture.shape[:2])
    height, width = picture.shape[:2]
    y = np.linspace(0, height - 1, rows).astype(int)
    x = np.linspace(0, width - 1, columns).astype(int)
    top = np.linspace(0, height, rows + 1).astype(int)
    left = np.linspace(0, width, columns + 1).astype(int)
    sums = np.add.reduceat(picture.astype(np.int64), top[:-1], 0)
    sums = np.add.reduceat(sums, left[:-1], 1)
    areas = np.outer(np.diff(top), np.diff(left))
    return picture[np.ix_(y, x)], sums / areas[..., None]


def describe(codec: Codec, coarse: Codec, vector: Vector, layers: Sequence[bytes]) -> dict:
    """Return the JSON of a vector; `coarse` is the codec with its network in bfloat16."""
    header = picture_header(layers)
    prefixes = [layers[:n] for n in range(1, len(layers) + 1)]
    pictures = [codec.decode([prefix])[0].astype(int) for prefix in prefixes]
    probes = [probe(picture) for picture in pictures]
    pixels = means = 0.0
    for prefix, picture, known in zip(prefixes, pictures, probes, strict=True):
        found = coarse.decode([prefix])[0].astype(int)
        pixels = max(pixels, np.abs(found - picture).max())
        means = max(means, np.abs(probe(found)[1] - known[1]).max())
    return {
        "exercises": vector.exercises,
        "height": header.height,
        "width": header.width,
        "weights": header.weights_id,
        "sizes": list(vector.sizes),
        "layer_bytes": [len(layer) for layer in layers],
        "sha256": hashlib.sha256(b"".join(layers)).hexdigest(),
        "symbols": [symbols_digest(codec, prefix) for prefix in prefixes],
        "grid": list(probes[0][0].shape[:2]),
        "tolerance": {
            "pixels": int(LEAST_TOLERANCE["pixels"] + 2 * pixels),
            "means": round(float(LEAST_TOLERANCE["means"] + 2 * means), 1),
        },
        "pixels": [at.astype(np.uint8).tobytes().hex() for at, _ in probes],
        "means": [np.rint(means).astype(np.uint8).tobytes().hex() for _, means in probes],
        "small": {
            shrink: probe(codec.decode([layers], shrink=shrink)[0])[0].tobytes().hex()
            for shrink in SHRINKS[1:]
        },
    }


def _write_archive(codec: Codec, streams: dict[str, Sequence[bytes]]) -> None:
    """Two units: whole and cut streams, labels of two types, a dead letter and its retry."""
    common = {"layers": codec.layer_names, "weights_id": codec.weights_id}
    names = ["one-pixel", "odd-sides", "flat", "dots"]
    rows = []
    for number, name in enumerate(names):
        header = picture_header(streams[name])
        rows.append(
            Row(
                key=f"vectors/{name}", layers=tuple(streams[name][: codec.layers - number]),
                width=header.width, height=header.height, source_uri=f"golden:{name}",
                source_sha256=hashlib.sha256(name.encode()).digest(), source_bytes=number,
                source_format="PNG", notes=("made for the test",) if number else (),
                labels={"class": number, "caption": f"größe {number}" if number else None},
            )
        )  # fmt: skip
    schema = {"class": "int64", "caption": "string"}
    with ArchiveWriter(ARCHIVE, "first", label_schema=_schema(schema), **common) as writer:
        for row in rows[:3]:
            writer.add(row)
        writer.fail(DeadLetter("vectors/dots", "golden:dots", "read", "PictureDamaged", "cut", ""))
        writer.fail(DeadLetter("broken", "golden:broken", "read", "PictureTooLarge", "huge", ""))
    with ArchiveWriter(
        ARCHIVE, "first.retry-1", label_schema=_schema(schema), retries="first", **common
    ) as writer:
        writer.add(rows[3])
        writer.fail(DeadLetter("broken", "golden:broken", "read", "PictureTooLarge", "huge", ""))
    publish(ARCHIVE)


def _schema(types: dict[str, str]):
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in types.items()])


def regenerate() -> None:
    """Write every vector and the archive anew."""
    torch.set_num_threads(1)
    weights = load_weights(None)
    codec = Codec(weights, dtype=torch.float32)
    coarse = Codec(load_weights(None), dtype=torch.bfloat16)
    for path in [*FOLDER.glob("*.underpaint"), *FOLDER.glob("*.json")]:
        path.unlink()
    shutil.rmtree(ARCHIVE, ignore_errors=True)
    streams = {}
    for name, vector in VECTORS.items():
        streams[name] = layers = vector.make(codec, weights)
        (FOLDER / f"{name}.underpaint").write_bytes(b"".join(layers))
        described = describe(codec, coarse, vector, layers)
        text = json.dumps(described, indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8")
        print(f"{name:20} {sum(map(len, layers)):7} bytes, tolerance {described['tolerance']}")
    _write_archive(codec, streams)
    total = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.suffix != ".py")
    print(f"weights {codec.weights_id}: {len(VECTORS)} streams and an archive, {total} bytes")


if __name__ == "__main__":
    regenerate()
