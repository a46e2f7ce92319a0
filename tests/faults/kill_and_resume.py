"""Kill an encoding job at random moments, go on each time, compare with an undisturbed run.

    python tests/faults/kill_and_resume.py PHOTOS --count 1000 --broken 10 --kills 30

Takes `count` photos of a folder, breaks some of them, encodes them once without and once with
kills, and prints what the two archives hold. Exit status 0 where they hold the same: each good
photo once with the same bytes in all layers, each broken one as one dead letter, the same files.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from underpaint.codec.archive import Archive, orphans
from underpaint.codec.image_io.read import PICTURE_SUFFIXES

LEAST_S = 5.0
"""Kills come within this time, or a tenth of an undisturbed run: later runs have less to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=1000, help="photos (default 1000)")
    parser.add_argument("--broken", type=int, default=10, help="broken ones of them (default 10)")
    parser.add_argument("--kills", type=int, default=30, help="(default 30)")
    parser.add_argument("--workers", type=int, default=2, help="(default 2)")
    parser.add_argument("--unit-size", default="1M", help="input bytes of a unit (default 1M)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="kill-and-resume-") as scratch:
        photos = Path(scratch, "photos")
        broken = prepare(arguments.photos, photos, arguments.count, arguments.broken, chance)
        encode = [sys.executable, "-P", "-m", "underpaint", "encode", str(photos)]
        encode += ["--workers", str(arguments.workers), "--unit-size", arguments.unit_size]
        calmly = [*encode, "--output", f"{scratch}/calm"]
        stormily = [*encode, "--output", f"{scratch}/stormy"]
        begin = time.monotonic()
        status = subprocess.run(calmly, capture_output=True)
        calm_s = time.monotonic() - begin
        expect(status.returncode == int(bool(broken)), status.stderr.decode())
        print(f"undisturbed run: {calm_s:.1f} s", flush=True)
        kills = 0
        while kills < arguments.kills:
            moment = chance.random() * max(LEAST_S, calm_s / 10)
            kills += killed(stormily, moment, kills, chance)
            shown = len(list(Path(scratch, "stormy", "commits").glob("*.json")))
            print(f"kill {kills:2d} after {moment:5.1f} s: {shown} units committed", flush=True)
            if shown and kills % 5 == 0 and kills < arguments.kills:
                forget_some(Path(scratch, "stormy"), chance)
        last = subprocess.run(stormily, capture_output=True)
        expect(last.returncode == int(bool(broken)), last.stderr.decode())
        return compare(f"{scratch}/calm", f"{scratch}/stormy", arguments.count, broken)


def prepare(source: Path, target: Path, count: int, broken: int, chance: random.Random) -> set[str]:
    """Copy photos (again and again if there are too few) and break some; keys of those."""
    found = sorted(p for p in source.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    expect(bool(found), f"no photos in {source}")
    target.mkdir()
    names = []
    for number in range(count):
        photo = found[number % len(found)]
        names.append(f"{number:05d}{photo.suffix.lower()}")
        shutil.copyfile(photo, target / names[-1])
    bad = set(chance.sample(names, broken))
    for name in bad:
        data = (target / name).read_bytes()
        (target / name).write_bytes(chance.choice([data[: len(data) // 2], b"", b"\0" * 4096]))
    return bad


def killed(command: list[str], moment: float, number: int, chance: random.Random) -> int:
    """Run and kill: the driver, its whole group, or one worker. 1 if it was killed in time."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        if number % 4:  # three of four while pictures are encoded, the others from the start on
            wait_for_a_commit(Path(command[-1]), process)
        process.wait(timeout=moment)
        forget_some(Path(command[-1]), chance)  # it got through: leave something to do
        return 0
    except subprocess.TimeoutExpired:
        pass
    children = children_of(process.pid)
    if number % 3 == 2 and children:
        os.kill(chance.choice(children), signal.SIGKILL)
        time.sleep(chance.random())
        process.kill()
    elif number % 3 == 1:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    return 1


def wait_for_a_commit(archive: Path, process: subprocess.Popen[bytes]) -> None:
    """Return once the run has committed a unit, or has ended."""
    before = len(list(archive.glob("commits/*.json")))
    while process.poll() is None and len(list(archive.glob("commits/*.json"))) <= before:
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    """Processes started by a process (Linux; elsewhere none are found)."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(c) for t in tasks for c in (t / "children").read_text().split()]
    except OSError:
        return []


def forget_some(archive: Path, chance: random.Random) -> None:
    """Take back the commits of some units, as if the job had been killed before them."""
    commits = sorted(archive.glob("commits/*.json"))
    for commit in chance.sample(commits, len(commits) // 2):
        commit.unlink()
    (archive / "manifest.json").unlink(missing_ok=True)


def compare(calm_root: str, stormy_root: str, count: int, broken: set[str]) -> int:
    calm, stormy = Archive.open(calm_root), Archive.open(stormy_root)
    rows = {row.key: row.layers for row in calm.rows()}
    again = [(row.key, row.layers) for row in stormy.rows()]
    letters = sorted(letter.key for letter in stormy.dead_letters())
    checks = {
        f"{len(again)} rows, each key once": len(dict(again)) == len(again) == count - len(broken),
        "layers byte-equal to the undisturbed run": dict(again) == rows,
        f"{len(letters)} dead letters, one a broken photo": letters == sorted(broken),
        "the same files count": stormy.manifest == calm.manifest,
    }
    for text, good in checks.items():
        print(f"{'ok ' if good else 'NOT'} {text}")
    left = orphans(stormy_root)
    print(f"    {len(left)} orphans left by killed runs, {sum(left.values()):,} bytes (see sweep)")
    return int(not all(checks.values()))


def expect(good: bool, text: str) -> None:
    if not good:
        raise SystemExit(f"kill_and_resume: {text}")


if __name__ == "__main__":
    sys.exit(main())
