"""Failures are counted by record: whatever takes many records along, each of them counts."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from skimage import data

from tests.helpers.pictures import underpaint
from tests.helpers.shards import tar_of
from underpaint.codec.archive import Archive

ROWS, GROUPS = 20, 3


def png(number: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(data.astronaut()[number : number + 24, :32]).save(out, "PNG")
    return out.getvalue()


def write_parquet(path: Path, pictures: list[bytes]) -> None:
    table = pa.table({"image": pictures, "number": list(range(len(pictures)))})
    options = {"use_dictionary": False, "compression": "none", "write_page_checksum": True}
    options["write_statistics"] = False  # a statistic would hold the content of a picture too
    pq.write_table(table, path, row_group_size=ROWS, **options)


def damage(path: Path, content: bytes) -> None:
    """Flip one bit in the place where the file holds the content."""
    whole = bytearray(path.read_bytes())
    whole[whole.index(content) + len(content) // 2] ^= 1
    path.write_bytes(whole)


def encode(archive: Path, *arguments: object) -> int:
    return underpaint("encode", *arguments, "--output", archive)


def test_a_damaged_row_group_costs_its_rows_and_counts_each(tmp_path: Path) -> None:
    pictures = [png(number) for number in range(ROWS * GROUPS)]
    shard, archive = tmp_path / "shard.parquet", tmp_path / "archive"
    write_parquet(shard, pictures)
    whole = shard.read_bytes()
    damage(shard, pictures[ROWS + 5])
    assert encode(archive, shard, "--max-failed", "30%") == 1
    statistics = Archive.open(archive).statistics()
    assert (statistics.images, statistics.failed) == (ROWS * (GROUPS - 1), ROWS)
    numbers = {row.labels["number"] for row in Archive.open(archive).rows(1)}
    assert numbers == {*range(ROWS), *range(2 * ROWS, 3 * ROWS)}
    assert encode(archive, shard, "--max-failed", "40%") == 0
    shard.write_bytes(whole)
    assert encode(archive, shard, "--retry-failed") == 0
    assert Archive.open(archive).statistics().images == ROWS * GROUPS
    assert underpaint("verify", archive) == 0


def test_a_shard_that_breaks_off_fails_whatever_share_may_fail(tmp_path: Path) -> None:
    members = {f"{number:03}.png": png(number) for number in range(30)}
    shard, archive = tmp_path / "shard.tar", tmp_path / "archive"
    shard.write_bytes(tar_of(members))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: whole.index(b"025.png") + 600])
    assert encode(archive, shard, "--max-failed", "50%") == 1
    [letter] = Archive.open(archive).dead_letters()
    assert letter.error == "ShardCut"
    assert Archive.open(archive).statistics().images == 25
    assert encode(archive, shard, "--max-failed", "100%") == 0


def test_pictures_of_one_shape_do_not_share_a_failure(tmp_path: Path) -> None:
    """A picture in the middle of a batch that the decoder refuses costs itself alone."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.png").write_bytes(png(number))
    noise = np.random.default_rng(0).integers(0, 256, 400, np.uint8).tobytes()
    (folder / "05.png").write_bytes(png(5)[:60] + noise)
    assert encode(tmp_path / "archive", folder, "--max-failed", "10%") == 0
    [letter] = Archive.open(tmp_path / "archive").dead_letters()
    assert letter.key == "05.png"
    assert Archive.open(tmp_path / "archive").statistics().images == 11
