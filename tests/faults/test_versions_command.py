"""The command that decodes the vectors under other versions: its parts, and that it can fail."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.faults import versions


def _wheel(folder: Path) -> None:
    """A distribution `tiny` of one module."""
    about = "tiny-1.5.dist-info"
    files = {
        "tiny.py": "VALUE = 15\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.5\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / "tiny-1.5-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


@pytest.mark.slow
def test_other_versions_are_installed_in_an_environment_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _wheel(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(versions, "NEEDED", ("tiny",))
    python = versions.install(str(tmp_path / "one"), ["tiny==1.5"])
    program = "import sys, tiny; print(tiny.VALUE, sys.prefix)"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["15", str(tmp_path / "one")]
    with pytest.raises(SystemExit, match=r"^tiny==2\.0: ERROR: No matching distribution[^\n]+$"):
        versions.install(str(tmp_path / "two"), ["tiny==2.0"])
    with pytest.raises(SystemExit, match=r"No module named 'numpy'$"):
        versions.ask(python, 1)


def test_vectors_that_do_not_decode_as_stated_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortest = min(versions.GOLDEN.glob("*.underpaint"), key=lambda path: path.stat().st_size)
    for suffix in (".underpaint", ".json"):
        shutil.copyfile(shortest.with_suffix(suffix), tmp_path / f"one{suffix}")
    monkeypatch.setattr(versions, "GOLDEN", tmp_path)
    found = versions.check(1)
    assert found["agree"] == found["prefixes"] > 1
    vector = json.loads((tmp_path / "one.json").read_text("utf-8"))
    vector["symbols"][-1] = "0" * 64
    (tmp_path / "one.json").write_text(json.dumps(vector), "utf-8")
    changed = versions.check(1)
    assert changed["agree"] == found["agree"] - 1
    assert changed["digest"] == found["digest"]
