"""The command that counts noticed damage notices all of it, and can tell what it must not."""

import random

import numpy as np
import pytest

from tests.faults import damage
from underpaint.codec.bitstream import frames
from underpaint.codec.errors import StreamError


def test_all_of_some_damage_is_noticed() -> None:
    counts = damage.run(flips=160, cuts=60, seed=3)
    assert sum(counts.values()) == 220
    assert not [outcome for outcome in counts if damage.SILENT in outcome]
    kinds = {outcome.split(":")[0].split("  ")[1] for outcome in counts}
    assert kinds == {"layer", "data", "failed", "commits", "units", "manifest"}


def test_a_change_that_nothing_notices_would_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = damage.Layers()
    monkeypatch.setattr(layers.codec, "check", lambda stream: None)
    assert damage.SILENT in layers.outcome(random.Random(0), cut=False)

    def late(stream: list[bytes]) -> None:
        raise damage.LayerDamaged(len(stream) + 1, "S4", "late")

    monkeypatch.setattr(layers.codec, "check", late)
    assert damage.SILENT in layers.outcome(random.Random(0), cut=True)


def test_a_prefix_that_does_not_decode_would_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = damage.Layers()

    layers.streams = layers.streams[:1]
    error = damage.LayerDamaged(2, "S4", "here")
    calls = iter([error, StreamError("prefix")])

    def check(stream: list[bytes]) -> None:
        raise next(calls)

    monkeypatch.setattr(layers.codec, "check", check)
    chance = random.Random()
    monkeypatch.setattr(chance, "randrange", lambda n: min(2, n - 1))
    assert "do not decode" in layers.outcome(chance, cut=True)


def test_a_small_picture_that_changes_would_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = damage.Layers()
    layers.streams = layers.streams[:1]
    monkeypatch.setattr(layers.codec, "decode", lambda *_, **__: [np.zeros((1, 1, 3), np.uint8)])
    assert "small picture" in layers.outcome(random.Random(0), cut=False)


def test_a_cut_between_parts_is_a_shorter_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = damage.Layers()
    cut = next(stream for stream in layers.streams if len(list(frames(stream))) > len(stream))
    *_, last = frames(cut)
    layers.streams = [cut]
    monkeypatch.setattr(damage, "damaged", lambda data, chance, *, cut: data[: -last.nbytes])
    chance = random.Random()
    monkeypatch.setattr(chance, "randrange", lambda n: n - 1)
    assert layers.outcome(chance, cut=True) == "layer: a shorter stream, cut between two parts"
    assert damage.SILENT not in layers.outcome(chance, cut=True)
