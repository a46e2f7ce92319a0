"""A second reader of streams: from layers to symbols, written from `docs/stream.md` alone.

It shares no line with `codec`, needs numpy and the standard library only, and is slow and plain:
coefficients are kept in dicts by their place, so that whatever lies beyond an edge is absent and
counts as 0. Where it and the codec disagree, the page is wrong or one of them is.

    python -m tests.helpers.second_reader WEIGHTS VECTOR.json   # compares with a vector
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import json
import math
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EDGES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 66, 87, 114, 150, 197, 259, 340, 448, 589)
BINS = 24
PALETTE_TABLES = 18
SIGN_EDGES = (2, 6, 11, 18, 27, 38, 52)
CELL_TABLES = 4905
BAND, BLOCK, ZERO, FIRST, OTHER, SIGN = 0, 57, 345, 1713, 3081, 4449
COUNT_EDGES = (2, 5, 10, 22, 44, 90)
GROUPS = [(0, c) for c in range(3)] + [(level, c) for level in range(6, 0, -1) for c in range(3)]

Place = tuple[int, int]
Grid = dict[Place, int]


class Refused(ValueError):
    """A layer breaks a numbered rule of the page; the layers before it stand."""

    def __init__(self, layer: int, rule: str):
        super().__init__(f"layer {layer} breaks rule {rule}")
        self.layer = layer
        self.rule = rule


@dataclass(frozen=True)
class Symbols:
    """Symbols of a prefix of layers: turn, class maps int16 [h, w], cells int16 of the 57 bands."""

    turn: np.ndarray
    class_maps: tuple[np.ndarray, ...]
    cells: tuple[np.ndarray, ...]

    def digest(self) -> str:
        """SHA-256 that conformance vectors state, in hexadecimal."""
        arrays = (self.turn, *self.class_maps, *self.cells)
        return hashlib.sha256(b"".join(a.astype("<i2").tobytes() for a in arrays)).hexdigest()


@dataclass(frozen=True)
class Weights:
    """What of a weights file decides symbols; tables as lists of frequencies."""

    id: bytes
    widths: list[int]
    plan: list[tuple[int, int]]
    palette_steps: int
    frequencies: list[list[int]]
    activity: list[list[list[int]]]
    flag_activity: list[list[list[int]]]
    sign_weights: list[list[list[int]]]
    law: list[list[int]]
    mixes_splits: bool
    shares: list[list[list[int]]]
    counts: list[list[list[int]]]
    mixing: list[list[list[int]]]


def read_weights(data: bytes) -> Weights:
    """Read a weights file: a safetensors file with a configuration in its metadata."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header["__metadata__"]["underpaint"])
    if config["format"] != 6:
        raise ValueError(f"weights of format {config['format']}")

    def tensor(name: str) -> list:
        kind = {"U8": "u1", "U16": "<u2", "I16": "<i2", "I32": "<i4"}[header[name]["dtype"]]
        start, end = (8 + length + offset for offset in header[name]["data_offsets"])
        return np.frombuffer(data[start:end], kind).reshape(header[name]["shape"]).tolist()

    plan = [(step["palette_steps"], step["cell_steps"]) for step in config["codec"]["layers"]]
    return Weights(
        hashlib.sha256(data).digest()[:8],
        config["codec"]["widths"],
        plan,
        sum(palette_steps for palette_steps, _ in plan),
        tensor("frequencies"),
        tensor("activity"),
        tensor("flag_activity"),
        tensor("sign_weights"),
        tensor("classes.law"),
        config["codec"]["mixes_splits"],
        tensor("estimates.shares"),
        tensor("estimates.counts"),
        tensor("estimates.mixing"),
    )


@dataclass(frozen=True)
class Part:
    """A part whose frame was read: its place, what its check covers, and its payload."""

    layer: int
    size: int
    last: bool
    head: bytes
    check: int
    body: bytes
    payload: bytes


@dataclass(frozen=True)
class Header:
    """What the first part tells of the picture."""

    weights_id: bytes
    height: int
    width: int
    cuts: tuple[int, ...]

    def finest(self, part: Part) -> int:
        """Return the finest level that a part holds."""
        return 1 if part.last or part.size == 3 else self.cuts[part.size] + 1


