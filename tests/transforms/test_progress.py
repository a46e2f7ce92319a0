"""Notes of progress: folders of killed drivers go, those of living ones stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from underpaint.transforms.progress import FOLDER_PREFIX, Counts, ProgressStore, progress_folder

DRIVER = """
import time
from underpaint.transforms.progress import progress_folder
with progress_folder() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on files to tell by")
def test_the_folder_of_a_killed_driver_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = dict(os.environ, TMPDIR=str(tmp_path))
    command = [sys.executable, "-c", DRIVER]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert driver.stdout
        theirs = Path(driver.stdout.readline().strip())
        with progress_folder() as ours:
            assert theirs.is_dir()
            ProgressStore(ours).add(Counts(images=2), now=True)
            assert ProgressStore(ours).total() == Counts(images=2)
        assert not Path(ours).exists()
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        if driver.stdout:
            driver.stdout.close()
    assert theirs.is_dir()
    with progress_folder() as ours:
        assert list(tmp_path.glob(f"{FOLDER_PREFIX}*")) == [Path(ours)]
    assert list(tmp_path.iterdir()) == []
