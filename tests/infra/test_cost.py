"""The cost table, with rates and prices that are round numbers and nobody's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "cost.py"

MEASURED = """\
machine,vcpus,memory_gb,disk_gb,gpu,images_per_second
plain,8,64,100,,10
fast,8,32,100,some-gpu,100
"""
PRICES = {
    "read": "made up",
    "currency": "USD",
    "vcpu_hour": 0.1,
    "memory_gb_hour": 0.01,
    "disk_gb_hour": 0.001,
    "gpu_hour": {"some-gpu": 1.0},
}


def run(folder: Path, measured: str, prices: object, *options: str) -> tuple[int, str, str]:
    (folder / "measured.csv").write_text(measured)
    (folder / "prices.json").write_text(json.dumps(prices))
    command = [sys.executable, str(SCRIPT), str(folder / "measured.csv")]
    command += ["--prices", str(folder / "prices.json"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_million_images_cost_hours_times_price(tmp_path: Path) -> None:
    status, out, _ = run(tmp_path, MEASURED, PRICES)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].endswith("| USD for 1,000,000 images |")
    # 0.8 + 0.32 + 0.1 + 1.0 an hour, a million / 100 a second; the cheapest first
    assert lines[2] == "| fast | some-gpu | 100.0 | 2.78 | 2.22 | 6.17 |"
    assert lines[3] == "| plain | none | 10.0 | 27.78 | 1.54 | 42.78 |"
    assert "made up" in lines[-1]


def test_more_workers_take_less_time_for_the_same_money_but_for_their_start(tmp_path: Path) -> None:
    _, out, _ = run(tmp_path, MEASURED, PRICES, "--workers", "10")
    assert "| fast | some-gpu | 100.0 | 0.28 | 22.20 | 6.17 |" in out
    _, out, _ = run(tmp_path, MEASURED, PRICES, "--workers", "10", "--startup-minutes", "6")
    assert "| fast | some-gpu | 100.0 | 0.38 | 22.20 | 8.39 |" in out


@pytest.mark.parametrize(
    ("measured", "prices", "text"),
    [
        (MEASURED.replace("some-gpu", "other"), PRICES, "no price of an hour of other"),
        (MEASURED.replace(",100\n", ",\n"), PRICES, "line 3"),
        (MEASURED.replace(",100\n", ",0\n"), PRICES, "above 0"),
        (MEASURED, {}, "no 'read'"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, measured: str, prices: object, text: str) -> None:
    status, _, err = run(tmp_path, measured, prices)
    assert status == 2
    assert text in err
    assert len(err.splitlines()) == 1
