"""Memory that is freed is there for the next use, without a page fault for each page."""

import platform
import subprocess
import sys

import pytest

FAULTS = """\
import resource

import numpy as np

from underpaint.codec.runtime.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

{call}
counts = []
for _ in range(3):
    before = faults()
    [np.ones(3 << 20, np.uint8) for _ in range(4)]  # huge pages begin at 4 MiB
    counts.append(faults() - before)
print(counts[-1])
"""


def faults(call: str) -> int:
    """Return the page faults of writing 12 MiB for the third time, in a process of its own."""
    program = FAULTS.format(call=call)
    environment = {"PATH": "/usr/bin"}  # without MALLOC_ settings
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries take no notice")
def test_freed_memory_is_kept():
    assert faults("") > 500, "the C library keeps it by itself"
    assert faults("keep_freed_memory()") < 20
