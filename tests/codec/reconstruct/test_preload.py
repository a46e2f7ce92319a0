"""Compilation ahead of use: complete, announced, and without a cache where none can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ALL_USES = """
import numpy as np
from underpaint import Codec
from underpaint.codec.extractors.builtin import TextureFeatures
from underpaint.codec.runtime.compilation import functions_compiled
from underpaint.codec.weights.loading import load_weights

rng = np.random.default_rng(0)
sides = [(1, 1), (17, 5), (33, 70), (64, 64), (5, 300), (16, 200), (200, 16)]
pictures = [rng.integers(0, 256, (*side, 3), dtype=np.uint8) for side in sides]
for profile in ("perceptual", "fidelity"):
    codec = Codec.load(profile)
    streams = [*codec.encode(pictures, effort=3), *codec.encode(pictures, layers=2)]
    for refine in (False, True):
        for texture in (None, 1):
            codec.decode(streams, refine=refine, texture=texture)
    for levels in range(5):
        codec.latents(streams, levels=levels)
TextureFeatures(load_weights(None)).features(np.zeros((2, 128, 128, 3), np.uint8))
print(functions_compiled())
"""

WITHOUT_CACHE = """
import numba.core.caching as caching
import sys

caching.CacheImpl._locator_classes = []  # what numba finds in a read-only installation
from underpaint.codec.runtime import compilation

compilation.announce(sys.stderr)
import numpy as np
from underpaint.codec.palette.semantic_head import _add_and_normalise

one = np.ones((2, 3), np.float32)
_add_and_normalise(one, one, 0)
assert compilation.functions_compiled() and not compilation.is_cached()
np.testing.assert_allclose(np.square(one).sum(1), 1, rtol=1e-6)
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_warm_compiles_what_every_use_needs(tmp_path: Path):
    folders = {
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
        "UNDERPAINT_CACHE": str(tmp_path / "underpaint"),
    }
    warm = ("-m", "underpaint.pipelines.cli.main", "warm")
    first = python(*warm, **folders)
    assert "total" in first.stdout
    assert first.stdout.splitlines()[-1].startswith(f"cache: {tmp_path / 'numba'}")
    assert "all functions are cached" in python(*warm, **folders).stdout
    used = python("-c", ALL_USES, **folders)
    assert used.stdout.split() == ["0"]
    ahead = "from underpaint.codec.reconstruct import preload; preload.compile_ahead()"
    assert not python("-X", "importtime", "-c", ahead, **folders).stderr.count("numba.core")
    for index in (tmp_path / "numba").rglob("*.nbi"):
        index.unlink()
    again = python("-c", ahead, **folders)
    assert again.stderr.startswith("compiling functions: once on this machine")


def test_functions_are_compiled_in_memory_where_no_cache_can_be_written():
    done = python("-c", WITHOUT_CACHE)
    [line] = done.stderr.splitlines()
    assert "NUMBA_CACHE_DIR" in line
