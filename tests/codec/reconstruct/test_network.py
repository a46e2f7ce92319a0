"""The backward network in long-lived processes."""

import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)

MISSES = """
import numpy as np
from underpaint import Codec

codec = Codec.load()
sizes = [(32, 16 * width) for width in range(1, 41)]
streams = codec.encode([np.full((*size, 3), 99, np.uint8) for size in sizes], layers=1)
for number in [*range(len(streams)), 0, 0]:
    print("picture", number, flush=True)
    codec.decode([streams[number]])
"""


def misses(environment: dict[str, str]) -> list[int]:
    """Kernels made anew for each of forty pictures, then for the first again, twice."""
    done = subprocess.run(
        [sys.executable, "-c", MISSES],
        env={"PATH": "", "ONEDNN_VERBOSE": "profile_create", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [part.count("cache_miss") for part in done.stdout.split("picture ")[1:]]


@pytest.mark.slow
def test_kernels_of_sizes_long_gone_are_not_kept() -> None:
    made = misses({})
    assert made[0] > 0
    assert made[-2] > 0  # forgotten meanwhile
    assert made[-1] == 0  # and kept from one picture to the next of its size


@pytest.mark.slow
def test_the_environment_may_ask_for_more_kernels_to_be_kept() -> None:
    caches = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    made = misses(dict.fromkeys(caches, "1024"))
    assert made[0] > 0
    assert made[-2] == made[-1] == 0
