"""Archives with columns for sizes: what is stored, what is read of it, and what damage costs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from underpaint import Archive, Codec, LayerDataset, LayerMap
from underpaint.codec.archive import ArchiveWriter, Row, publish
from underpaint.codec.archive.layer_columns import FULL, columns_for, sizes_for
from underpaint.codec.archive.tools.merge import merge
from underpaint.codec.archive.tools.repair import repair
from underpaint.codec.archive.tools.trim import trim
from underpaint.codec.errors import ArchiveError, RowInvalid, UsageError
from underpaint.codec.metrics import psnr

SIZES = (60, 120)
PICTURES = {
    "large": data.astronaut()[:330, :400],
    "middle": data.coffee()[:170, :200],
    "small": data.coffee()[100:150, :90],
}


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def streams(codec: Codec) -> dict[str, tuple[bytes, ...]]:
    return dict(zip(PICTURES, codec.encode(list(PICTURES.values()), sizes=SIZES), strict=True))


def write(
    root: Path, codec: Codec, streams: dict[str, tuple[bytes, ...]], sizes: tuple[int, ...]
) -> Archive:
    """Write an archive of all pictures, a row group each, so that damage is separate."""
    with ArchiveWriter(
        root, "u", layers=codec.layer_names, weights_id=codec.weights_id, sizes=sizes,
        row_group_bytes=1,
    ) as writer:  # fmt: skip
        for key, layers in streams.items():
            writer.add(Row(key, layers, *PICTURES[key].shape[1::-1]))
    publish(root)
    return Archive.open(root)


@pytest.fixture
def archive(tmp_path: Path, codec: Codec, streams: dict[str, tuple[bytes, ...]]) -> Archive:
    return write(tmp_path / "archive", codec, streams, (*SIZES, FULL))


def test_columns(archive: Archive, codec: Codec) -> None:
    assert archive.sizes == (60, 120, FULL)
    names = [name for name in archive.schema.names if name.startswith("layer_")]
    assert names == columns_for(6, archive.sizes)
    assert names[:2] == ["layer_0_60", "layer_1_60"]
    assert names[6] == "layer_0_120"
    assert names[-1] == "layer_5"
    assert archive.layer_columns(2, 60) == ["layer_0_60", "layer_1_60"]
    assert archive.layer_columns(1, 61) == archive.layer_columns(1, 120) == [
        "layer_0_60", "layer_0_120",
    ]  # fmt: skip
    assert archive.layer_columns(None) == names
    assert sizes_for((60, 120), None) == (60, 120)
    for layers, size in ((7, 60), (2, 0)):
        with pytest.raises(UsageError):
            archive.layer_columns(layers, size)


def test_rows_hold_what_their_size_needs(
    archive: Archive, codec: Codec, streams: dict[str, tuple[bytes, ...]]
) -> None:
    assert {row.key: row.layers for row in archive.rows()} == streams
    assert archive.get("large").layers == streams["large"]
    for size in (40, 60, 100, 120, 300):
        for row in archive.rows(size=size):
            [found] = codec.decode([row.layers], size=size)
            np.testing.assert_array_equal(found, codec.decode([streams[row.key]], size=size)[0])
            assert archive.get(row.key, size=size).layers == row.layers
    small = {row.key: sum(map(len, row.layers)) for row in archive.rows(size=60)}
    whole = {key: sum(map(len, layers)) for key, layers in streams.items()}
    assert small["small"] == whole["small"]
    assert small["large"] < 0.6 * whole["large"]


def test_the_manifest_counts_bytes_by_size(archive: Archive) -> None:
    statistics = archive.statistics()
    table = archive.row_groups(archive.layer_columns(None))
    found = np.zeros((3, 6), int)
    for group in table:
        for place, name in enumerate(archive.layer_columns(None)):
            values = group.table.column(name).to_pylist()
            found[divmod(place, 6)] += sum(len(value or b"") for value in values)
    assert np.array(statistics.size_bytes).tolist() == found.tolist()
    assert statistics.layer_bytes == tuple(found.sum(0).tolist())


def test_fewer_bytes_are_fetched_for_a_smaller_size(archive: Archive) -> None:
    fetched = []
    for size in (60, 120, None):
        opened = Archive.open(archive.storage.root)
        list(opened.row_groups([], layers=6, size=size))
        fetched.append(opened.traffic.fetched)
    by_size = np.array(archive.statistics().size_bytes).sum(1)
    assert fetched[0] < fetched[1] < fetched[2]
    assert fetched[1] - fetched[0] == pytest.approx(by_size[1], rel=0.1)


def test_data_sets_read_a_size(
    archive: Archive, codec: Codec, streams: dict[str, tuple[bytes, ...]]
) -> None:
    options = {"size": 60, "layers": 5, "output": "image", "weights": None}
    by_order = LayerDataset(archive, seed=None, **options)
    by_index = LayerMap(archive, **options)
    for place, sample in enumerate(by_order):
        layers = streams[sample["key"]][:5]
        [expected] = codec.decode([layers], size=60, refine=False)
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0).numpy(), expected)
        np.testing.assert_array_equal(sample["image"], by_index[place]["image"])
    whole = LayerDataset(Archive.open(archive.storage.root), seed=None, layers=5, output="bytes")
    assert [sample["layers"] for sample in whole] == [s[:5] for s in streams.values()]
    small = LayerDataset(Archive.open(archive.storage.root), seed=None, layers=5, size=60)
    assert {tuple(sample["coefficients"].shape[:1]) for sample in small} == {(48,)}
    assert small.traffic.fetched < whole.traffic.fetched


def test_trimming_by_size_and_layers(archive: Archive, codec: Codec, tmp_path: Path) -> None:
    trim(archive.storage.root, tmp_path / "trimmed", 4, 100)
    trimmed = Archive.open(tmp_path / "trimmed")
    assert trimmed.sizes == (60, 120)
    assert len(trimmed.layer_names) == 4
    assert trimmed.decoded_size(None) == 120
    before = {row.key: row.layers for row in archive.rows(4, size=120)}
    assert {row.key: row.layers for row in trimmed.rows()} == before
    with pytest.raises(UsageError, match="size: 121; the archive has pictures up to size 120"):
        trimmed.layer_columns(2, 121)
    for sample in LayerDataset(trimmed, output="image", seed=None):
        [expected] = codec.decode([before[sample["key"]]], size=120, refine=False)
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0).numpy(), expected)
    sizes = np.array(trimmed.statistics().size_bytes)
    assert sizes.tolist() == np.array(archive.statistics().size_bytes)[:2, :4].tolist()
    with pytest.raises(ArchiveError, match=r"differ in layers .*trim --layers 4"):
        merge([archive.storage.root, tmp_path / "trimmed"], tmp_path / "merged")


def test_layers_cut_for_other_sizes_are_refused(
    tmp_path: Path, codec: Codec, streams: dict[str, tuple[bytes, ...]]
) -> None:
    with pytest.raises(RowInvalid, match="large: its layers were cut for other sizes than 30, 120"):
        write(tmp_path / "a", codec, streams, (30, 120, FULL))
    whole = write(tmp_path / "b", codec, streams, (FULL,))
    assert {row.key: row.layers for row in whole.rows()} == streams


def test_damage_of_a_large_size_leaves_small_ones_alone(
    archive: Archive, codec: Codec, streams: dict[str, tuple[bytes, ...]], tmp_path: Path
) -> None:
    path = Path(archive.storage.root) / archive.files[0].path
    content = bytearray(path.read_bytes())
    [part] = [r.layers[4] for r in archive.rows(size=120) if r.key == "large"]
    small = next(r.layers[4] for r in archive.rows(size=60) if r.key == "large")
    at = content.index(part[len(small) :])  # layer 5 of the second size
    content[at + 40] ^= 1
    path.write_bytes(content)
    damaged = Archive.open(archive.storage.root)
    assert {r.key: r.layers for r in damaged.rows(size=60)}["large"][4] == small
    for size in (120, None):
        found: list[object] = []
        rows = {r.key: r.layers for r in damaged.rows(size=size, on_damage=found.append)}
        assert len(rows["large"]) == 4
        assert len(rows["middle"]) == len(rows["small"]) == 6
        [damage] = found
        assert (damage.key, damage.layer) == ("large", 4)
        codec.decode([rows["large"]], size=size)
    done = repair(archive.storage.root, tmp_path / "repaired", lambda line: None)
    assert (done.whole, done.cut, done.lost) == (2, 1, 0)
    repaired = {row.key: row.layers for row in Archive.open(tmp_path / "repaired").rows()}
    assert repaired == streams | {"large": streams["large"][:4]}


def test_an_archive_is_found_again_without_its_records(archive: Archive, tmp_path: Path) -> None:
    root = Path(archive.storage.root)
    expected = {row.key: row.layers for row in archive.rows()}
    for record in [root / "manifest.json", *(root / "commits").iterdir()]:
        record.unlink()
    repair(root, tmp_path / "repaired", lambda line: None)
    repaired = Archive.open(tmp_path / "repaired")
    assert repaired.sizes == (60, 120, FULL)
    assert {row.key: row.layers for row in repaired.rows()} == expected


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_pictures_of_an_exact_shape_form_a_batch(archive: Archive, fit: str) -> None:
    samples = LayerMap(archive, output="image", exact=(48, 64), fit=fit)
    batch = torch.stack([samples[place]["image"] for place in range(3)])
    assert batch.shape == (3, 3, 48, 64)
    photo = Image.fromarray(PICTURES["large"])
    box = (0, 15, 400, 315) if fit == "crop" else (0, 0, 400, 330)
    scaled = np.asarray(photo.resize((64, 48), Image.Resampling.BICUBIC, box))
    assert psnr(scaled, batch[0].permute(1, 2, 0).numpy()) >= 30
    whole = LayerMap(Archive.open(archive.storage.root), output="image", exact=(150, 150))
    assert [whole[place]["image"].shape for place in range(3)] == [(3, 150, 150)] * 3
    assert samples.traffic.fetched < whole.traffic.fetched
    with pytest.raises(UsageError, match="exact: an exact shape needs"):
        LayerMap(archive, exact=(48, 64))