def states(layers: Sequence[bytes], weights: Weights, shrink: int = 0) -> Iterator[Symbols]:
    """Yield the symbols of the first layer, of the first two, …; raise Refused at a broken rule.

    Each item of `layers` holds the parts of one layer. `shrink` is the number of finest levels that
    are left out.
    """
    if not layers:
        raise Refused(0, "S9")
    picture: Picture | None = None
    header: Header | None = None
    checks: dict[int, int] = {}
    for place, layer in enumerate(layers):
        parts, header = _parts(layer, place, header)
        wanted = _wanted(parts, header, shrink, place)
        checks = _verified(wanted, checks)
        if picture is None:
            if header.weights_id != weights.id:
                raise Refused(0, "S10")
            picture = Picture(header.height, header.width, weights)
        if place >= len(weights.plan):
            raise Refused(place, "S11")
        coarser = None
        for part in wanted:
            coder = Coder(part.payload, weights.frequencies)
            finest = header.finest(part)
            picture.read_part(coder, place, coarser, max(finest, shrink + 1))
            whole = coder.state == 1 << 31 and coder.used == len(coder.words)
            if finest > shrink and not whole:
                raise Refused(place, "S13")
            coarser = finest
        yield picture.symbols(shrink)


def _parts(layer: bytes, place: int, header: Header | None) -> tuple[list[Part], Header]:
    """Read the frames of the parts of one layer."""
    found: list[Part] = []
    while layer or not found:
        part, layer, header = _part(layer, place, header, found)
        found.append(part)
    assert header is not None
    return found, header


def _part(
    data: bytes, place: int, header: Header | None, before: list[Part]
) -> tuple[Part, bytes, Header]:
    """Read the frame of a part; return it, the bytes behind it, and the header."""
    at, first = 0, header is None
    if not data:
        raise Refused(place, "S1")
    if first:
        if data[0] != 0xB7:
            raise Refused(place, "S2")
        if len(data) < 2:
            raise Refused(place, "S1")
        if data[1] != 6:
            raise Refused(place, "S3")
        at = 2
    if at >= len(data):
        raise Refused(place, "S1")
    layer, size, last = data[at] & 15, data[at] >> 4 & 3, bool(data[at] & 64)
    in_order = size > before[-1].size and not before[-1].last if before else size == 0
    if data[at] & 128 or layer != place or not in_order:
        raise Refused(place, "S5")
    words, at = _length(data, at + 1, place)
    head, start = data[:at], at + 4
    end = start + (13 if first else 0) + 4 * words
    if words < 2:
        raise Refused(place, "S8")
    if end > len(data) or end > 1 << 30:
        raise Refused(place, "S1")
    body = data[start:end]
    if header is None:
        header = _picture_header(body)
    left_out = 0 if size == 3 else header.cuts[size]
    if (size > 0 and left_out == header.cuts[size - 1]) or (left_out == 0 and not last):
        raise Refused(place, "S5")
    check = int.from_bytes(data[at : at + 4], "little")
    payload = body[13:] if first else body
    return Part(layer, size, last, head, check, body, payload), data[end:], header


def _length(data: bytes, at: int, place: int) -> tuple[int, int]:
    words = 0
    for i in range(5):
        if at + i >= len(data):
            raise Refused(place, "S1")
        words |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            if i > 0 and data[at + i] == 0:
                break
            return words, at + i + 1
    raise Refused(place, "S6")


