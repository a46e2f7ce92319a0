"""Tests of `codec.runtime.imports`."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from underpaint.codec.runtime.imports import hidden, without_collection


def test_the_collector_pauses_and_goes_on() -> None:
    assert gc.isenabled()
    with without_collection():
        assert not gc.isenabled()
        with without_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_paused_collector_stays_paused() -> None:
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError, match="in between"), without_collection():
        raise ValueError("in between")
    assert gc.isenabled()


def test_frozen_objects_are_not_collected_again() -> None:
    program = (
        "import gc\n"
        "from underpaint.codec.runtime.imports import without_collection\n"
        "with without_collection(freeze=True):\n"
        "    kept = [[] for _ in range(1000)]\n"
        "assert gc.get_freeze_count() >= 1000 and gc.isenabled()\n"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)


def test_a_hidden_package_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with hidden("colorsys"), pytest.raises(ModuleNotFoundError, match="colorsys"):
        import colorsys
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_an_imported_package_stays_there() -> None:
    with hidden("gc"):
        import gc as again
    assert again is gc
