"""A lock keeps other processes out, names the one that holds it, and ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from underpaint.codec.errors import UsageError
from underpaint.codec.storage.locks import alone

HOLD = """
import sys
from pathlib import Path
from underpaint.codec.storage.locks import alone
with alone(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_named_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("12345678\n")  # of a process that ended long ago
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(UsageError, match=f"^a folder is in use by process {holder.pid}; "),
            alone(path, "a folder"),
        ):
            pass
        holder.kill()
    with alone(path, "a folder"):
        assert path.read_text() == f"{os.getpid()}\n"
    with alone(path, "a folder"):
        pass
