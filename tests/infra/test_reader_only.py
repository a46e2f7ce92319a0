"""Reading needs neither Beam nor clients of object stores nor the packages of other extras."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from underpaint import ArchiveWriter, Codec
from underpaint.codec.archive import Row, publish
from underpaint.codec.storage.extras import install_hint

BLOCKED = ("apache_beam", "gcsfs", "s3fs", "aiohttp", "tqdm", "requests", "jinja2", "pillow_heif")

PRELUDE = f"""
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""

READ = """
from torch.utils.data import DataLoader
from underpaint import Archive, Codec, LayerDataset, LayerMap

def main():
    archive = Archive.open(sys.argv[1])
    [row] = archive.rows(layers=2)
    [picture] = Codec.load_for(archive.weights_id).decode([row.layers])
    loader = DataLoader(LayerDataset(archive, layers=1), batch_size=None, num_workers=1)
    print(json.dumps([row.key, picture.shape, [sample["key"] for sample in loader],
                      LayerMap(archive, output="bytes")[0]["key"]]))

if __name__ == "__main__":
    main()
"""

OPEN = """
from underpaint import Archive
from underpaint.codec.errors import UsageError
for url in sys.argv[1:]:
    try:
        Archive.open(url)
    except UsageError as error:
        print(error)
"""

IMPORT = """
import sys
import underpaint
print(*sorted({"torch", "pyarrow", "numpy", "numba"} & set(sys.modules)))
"""


def run(program: str, *arguments: object) -> str:
    command = [sys.executable, "-P", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    codec = Codec.load()
    [layers] = codec.encode([np.full((24, 40, 3), 90, np.uint8)])
    with ArchiveWriter(
        tmp_path, "unit", layers=codec.layer_names, weights_id=codec.weights_id
    ) as writer:
        writer.add(Row("grey.png", layers, 40, 24))
    publish(tmp_path)
    return tmp_path


def test_an_archive_is_read_and_decoded_with_the_core_alone(archive: Path) -> None:
    found = json.loads(run(PRELUDE + READ, archive))
    assert found == ["grey.png", [24, 40, 3], ["grey.png"], "grey.png"]


def test_a_missing_file_system_is_one_line_that_names_its_extra() -> None:
    urls = ("gs://bucket/a", "s3://bucket/a", "https://host/a", "http://host/a")
    lines = run(PRELUDE + OPEN, *urls).splitlines()
    assert lines == [
        f"{url}: reading it needs {install_hint(extra)}"
        for url, extra in zip(urls, ("gcs", "s3", "http", "http"), strict=True)
    ]


def test_the_package_alone_imports_nothing_heavy() -> None:
    assert run(IMPORT).split() == []