def _picture_header(body: bytes) -> Header:
    weights_id, height, width, code = struct.unpack_from("<8sHHB", body)
    if (height + 1) * (width + 1) > 1 << 28:
        raise Refused(0, "S7")
    cuts = (code % 5, code // 5 % 5, code // 25 % 5)
    if code > 124 or cuts[0] < cuts[1] or cuts[1] < cuts[2]:
        raise Refused(0, "S14")
    return Header(weights_id, height + 1, width + 1, cuts)


def _wanted(parts: list[Part], header: Header, shrink: int, place: int) -> list[Part]:
    """Return the parts that a picture needs, which must be there."""
    coarsest = 7
    for number, part in enumerate(parts):
        sizes = range(parts[number - 1].size + 1 if number else 0, part.size)
        if any(header.cuts[size] + 1 < coarsest for size in sizes):
            break  # a size between the two has levels of its own, and no part
        coarsest = header.finest(part)
        if coarsest <= shrink + 1:
            return parts[: number + 1]
    raise Refused(place, "S9")


def _verified(parts: list[Part], coarser: dict[int, int]) -> dict[int, int]:
    """Compare the checks of a layer; return them by size."""
    checks: dict[int, int] = {}
    smaller = 0
    for part in parts:
        same = [check for size, check in sorted(coarser.items()) if size <= part.size]
        before = struct.pack("<II", same[-1] if same else 0, smaller)
        if zlib.crc32(before + part.head + part.body) != part.check:
            raise Refused(part.layer, "S4")
        checks[part.size] = smaller = part.check
    return checks


class Coder:
    """A payload, symbol by symbol."""

    def __init__(self, payload: bytes, tables: list[list[int]]):
        self.words = struct.unpack(f"<{len(payload) // 4}I", payload)
        self.state = (self.words[0] << 32) + self.words[1]
        self.used = 2
        self.tables = tables

    def symbol(self, table: int) -> int:
        return self.one_of(self.tables[table])

    def bit(self, frequency: int) -> int:
        """Read a symbol of two, of which 1 has a frequency."""
        return self.one_of([65536 - frequency, frequency])

    def one_of(self, frequencies: list[int]) -> int:
        high, slot = divmod(self.state, 65536)
        starts = list(itertools.accumulate(frequencies, initial=0))
        symbol = next(s for s, end in enumerate(starts[1:]) if slot < end)
        self.state = frequencies[symbol] * high + slot - starts[symbol]
        if self.state < 1 << 31:
            word = self.words[self.used] if self.used < len(self.words) else 0
            self.state = (self.state << 32) + word
            self.used += 1
        return symbol

    def number(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = 2 * value + self.symbol(0)
        return value


@dataclass(frozen=True)
class Band:
    """Sides of a band and which bands its relatives are; None: the coefficient itself."""

    level: int
    rows: int
    columns: int
    parent: int | None
    siblings: tuple[int | None, int | None]
    lightness: int | None
    other_chroma: int | None


def bands(height: int, width: int) -> list[Band]:
    """Return the 57 bands of a picture in walking order."""
    rows, columns = -(-height // 16) * 16, -(-width // 16) * 16
    sides = {}
    for level in range(1, 7):
        sides[level, 0] = -(-rows // 2), columns // 2
        sides[level, 1] = rows // 2, -(-columns // 2)
        sides[level, 2] = rows // 2, columns // 2
        rows, columns = -(-rows // 2), -(-columns // 2)
    sides[0, 0] = rows, columns
    found = []
    for level, component in GROUPS:
        for orientation in range(3 if level else 1):
            own = _number(level, component, orientation)
            first = own - 1 if orientation else None
            found.append(
                Band(
                    level,
                    *sides[level, orientation],
                    _number(level + 1, component, orientation) if 1 <= level <= 5 else None,
                    (first, own - 2 if orientation == 2 else first),
                    _number(level, 0, orientation) if component else None,
                    _number(level, 1, orientation) if component == 2 else None,
                )
            )
    return found


def _number(level: int, component: int, orientation: int) -> int:
    return 3 + 9 * (6 - level) + 3 * component + orientation if level else component


def _bits(numbers: int) -> int:
    """Return the least b with 2^b >= numbers."""
    return (numbers - 1).bit_length()


def _bin(activity: int) -> int:
    return bisect.bisect_right(EDGES, activity >> 10)


class Picture:
    """All that goes on from layer to layer of one stream."""

    def __init__(self, height: int, width: int, weights: Weights):
        self.weights = weights
        self.rows, self.columns = -(-height // 16), -(-width // 16)
        self.bands = bands(height, width)
        self.turn = [0, 0, 0]
        self.entries = 1
        self.labels = {(y, x): 0 for y in range(self.rows) for x in range(self.columns)}
        self.class_maps: list[Grid] = []
        self.cells: list[Grid] = [{} for _ in self.bands]
        self.magnitudes: list[Grid] = [{} for _ in self.bands]
        self.flags: dict[Place, Grid] = {group: {} for group in GROUPS if 1 <= group[0] <= 4}
        self.sums: dict[Place, Grid] = {group: {} for group in self.flags}

    def symbols(self, shrink: int = 0) -> Symbols:
        """Lay out class maps and cells as arrays, of the levels that are not left out."""
        class_maps = [_array(self.rows, self.columns, classes) for classes in self.class_maps]
        cells = [
            _array(band.rows, band.columns, cells)
            for band, cells in zip(self.bands, self.cells, strict=True)
            if band.level == 0 or band.level > shrink
        ]
        return Symbols(np.array(self.turn, np.int16), tuple(class_maps), tuple(cells))

    def read_part(self, coder: Coder, layer: int, coarser: int | None, finest: int) -> None:
        """Read levels down to `finest`; `coarser` is that of the part before, None in the first."""
        palette_steps, cell_steps = self.weights.plan[layer]
        if coarser is None:
            if layer == 0 and coder.number(1) == 1:
                self.turn = [coder.number(8) - 128 for _ in range(3)]
                if self.turn == [0, 0, 0]:
                    raise Refused(0, "S20")
            for _ in range(palette_steps):
                self._palette_step(coder, layer)
        first_step = sum(steps for _, steps in self.weights.plan[:layer])
        groups = [
            group
            for group in GROUPS
            if (group[0] or 7) >= finest and (coarser is None or 0 < group[0] < coarser)
        ]
        for step in range(first_step, first_step + cell_steps):
            self._cell_step(coder, layer, step, groups)

    def _palette_step(self, coder: Coder, layer: int) -> None:
        known = len(self.weights.law)
        classes: list[int] = []
        children: dict[int, list[int]] = {parent: [] for parent in range(self.entries)}
        parent = 0
        for entry in range(1 + coder.number(8)):
            classes.append(coder.number(_bits(known)))
            if entry > 0 and self.entries > 1:
                parent += coder.number(1)
            if classes[-1] >= known:
                raise Refused(layer, "S15")
            if parent >= self.entries:
                raise Refused(layer, "S16")
            children[parent].append(entry)
        if not all(children.values()):
            raise Refused(layer, "S16")
        tables = 1 + PALETTE_TABLES * len(self.class_maps)
        labels: Grid = {}
        for place, before in self.labels.items():
            labels[place] = _label(coder, tables, place, labels, children[before])
            if labels[place] not in children[before]:
                raise Refused(layer, "S17")
        self.labels, self.entries = labels, len(classes)
        self.class_maps.append({place: classes[label] for place, label in labels.items()})

    def _cell_step(self, coder: Coder, layer: int, step: int, groups: Sequence[Place]) -> None:
        width = self.weights.widths[step]
        width_before = self.weights.widths[step - 1] if step else width
        zero_before = width_before - 1 if step else 130 * width - 1
        split = CellStep(
            step,
            1 + PALETTE_TABLES * self.weights.palette_steps + CELL_TABLES * step,
            width,
            width_before,
            width - 1,
            zero_before,
        )
        for group in groups:
            numbers = [_number(*group, way) for way in range(3 if group[0] else 1)]
            if coder.symbol(split.tables + BAND + numbers[0]):
                if group in self.flags:
                    self._block_flags(coder, split, group, numbers)
                for number in numbers:
                    chances = Chances(self.weights, split, number) if split.halves else None
                    self._cells(coder, split, group, number, chances)
            elif any(self.cells[number] for number in numbers):
                raise Refused(layer, "S18")
            elif group in self.flags:
                self.flags[group] = {}

    def _block_flags(self, coder: Coder, split: CellStep, group: Place, numbers: list[int]) -> None:
        level, component = group
        block_group = 3 * (4 - level) + component
        weights = self.weights.flag_activity[split.step][block_group]
        sums, self.flags[group] = self.sums[group], {}
        for y in range(-(-self.rows * 16 // 2 ** (level + 2))):
            for x in range(-(-self.columns * 16 // 2 ** (level + 2))):
                if sums.get((y, x)):
                    self.flags[group][y, x] = 2
                    continue
                law = self._law(_scaled(y, x, 2 - level))
                features = self._block_features(split.width, group, y, x)
                features += (sum(law[number] for number in numbers) // 3, 1)
                context = _bin(sum(a * b for a, b in zip(weights, features, strict=True)))
                table = split.tables + BLOCK + BINS * block_group + context
                self.flags[group][y, x] = coder.symbol(table)

    def _block_features(self, width: int, group: Place, y: int, x: int) -> tuple[int, ...]:
        def flagged(group: Place, y: int, x: int) -> int:
            return width * min(1, self.flags[group].get((y, x), 0))

        def total(group: Place, y: int, x: int) -> int:
            return self.sums[group].get((y, x), 0)

        def either(group: Place, y: int, x: int) -> int:
            return flagged(group, y, x) + (total(group, y, x) >> 2)

        level, component = group
        sides = ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x))
        corners = ((y - 1, x - 1), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x + 1))
        return (
            flagged(group, y, x - 1),
            flagged(group, y - 1, x),
            flagged(group, y - 1, x - 1) + flagged(group, y - 1, x + 1),
            sum(total(group, *place) for place in sides) >> 2,
            sum(total(group, *place) for place in corners) >> 2,
            either((level + 1, component), y >> 1, x >> 1) if level < 4 else 0,
            either((level, 0), y, x) if component else 0,
        )

    def _cells(
        self, coder: Coder, split: CellStep, group: Place, number: int, chances: Chances | None
    ) -> None:
        band = self.bands[number]
        flags = self.flags.get(group)
        for y in range(band.rows):
            for x in range(band.columns):
                if flags is None or flags[y >> 2, x >> 2]:
                    self._cell(coder, split, group, number, (y, x), chances)

    def _cell(
        self,
        coder: Coder,
        split: CellStep,
        group: Place,
        number: int,
        place: Place,
        chances: Chances | None,
    ) -> None:
        y, x = place
        weights = self.weights.activity[split.step][number]
        features = self._features(number, y, x)
        activity = sum(a * b for a, b in zip(weights, features, strict=True))
        index = split.tables + BINS * number + _bin(activity)
        before = self.cells[number].get((y, x), 0)
        if before == 0:
            if chances:
                cell = self._leaves_zero(coder, split, number, place, chances, activity)
            else:
                cell = _first_cell(coder, index) if split.step == 0 else coder.symbol(index + ZERO)
            if cell:
                cell *= self._sign(coder, split, number, place, chances)
        else:
            symbol = coder.symbol(index + (FIRST if abs(before) == 1 else OTHER))
            edge = split.zero_before + (abs(before) - 1) * split.width_before - split.zero
            cell = edge // split.width + 1 + symbol
            cell = cell if before > 0 else -cell
        if cell == 0:
            return
        magnitude = split.zero + abs(cell) * split.width - (split.width >> 1)
        if group in self.sums:
            sums, block = self.sums[group], (y >> 2, x >> 2)
            growth = magnitude - self.magnitudes[number].get((y, x), 0)
            sums[block] = sums.get(block, 0) + growth
        self.cells[number][y, x] = cell
        self.magnitudes[number][y, x] = magnitude

    def _leaves_zero(
        self,
        coder: Coder,
        split: CellStep,
        number: int,
        place: Place,
        chances: Chances,
        activity: int,
    ) -> int:
        by_activity = ("split by activity", _bin(activity))
        if not self.weights.mixes_splits:
            return chances.alone(coder, by_activity)
        y, x = place
        band = self.bands[number]

        def widths(of: int | None, y: int, x: int) -> int:
            # a coefficient that stands for a relative is in cell 0
            return (
                min(3, self.magnitudes[of].get((y, x), 0) // split.width) if of is not None else 0
            )

        digits = [widths(band.parent, y >> 1, x >> 1)]
        digits += [widths(of, y, x) for of in (*band.siblings, band.lightness)]
        scaled = min(max(activity >> 10, 0), 1023)
        near = scaled if scaled < 32 else min(32 + (scaled - 32) // 16, 63)
        return chances.mixed(
            coder,
            "splits",
            [
                by_activity,
                ("split by relatives", _in_base(4, digits)),
                ("split by what is near", 4 * near + widths(number, y, x - 1)),
            ],
        )

    def _sign(
        self, coder: Coder, split: CellStep, number: int, place: Place, chances: Chances | None
    ) -> int:
        signs = self._signs(number, *place)
        weights = self.weights.sign_weights[split.step][number]
        lean = sum(weight * sign for weight, sign in zip(weights, signs, strict=True))
        context = bisect.bisect_right(SIGN_EDGES, abs(lean))
        likely = -1 if lean < 0 else 1
        if chances is None:
            wrong = coder.symbol(split.tables + SIGN + 8 * number + context)
            return -likely if wrong else likely
        around, related = signs[:4], [signs[8], signs[9], signs[10]]
        plus = chances.mixed(
            coder,
            "signs",
            [
                ("sign by context", context),
                ("sign by what is around", _sign_digits(around)),
                ("sign by relatives and west", _sign_digits([*related, signs[0]])),
                ("sign by relatives and north", _sign_digits([*related, signs[2]])),
            ],
            first_against=likely > 0,
        )
        return 1 if plus else -1

    def _signs(self, number: int, y: int, x: int) -> list[int]:
        """Return the signs that a sign context sees, in the order of its weights."""
        band, own = self.bands[number], self.cells[number]
        around = [own.get((y, x + dx), 0) for dx in (-1, 1)]
        around += [own.get((y + dy, x), 0) for dy in (-1, 1)]
        around += [own.get((y, x + dx), 0) for dx in (-2, 2)]
        around += [own.get((y + dy, x), 0) for dy in (-2, 2)]
        for relative, place in (
            (band.lightness, (y, x)),
            (band.other_chroma, (y, x)),
            (band.parent, (y >> 1, x >> 1)),
        ):
            around.append(0 if relative is None else self.cells[relative].get(place, 0))
        return [(cell > 0) - (cell < 0) for cell in around]

    def _features(self, number: int, y: int, x: int) -> tuple[int, ...]:
        band, own = self.bands[number], self.magnitudes[number]
        itself = own.get((y, x), 0)

        def relative(number: int | None, y: int, x: int) -> int:
            return itself if number is None else self.magnitudes[number].get((y, x), 0)

        first, second = band.siblings
        return (
            own.get((y, x - 1), 0),
            own.get((y, x + 1), 0),
            own.get((y - 1, x), 0),
            own.get((y + 1, x), 0),
            own.get((y - 1, x - 1), 0) + own.get((y - 1, x + 1), 0),
            own.get((y + 1, x - 1), 0) + own.get((y + 1, x + 1), 0),
            own.get((y, x - 2), 0) + own.get((y - 2, x), 0),
            relative(band.parent, y >> 1, x >> 1),
            relative(first, y, x) + relative(second, y, x),
            relative(band.lightness, y, x),
            relative(band.other_chroma, y, x),
            self._law(_scaled(y, x, 4 - (band.level or 6)))[number],
            1,
        )

    def _law(self, position: Place) -> list[int]:
        return self.weights.law[self.class_maps[-1][position]]


@dataclass(frozen=True)
class CellStep:
    """A step of the scalar chain: its number, first table, and both states."""

    step: int
    tables: int
    width: int
    width_before: int
    zero: int
    zero_before: int

    @property
    def halves(self) -> bool:
        """Whether splits of cell 0 and signs are coded with estimates."""
        grows = self.zero_before - self.zero == self.width
        return self.width_before == 2 * self.width and grows


Kind = tuple[str, int]

INPUTS = {"signs": range(4), "splits": range(4, 7)}
"""Mixing weights of the two symbols that mixed estimates code."""


class Chances:
    """The estimates of one band in one step: shares and counts by kind and index, and mixing."""

    def __init__(self, weights: Weights, split: CellStep, number: int):
        def stored(table: int, bins: int) -> list[int]:
            first = split.tables + table + bins * number
            return [row[1] for row in weights.frequencies[first : first + bins]]

        beside = (weights.shares[split.step][number], weights.counts[split.step][number])
        kinds = {"split by activity": stored(ZERO, BINS), "sign by context": stored(SIGN, 8)}
        self.count: dict[Kind, int] = {}
        at = 0
        for kind, size in (
            ("sign by what is around", 81),
            ("sign by relatives and west", 81),
            ("sign by relatives and north", 81),
            ("split by relatives", 256),
            ("split by what is near", 256),
        ):
            shares, counts = (values[at : at + size] for values in beside)
            kinds[kind] = shares
            self.count |= {(kind, index): count for index, count in enumerate(counts)}
            at += size
        self.share: dict[Kind, int] = {
            (kind, index): 64 * share
            for kind, shares in kinds.items()
            for index, share in enumerate(shares)
        }
        self.mixing = list(weights.mixing[split.step][number])

    def alone(self, coder: Coder, estimate: Kind) -> int:
        symbol = coder.bit(self.share[estimate] >> 6)
        self._move(estimate, symbol)
        return symbol

    def mixed(
        self, coder: Coder, of: str, estimates: list[Kind], first_against: bool = False
    ) -> int:
        """Read a symbol; a 1 may speak against the first estimate."""
        odds = [_log_odds(self.share[estimate] >> 10) for estimate in estimates]
        odds[0] *= -1 if first_against else 1
        weights = [self.mixing[k] for k in INPUTS[of]]
        mixed = sum(w * d for w, d in zip(weights, odds, strict=True)) >> 16
        chance = _chance(max(-1535, min(1535, mixed)))
        symbol = coder.bit(chance)
        for k, d in zip(INPUTS[of], odds, strict=True):
            moved = self.mixing[k] + (((65536 * symbol - chance) * d + 16384) >> 15)
            self.mixing[k] = max(-131072, min(131072, moved))
        for estimate in estimates:
            turned = first_against and estimate == estimates[0]
            self._move(estimate, 1 - symbol if turned else symbol)
        return symbol

    def _move(self, estimate: Kind, symbol: int) -> None:
        shift = 7
        if estimate in self.count:
            shift = 1 + bisect.bisect_right(COUNT_EDGES, self.count[estimate])
            self.count[estimate] = min(90, self.count[estimate] + 1)
        target = (1 << 22) - 64 if symbol else 64
        self.share[estimate] += (target - self.share[estimate]) >> shift


@functools.cache
def _log_odds(i: int) -> int:
    return round(128 * math.log((i + 0.5) / (4095 - i + 0.5)))


@functools.cache
def _chance(log_odds: int) -> int:
    return max(1, min(65535, round(65536 / (1 + math.exp(-log_odds / 128)))))


def _in_base(base: int, digits: Sequence[int]) -> int:
    return functools.reduce(lambda number, digit: base * number + digit, digits, 0)


def _sign_digits(signs: Sequence[int]) -> int:
    """Return the number to base 3 whose digits are 0, 1 for plus and 2 for minus."""
    return _in_base(3, [2 if sign < 0 else sign for sign in signs])


def _first_cell(coder: Coder, index: int) -> int:
    """Read the number of a cell of the first state, which the root splits into at once."""
    size = coder.symbol(index + ZERO)
    if size < 2:
        return size
    near = coder.symbol(index + FIRST)
    if near < 4:
        return 2 + near
    far = coder.symbol(index + OTHER)
    return 2 + 2 ** (2 + far) + coder.number(2 + far)


def _label(coder: Coder, tables: int, place: Place, labels: Grid, children: list[int]) -> int:
    if len(children) == 1:
        return children[0]
    y, x = place
    votes: dict[int, int] = {}
    for neighbour in ((y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1)):
        if labels.get(neighbour) in children:
            votes[labels[neighbour]] = votes.get(labels[neighbour], 0) + 1
    guesses, number = list(votes), min(len(votes), 3)
    if guesses and coder.symbol(tables + 3 * (votes[guesses[0]] - 1) + number - 1):
        return guesses[0]
    if number > 1 and coder.symbol(tables + 12 + 2 * (votes[guesses[1]] - 1) + number - 2):
        return guesses[1]
    return children[0] + coder.number(_bits(len(children)))


def _scaled(y: int, x: int, shift: int) -> Place:
    """Divide a place by 2^shift, rounding down; multiply where shift is negative."""
    return (y >> shift, x >> shift) if shift >= 0 else (y << -shift, x << -shift)


def _array(rows: int, columns: int, grid: Grid) -> np.ndarray:
    array = np.zeros((rows, columns), np.int16)
    for place, value in grid.items():
        array[place] = value
    return array


def main(weights_path: str, vector_path: str) -> int:
    """Compare the prefixes of a conformance vector with what its JSON states."""
    vector = json.loads(Path(vector_path).read_text("utf-8"))
    joined = Path(vector_path).with_suffix(".underpaint").read_bytes()
    ends = np.cumsum(vector["layer_bytes"]).tolist()
    layers = [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    weights = read_weights(Path(weights_path).read_bytes())
    digests = [symbols.digest() for symbols in states(layers, weights)]
    for n, (found, stated) in enumerate(zip(digests, vector["symbols"], strict=True), start=1):
        print(f"{n} layers: {'equal' if found == stated else 'OTHER'} symbols {found}")
    return digests != vector["symbols"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
