"""Ctrl-C, as a terminal sends it: to all processes of a command, and as often as it is pressed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.helpers.pictures import make_photos, underpaint
from underpaint.codec.archive import Archive
from underpaint.codec.runtime.child_process import ProcessPool, child, deaf_children
from underpaint.codec.runtime.interrupts import HASTY_S

GOES_ON = "underpaint: stopped; the same command goes on from here"
HELD = """
import time
from underpaint.codec.runtime.interrupts import stop_once
stop_once()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopping", flush=True)
    time.sleep(60)
"""


def started(*command: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def pressed(running: subprocess.Popen[str], reached: Callable[[], bool], times: int) -> list[str]:
    """Press Ctrl-C some times as soon as a command has reached something; return what it told."""
    until = time.monotonic() + 240
    while not reached():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    for _ in range(times):
        os.killpg(running.pid, signal.SIGINT)
        time.sleep(0.1)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130, told
    return told.splitlines()


def unlike_progress(lines: list[str]) -> list[str]:
    return [line for line in lines if line and not re.search(r"pictures  |compil|photo/s", line)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_encode_is_stopped_and_goes_on(workers: int, tmp_path: Path) -> None:
    folder, rng = tmp_path / "photos", np.random.default_rng(3)
    folder.mkdir()
    for number in range(12):
        noise = rng.integers(0, 256, (400, 400, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number:02}.png")
    archive = tmp_path / "archive"
    command = ("encode", folder, "--output", archive, "--workers", workers, "--unit-size", "9k")
    running = started("-m", "underpaint", *command)
    commits = archive / "commits"
    told = pressed(running, lambda: commits.is_dir() and len(list(commits.iterdir())) > 2, 4)
    assert unlike_progress(told) == [GOES_ON], "\n".join(told)
    before = {row.key: row.layers for row in Archive.open(archive).rows()}
    assert 0 < len(before) < 12
    assert not list(Archive.open(archive).dead_letters())
    assert underpaint(*command) == 0
    after = {row.key: row.layers for row in Archive.open(archive).rows()}
    assert len(after) == 12
    assert before.items() <= after.items()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify", "ARCHIVE", "--workers", "2"), "underpaint: stopped"),
        (("decode", "ARCHIVE", "--output", "OUT", "--workers", "2"), "underpaint: stopped"),
        (("evaluate", "PHOTOS", "--output", "OUT", "--workers", "2"), "underpaint: stopped"),
    ],
)
def test_commands_with_child_processes_print_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    make_photos(tmp_path / "photos", 4)
    assert underpaint("encode", tmp_path / "photos", "--output", tmp_path / "archive") == 0
    paths = {"ARCHIVE": "archive", "OUT": "out", "PHOTOS": "photos"}
    running = started(
        "-m", "underpaint", *(tmp_path / paths[word] if word in paths else word for word in words)
    )
    family = psutil.Process(running.pid)
    told = pressed(running, lambda: len(family.children(recursive=True)) > 1, 4)
    assert unlike_progress(told) == [said], "\n".join(told)


def test_a_press_after_a_while_ends_a_command_that_does_not_stop() -> None:
    running = started("-c", HELD)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    for _ in range(3):
        running.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert running.stdout.readline() == "stopping\n"
    assert running.poll() is None
    time.sleep(HASTY_S)
    running.send_signal(signal.SIGINT)
    out, told = running.communicate(timeout=30)
    assert (running.returncode, out, told) == (130, "", "")


def is_deaf(pid: int) -> bool:
    [blocked] = re.findall(r"SigBlk:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(blocked, 16) >> (signal.SIGINT - 1) & 1)


def test_children_do_not_hear_it() -> None:
    with ProcessPool(1, int) as pool, child(["sleep", "60"]) as sleeping:
        assert is_deaf(sleeping.pid)
        assert is_deaf(pool.submit(os.getpid).result())
        assert not is_deaf(os.getpid())
        sleeping.kill()
    with deaf_children():
        assert is_deaf(os.getpid())


def test_a_child_is_killed_after_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), child(["sleep", "60"]) as sleeping:
        raise KeyboardInterrupt
    assert sleeping.returncode == -signal.SIGKILL
