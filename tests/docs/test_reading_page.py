"""Every block of docs/reading.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from underpaint import ArchiveWriter, Codec
from underpaint.codec.archive import Row, publish
from underpaint.codec.extractors import open_extractor

GUIDE = Path(__file__).parents[2] / "docs" / "reading.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("guide")
    codec = Codec.load()
    extractor = open_extractor("underpaint")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (32, 32 + 16 * (i % 2), 3), np.uint8) for i in range(10)]
    with ArchiveWriter(
        root,
        "unit",
        layers=codec.layer_names,
        weights_id=codec.weights_id,
        sizes=(256, 512, 0),
        label_schema=pa.schema([("cls", pa.int64())]),
        embedding_size=extractor.size,
        extractor=extractor.identity,
    ) as writer:
        for index, (image, stream) in enumerate(zip(images, codec.encode(images), strict=True)):
            height, width, _ = image.shape
            (vector,) = extractor.features(extractor.preprocessing.fit(image)[None])
            labels = {"cls": index % 2}
            row = Row(f"{index}.jpg", stream, width, height, labels=labels, embedding=vector)
            writer.add(row)
    publish(str(root))
    return root


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_block_of_the_guide_runs(
    root: Path, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = BLOCKS[number]
    picture = np.full((32, 48, 3), 90, np.uint8)
    names: dict[str, object] = {"ARCHIVE": str(root), "KEY": "3.jpg", "PICTURE": picture}
    exec(compile(block, f"{GUIDE.name} block {number}", "exec"), names)
