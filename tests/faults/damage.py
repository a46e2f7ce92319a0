"""Flip bits and cut ends of layers and of archive files, and count what was noticed.

    python tests/faults/damage.py --flips 10000 --cuts 2000

Takes the conformance vectors: half of the damage goes to layers of streams, half to the files of
the archive. Each time everything is read. A layer's damage must be a named error that leaves the
layers before it, and each smaller picture must be as before or a named error; a cut between two
parts of the last layer leaves a shorter stream. A file's damage must be a named error, or change
nothing that a reader uses and be found by the checksum of the file (what `underpaint verify` does).
The columns of the units have checksums of their values, not of their bytes: there, all values must
be as before. Reading that goes on after damage must give rows, or prefixes of rows, that were there
before. Exit status 0 if all of it was noticed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from underpaint import Codec
from underpaint.codec.archive import Archive, Row
from underpaint.codec.archive.commits import read_commit
from underpaint.codec.bitstream import frames
from underpaint.codec.errors import ArchiveError, LayerDamaged, StreamError
from underpaint.codec.storage.files import Storage
from underpaint.codec.transform.sizes import SHRINKS

GOLDEN = Path(__file__).parents[1] / "golden"

SILENT = "SILENT"
"""What must never be counted."""


def vectors() -> Iterator[list[bytes]]:
    """Layers of each conformance stream."""
    for path in sorted(GOLDEN.glob("*.json")):
        lengths = json.loads(path.read_text("utf-8"))["layer_bytes"]
        ends = np.cumsum(lengths)
        joined = path.with_suffix(".underpaint").read_bytes()
        yield [joined[end - n : end] for n, end in zip(lengths, ends, strict=True)]


def damaged(data: bytes, chance: random.Random, *, cut: bool) -> bytes:
    """A copy with one bit flipped, or without its end."""
    if cut:
        return data[: chance.randrange(len(data))]
    copy, bit = bytearray(data), chance.randrange(8 * len(data))
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


class Layers:
    """Damages layers of streams."""

    def __init__(self) -> None:
        self.codec = Codec.load()
        self.streams = list(vectors())
        self.sound: dict[tuple[int, int], bool] = {}
        self.small = [self.small_pictures(stream) for stream in self.streams]

    def small_pictures(self, stream: list[bytes]) -> list[np.ndarray | None]:
        """The picture of each smaller size; None if an error says that it cannot be read."""
        pictures: list[np.ndarray | None] = []
        for shrink in SHRINKS[1:]:
            try:
                [picture] = self.codec.decode([stream], shrink=shrink, refine=False)
                pictures.append(picture)
            except StreamError:
                pictures.append(None)
        return pictures

    def outcome(self, chance: random.Random, *, cut: bool) -> str:
        """What one damage led to."""
        number = chance.randrange(len(self.streams))
        stream = list(self.streams[number])
        layer = chance.randrange(len(stream))
        stream[layer] = damaged(stream[layer], chance, cut=cut)
        if cut and layer + 1 == len(stream) and self.ends_with_a_part(stream):
            return "layer: a shorter stream, cut between two parts"
        for found, known in zip(self.small_pictures(stream), self.small[number], strict=True):
            if found is not None and not np.array_equal(found, known):
                return f"{SILENT}: layer {layer} of stream {number} in a small picture"
        try:
            self.codec.check(stream)
        except StreamError as error:
            place = error.layer if isinstance(error, LayerDamaged) else layer
            if place > layer:
                return f"{SILENT}: layer {layer} of stream {number} passed"
            if place and not self.prefix_is_sound(number, place):
                return f"{SILENT}: the layers before layer {place} do not decode"
            left = "the layers before it decode" if place else "nothing stands before it"
            return f"layer: {type(error).__name__}, {left}"
        return f"{SILENT}: layer {layer} of stream {number}"

    def ends_with_a_part(self, stream: list[bytes]) -> bool:
        """Whether a stream consists of whole parts."""
        try:
            return bool(list(frames(stream)))
        except StreamError:
            return False

    def prefix_is_sound(self, number: int, layers: int) -> bool:
        """Whether the coarsest layers decode to the symbols of the vector; asked once each."""
        known = (number, layers)
        if known not in self.sound:
            try:
                self.codec.check(self.streams[number][:layers])
                self.sound[known] = True
            except StreamError:
                self.sound[known] = False
        return self.sound[known]


class Files:
    """Damages files of an archive."""

    def __init__(self, scratch: Path) -> None:
        self.root = scratch / "archive"
        shutil.copytree(GOLDEN / "archive", self.root)
        self.files = sorted(path for path in self.root.rglob("*") if path.is_file())
        self.rows, self.letters = self.contents()
        self.manifest = Archive.open(self.root).manifest

    def contents(self) -> tuple[dict[str, Row], list[object]]:
        """All rows and dead letters."""
        archive = Archive.open(self.root)
        return {row.key: row for row in archive.rows()}, list(archive.dead_letters())

    def outcome(self, chance: random.Random, *, cut: bool) -> str:
        """What one damage led to."""
        path = chance.choice(self.files)
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, chance, cut=cut))
        try:
            return self._read(path)
        finally:
            path.write_bytes(whole)

    def _read(self, path: Path) -> str:
        folder = path.parent.name if path.parent != self.root else "manifest"
        try:
            if folder == "commits":
                read_commit(Storage(self.root), path.stem)
            if self.contents() != (self.rows, self.letters):
                return f"{SILENT}: {path.name} gives other rows"
        except ArchiveError as error:
            if folder != "data" or self._what_is_left_was_there():
                return f"{folder}: {type(error).__name__} on reading"
            return f"{SILENT}: {path.name} gives other rows after its damage was reported"
        if folder == "units" and Archive.open(self.root).manifest == self.manifest:
            return f"{folder}: no value has changed"
        if any(damage.path.endswith(path.name) for damage in Archive.open(self.root).check_files()):
            return f"{folder}: nothing that is read has changed, its checksum fails"
        return f"{SILENT}: {path.name}"

    def _what_is_left_was_there(self) -> bool:
        """Whether reading on past damage gives nothing but rows, or prefixes of rows, of before.

        All may be left: of a page whose own checksum was hit, each layer's still holds.
        """
        reported: list[object] = []
        archive = Archive.open(self.root)
        left = list(archive.rows(on_damage=reported.append))
        cut = 0
        for row in left:
            sound = self.rows[row.key]
            cut += row.layers != sound.layers
            same = row.layers == sound.layers[: len(row.layers)] and row.layers
            if not same or (row.labels, row.notes) != (sound.labels, sound.notes):
                return False
        return bool(reported) or (cut == 0 and len(left) == len(self.rows))


def run(flips: int, cuts: int, seed: int) -> Counter[str]:
    """Damage at random; outcomes and their numbers."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="damage-") as scratch:
        targets: list[Layers | Files] = [Layers(), Files(Path(scratch))]
        for number in range(flips + cuts):
            cut = number >= flips
            outcome = targets[number % 2].outcome(chance, cut=cut)
            counts[f"{'cut' if cut else 'flip'}  {outcome}"] += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=10_000, help="(default 10000)")
    parser.add_argument("--cuts", type=int, default=2_000, help="(default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts = run(arguments.flips, arguments.cuts, arguments.seed)
    for outcome, count in sorted(counts.items()):
        print(f"{count:7,}  {outcome}")
    silent = sum(count for outcome, count in counts.items() if SILENT in outcome)
    print(f"{arguments.flips:,} flips and {arguments.cuts:,} cuts: {silent:,} not noticed")
    return int(silent > 0)


if __name__ == "__main__":
    sys.exit(main())
