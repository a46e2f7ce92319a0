"""Source distribution and wheel: what they hold, and the wheel alone in an empty environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

ROOT = Path(__file__).parents[2]
SHIPPED_FOLDERS = {"codec": "codec", "transforms": "transforms", "pipelines": "pipelines"}

pytestmark = pytest.mark.slow

USE = """
import importlib.util, json, sys
import numpy as np
from PIL import Image
from torch.utils.data import DataLoader
from underpaint import Archive, ArchiveWriter, Codec, LayerDataset
from underpaint.codec.archive import Row, publish

def main():
    picture = np.asarray(Image.open("photo.png"))
    codec = Codec.load()
    [layers] = codec.encode([picture])
    with ArchiveWriter(
        "archive", "unit", layers=codec.layer_names, weights_id=codec.weights_id
    ) as writer:
        height, width, _ = picture.shape
        writer.add(Row(key="photo.png", layers=layers, width=width, height=height))
    publish("archive")
    dataset = LayerDataset("archive", layers=2, output="latent", seed=1)
    samples = list(DataLoader(dataset, batch_size=None, num_workers=1))
    [state] = codec.decode([layers])
    error = np.mean((state.astype(float) - picture) ** 2)
    print(json.dumps({
        "keys": [sample["key"] for sample in samples],
        "fetched": Archive.open("archive").get("photo.png", layers=2).layers == layers[:2],
        "psnr": 10 * np.log10(255**2 / error),
        "from": sys.modules["underpaint"].__file__,
        "present": [name for name in ("apache_beam", "gcsfs", "s3fs", "aiohttp", "skimage")
                    if importlib.util.find_spec(name)],
    }))

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source distribution and wheel, built from a tree where an old build left its folder."""
    tree = tmp_path_factory.mktemp("tree") / "underpaint"
    left_out = shutil.ignore_patterns(
        ".*", "__pycache__", "build", "dist", "runs", "demo", "*.egg-info"
    )
    shutil.copytree(ROOT, tree, ignore=left_out)
    for old in ("pentimento/__init__.py", "underpaint/codec/old.py"):
        path = tree / "build" / "lib" / old
        path.parent.mkdir(parents=True)
        path.write_text("")
    _run(sys.executable, "-m", "build", "--outdir", str(tree / "dist"), str(tree))
    [source], [wheel] = (tree / "dist").glob("*.tar.gz"), (tree / "dist").glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an empty environment that holds the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", str(folder))
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    command = [*pip, "--constraint", str(ROOT / "constraints.txt"), str(built[1])]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    if "NewConnectionError" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_both_pass_the_checks_of_the_package_index(built: tuple[Path, Path]) -> None:
    _run(sys.executable, "-m", "twine", "check", "--strict", *map(str, built))


def test_the_wheel_holds_the_packages_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        f"underpaint/{path.relative_to(ROOT)}"
        for folder in SHIPPED_FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }
    expected |= {f"underpaint/{path.name}" for path in (ROOT / "infra/package").glob("*.py")}
    profiles = (ROOT / "codec" / "profiles").glob("*.safetensors")
    expected |= {f"underpaint/{path.relative_to(ROOT)}" for path in profiles}
    expected |= {"underpaint/py.typed", "underpaint/codec/profiles/README.md"}
    expected |= {
        "underpaint/codec/archive/tools/templates/notebook.html",
        "underpaint/codec/archive/tools/templates/view.html",
        "underpaint/pipelines/evaluation/templates/evaluation.html",
        "underpaint/pipelines/serve/templates/sheet.html",
    }
    static = (ROOT / "pipelines" / "serve" / "static").rglob("*")
    expected |= {f"underpaint/{path.relative_to(ROOT)}" for path in static if path.is_file()}
    assert names == expected


def test_the_source_distribution_holds_no_tests_and_no_training_logs(
    built: tuple[Path, Path],
) -> None:
    with tarfile.open(built[0]) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"README.md", "CHANGELOG.md", "docs/archive.md", "constraints.txt"} <= set(names)
    assert not [name for name in names if re.match(r"tests|build|.*\.(csv|json)$", name)]


def test_every_package_folder_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        f"underpaint.{'.'.join(path.parent.relative_to(ROOT).parts)}"
        for folder in SHIPPED_FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(settings["packages"]) == folders | {"underpaint"}


def test_the_wheel_reads_and_decodes_without_the_repository(
    installed: Path, tmp_path: Path
) -> None:
    Image.fromarray(data.astronaut()[:200, 100:400]).save(tmp_path / "photo.png")
    (tmp_path / "use.py").write_text(USE)
    found = json.loads(_run(str(installed / "python"), "-P", "use.py", cwd=tmp_path))
    assert found["keys"] == ["photo.png"]
    assert found["fetched"]
    assert found["psnr"] > 35
    assert Path(found["from"]).is_relative_to(installed.parent)
    assert found["present"] == []
    command = str(installed / "underpaint")
    described = json.loads(_run(command, "inspect", "archive", "--json", cwd=tmp_path))
    assert described["images"] == 1
    _run(command, "decode", "archive", "--output", "pictures", "--layers", "2", cwd=tmp_path)
    [picture] = (tmp_path / "pictures").iterdir()
    assert Image.open(picture).size == (300, 200)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("encode", "photo.png", "--output", "other"), "pipeline"),
        (("inspect", "gs://bucket/archive"), "gcs"),
        (("inspect", "s3://bucket/archive"), "s3"),
        (("inspect", "https://example.org/archive"), "http"),
        (("evaluate", "photo.png", "--output", "page"), "evaluate"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(
    installed: Path, tmp_path: Path, arguments: tuple[str, ...], extra: str
) -> None:
    Image.fromarray(data.astronaut()[:64, :64]).save(tmp_path / "photo.png")
    done = subprocess.run(
        [str(installed / "underpaint"), *arguments],
        cwd=tmp_path, env=_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"pip install 'underpaint[{extra}] @ file://" in line  # the wheel that is installed


def test_the_reading_page_says_how_much_is_installed(installed: Path) -> None:
    page = (ROOT / "docs" / "reading.md").read_text("utf-8")
    [said] = re.findall(r"takes (\d+) MB without PyTorch", page)
    [packages] = (installed.parent / "lib").glob("python*/site-packages")
    beside = re.compile(
        r"(torch|functorch|torchgen|nvidia|triton|sympy|networkx|mpmath|jinja2|pip|setuptools)\b"
    )
    size = sum(
        path.stat().st_size
        for path in packages.rglob("*")
        if path.is_file() and not beside.match(str(path.relative_to(packages)))
    )
    assert 0.8 < size / 1e6 / int(said) < 1.25


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    """The environment of this process, without what could let a child find the repository."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
