"""encode, inspect, decode, verify as a person runs them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.helpers.pictures import encode, make_photos, underpaint
from underpaint import Codec
from underpaint.codec.archive import Archive
from underpaint.codec.image_io.read import read_picture
from underpaint.codec.weights.header import SHIPPED
from underpaint.transforms.encode import Job, Publish
from underpaint.transforms.progress import Counts
from underpaint.transforms.report import Facts

FACTS = Facts(begun=time.time() - 60, max_failed=0.0, shown={"runner": "a cluster"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, one of them broken, and an archive of them."""
    folder = tmp_path_factory.mktemp("made")
    make_photos(folder / "photos")
    (folder / "photos" / "left" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (folder / "photos" / "left" / "001.png").write_bytes(
        (folder / "photos" / "left" / "003.png").read_bytes()
    )
    assert encode(folder / "photos", "--output", folder / "archive") == 1
    return folder


@pytest.fixture
def archive(made: Path, tmp_path: Path) -> Path:
    """A copy of the archive to spoil."""
    return Path(shutil.copytree(made / "archive", tmp_path / "archive"))


def test_the_archive_holds_all_good_photos_and_the_broken_one(made: Path) -> None:
    archive = Archive.open(made / "archive")
    good = sorted(p for p in (made / "photos").rglob("*.*") if p.name != "broken.jpg")
    assert list(archive.keys()) == [str(p.relative_to(made / "photos")) for p in good]
    (letter,) = archive.dead_letters()
    assert (letter.key, letter.stage) == ("left/broken.jpg", "decode")
    for row, path in zip(archive.rows(), good, strict=True):
        pixels = read_picture(path.read_bytes()).pixels
        assert (row.height, row.width) == pixels.shape[:2]
        (back,) = Codec.load().decode([row.layers])
        assert np.abs(back.astype(int) - pixels).mean() < 8


def test_the_share_of_failures_decides_the_exit_status(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode(made / "photos", "--output", made / "archive", "--max-failed", "20%") == 0
    assert encode(made / "photos", "--output", made / "archive", "--max-failed", "0.01") == 1
    shown = capsys.readouterr()
    assert "failed: left/broken.jpg: JPEG" in shown.err
    assert "pictures" in shown.out


def test_the_report_of_the_job_adds_up(made: Path, tmp_path: Path) -> None:
    assert encode(made / "photos", "--output", tmp_path / "archive") == 1
    report = json.loads((tmp_path / "archive" / "job.json").read_text())
    assert report["counts"]["images"] + report["counts"]["failed"] == report["plan"]["inputs"] == 8
    assert report["archive"]["images"] == 7
    assert report["archive"]["failures"] == {"decode: PictureDamaged": 1}
    assert report["exit_status"] == 1
    assert not list((tmp_path / "archive" / "plans").iterdir())


def test_the_pipeline_itself_reports_where_no_driver_waits(archive: Path) -> None:
    """As a template's job ends: only its last step knows that it did."""
    driven = json.loads((archive / "job.json").read_text())
    (archive / "job.json").unlink()
    (archive / "manifest.json").unlink()
    job = cast(Job, SimpleNamespace(settings=SimpleNamespace(archive=str(archive)), facts=FACTS))
    counts = astuple(Counts(**driven["counts"]))
    assert list(Publish(job).process(counts)) == [counts]
    report = json.loads((archive / "job.json").read_text())
    for part in ("counts", "archive", "exit_status"):
        assert report[part] == driven[part]
    assert report["runner"] == "a cluster"
    assert report["seconds"] >= 60


def test_damaged_weights_are_told_in_one_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(SHIPPED.read_bytes())
    tensors = 8 + int.from_bytes(data[:8], "little")
    steps = tensors + json.loads(data[8:tensors])["steps"]["data_offsets"][0]
    data[steps : steps + 4] = b"\xff" * 4  # the driver reads the header only: a worker finds it
    for name, content in (("tensor", data), ("header", data[:100]), ("empty", b"")):
        weights = tmp_path / name
        weights.write_bytes(content)
        status = encode(made / "photos", "--output", tmp_path / "new", "--weights", weights)
        assert status == 1
        shown = capsys.readouterr().err.strip().splitlines()[-1]
        assert shown.startswith("underpaint: ")
        assert "Traceback" not in shown


def test_inspect_prints_a_table_and_an_object(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert underpaint("inspect", made / "archive", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    archive = Archive.open(made / "archive")
    rows = list(archive.rows())
    assert value["images"] == len(rows)
    assert value["pixels"] == sum(row.width * row.height for row in rows)
    assert value["failed"] == 1
    assert value["weights"] == archive.weights_id
    assert [layer["name"] for layer in value["layers"]] == list(archive.layer_names)
    for number, layer in enumerate(value["layers"]):
        assert layer["bytes"] == sum(len(row.layers[number]) for row in rows)
        assert layer["bpp"] == pytest.approx(layer["bytes"] * 8 / value["pixels"])
    assert underpaint("inspect", made / "archive", "--failed") == 0
    [letter] = capsys.readouterr().out.splitlines()  # and nothing else: lines can be counted
    assert letter.startswith("left/broken.jpg: decode: PictureDamaged: ")
    assert underpaint("inspect", made / "archive") == 0
    shown = capsys.readouterr().out
    assert "1 x decode: PictureDamaged" in shown
    assert archive.weights_id in shown


@pytest.mark.parametrize(("format", "suffix"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_decode_writes_pictures_under_the_paths_of_the_sources(
    made: Path, tmp_path: Path, format: str, suffix: str
) -> None:
    assert underpaint("decode", made / "archive", "--output", tmp_path, "--format", format) == 0
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert f"left/001.{suffix}" in found
    assert f"left/001.png.{suffix}" in found  # the second of one stem
    assert len(found) == 7
    with Image.open(tmp_path / f"right/000.{suffix}") as image:
        assert image.format == format.upper()


def test_weights_of_another_profile_are_to_be_left_out(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("decode", made / "archive", "--output", tmp_path / "out", "--weights", "fidelity")
    assert underpaint(*arguments) == 2
    assert capsys.readouterr().err.strip().endswith(": leave out --weights")


def test_decode_of_fewer_layers_is_that_state(made: Path, tmp_path: Path) -> None:
    assert underpaint("decode", made / "archive", "--output", tmp_path, "--layers", 2) == 0
    row = Archive.open(made / "archive").get("right/000.jpg")
    (want,) = Codec.load().decode([row.layers[:2]])
    with Image.open(tmp_path / "right/000.png") as image:
        assert np.array_equal(np.asarray(image), want)


@pytest.mark.parametrize("levels", [None, 0])
def test_decode_to_latents_is_what_the_codec_gives(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], levels: int | None
) -> None:
    arguments = ["decode", made / "archive", "--output", tmp_path, "--format", "latents"]
    if levels is not None:
        arguments += ["--levels", levels]
    assert underpaint(*arguments, "--layers", 2) == 0
    assert "7 latents" in capsys.readouterr().out
    row = Archive.open(made / "archive").get("right/000.jpg")
    wanted = 2 if levels is None else levels
    (want,) = Codec.load().latents([row.layers[:2]], levels=wanted)
    assert want.coefficients.shape[0] == 3 * 4**wanted
    with np.load(tmp_path / "right/000.npz") as found:
        assert set(found) == {"class_map", "embedding", "coefficients"}
        for name in found:
            np.testing.assert_array_equal(found[name], getattr(want, name))
    assert len(list(tmp_path.rglob("*.npz"))) == 7


def test_max_layers_stores_the_coarser_ones_only(made: Path, tmp_path: Path) -> None:
    output = tmp_path / "archive"
    assert encode(made / "photos", "--output", output, "--max-layers", 2) == 1
    full, coarse = Archive.open(made / "archive"), Archive.open(output)
    assert coarse.layer_names == full.layer_names[:2]
    assert [r.layers for r in coarse.rows()] == [r.layers[:2] for r in full.rows()]


def test_keep_source_stores_the_original_bytes(made: Path, tmp_path: Path) -> None:
    output = tmp_path / "archive"
    assert encode(made / "photos" / "right", "--output", output, "--keep-source") == 0
    for row in Archive.open(output).rows(source=True):
        assert row.source == (made / "photos" / "right" / row.key).read_bytes()
    assert underpaint("export", output, "--original", "--output", tmp_path / "back") == 0
    for path in (made / "photos" / "right").rglob("*"):
        if path.is_file():
            back = tmp_path / "back" / path.relative_to(made / "photos" / "right")
            assert back.read_bytes() == path.read_bytes()


def test_metadata_is_stored_as_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = Image.Exif()
    block[271], block[274], block[306] = "Maker", 6, "2019:07:14 18:05:09"
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 3.0)})
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (32, 24), "teal").save(photos / "a.jpg", exif=block)
    Image.new("RGB", (32, 24), "teal").save(photos / "b.png")
    basic = {"date": "2019-07-14T18:05:09", "make": "Maker", "orientation": 6, "gps": True}
    found = {}
    for kept in ("basic", "exif", "none"):
        assert encode(photos, "--output", tmp_path / kept, "--metadata", kept) == 0
        first, second = sorted(Archive.open(tmp_path / kept).rows(), key=lambda row: row.key)
        assert second.metadata is None
        found[kept] = first.metadata and json.loads(first.metadata)
    assert found["basic"] == basic
    assert found["none"] is None
    raw = base64.b64decode(found["exif"].pop("exif"))
    assert found["exif"] == basic
    assert Image.Exif.get_ifd(_loaded(raw), 0x8825)[2] == (48.0, 51.0, 24.0)
    capsys.readouterr()
    assert encode(photos, "--output", tmp_path / "basic", "--metadata", "none") == 2
    assert "made with --metadata basic, now none" in capsys.readouterr().err
    assert underpaint("inspect", tmp_path / "exif", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metadata"] == "exif"
    assert underpaint("trim", tmp_path / "basic", "--output", tmp_path / "cut", "--layers", 1) == 0
    [kept_row, _] = sorted(Archive.open(tmp_path / "cut").rows(), key=lambda row: row.key)
    assert json.loads(kept_row.metadata or "") == basic
    target = tmp_path / "out"
    assert underpaint("export", tmp_path / "basic", "--as", "folder", "--output", target) == 0
    lines = [json.loads(line) for line in (target / "metadata.jsonl").read_text().splitlines()]
    assert [line.get("metadata") for line in lines] == [basic, None]


def _loaded(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def test_heic_is_encoded(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.heic", "b.HIF", "no suffix"):
        image = pillow_heif.from_pillow(Image.new("RGB", (48, 32), "teal"))
        image.save(photos / name, format="HEIF")
    assert encode(photos, "--output", tmp_path / "archive") == 0
    rows = list(Archive.open(tmp_path / "archive").rows())
    assert [row.source_format for row in rows] == ["HEIC"] * 3


def test_verify_is_content_with_a_sound_archive(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert underpaint("verify", archive) == 0
    assert "0 damages" in capsys.readouterr().out


def test_a_damaged_layer_is_found_and_costs_what_is_finer(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = list(Archive.open(archive).rows())[4]
    (path,) = archive.glob("data/*.parquet")
    data = bytearray(path.read_bytes())
    data[data.index(row.layers[3]) + len(row.layers[3]) // 2] ^= 4
    path.write_bytes(data)
    assert underpaint("verify", archive) == 1
    shown = capsys.readouterr().out
    assert f"{row.key!r} from layer 4" in shown
    assert "1 damage\n" in shown
    assert underpaint("decode", archive, "--output", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert shown.err.count("warning:") == 1
    assert row.key in shown.err
    assert "damaged 1, lost 0" in shown.out
    (want,) = Codec.load().decode([row.layers[:3]])
    name = Path(row.key).with_suffix(".png")
    with Image.open(tmp_path / "out" / name) as image:
        assert np.array_equal(np.asarray(image), want)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 7
    assert underpaint("decode", archive, "--output", tmp_path / "coarse", "--layers", 3) == 0
    tensors = ["--output", tmp_path / "tensors", "--format", "latents"]
    assert underpaint("decode", archive, *tensors) == 1
    (state,) = Codec.load().latents([row.layers[:3]])
    with np.load(tmp_path / "tensors" / name.with_suffix(".npz")) as found:
        np.testing.assert_array_equal(found["coefficients"], state.coefficients)
    assert underpaint("decode", archive, *tensors, "--texture", 1) == 2


def test_a_missing_data_file_is_one_damage(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = archive.glob("data/*.parquet")
    path.unlink()
    capsys.readouterr()
    assert underpaint("verify", archive) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"damaged: data/{path.name}: the file is missing"
    assert told[1].endswith(": 0 pictures, 0 layers good, 1 damage")
    assert underpaint("decode", archive, "--output", tmp_path / "out") == 1


def test_a_lost_manifest_is_named_and_written_again(
    made: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = archive / "manifest.json"
    before = Archive.open(archive).statistics()
    commits = sorted((archive / "commits").iterdir())
    manifest.unlink()
    capsys.readouterr()
    assert underpaint("inspect", archive) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"underpaint: {archive}: its manifest.json is lost; the command that")
    assert encode(made / "photos", "--output", archive) == 1
    assert Archive.open(archive).statistics() == before
    assert sorted((archive / "commits").iterdir()) == commits
    manifest.unlink()
    (archive / "job.json").unlink()
    capsys.readouterr()
    assert underpaint("inspect", archive) == 2
    assert "not published yet: an encode is running, or was stopped" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [0, 0.7])
def test_a_missing_or_cut_data_file_of_two_costs_all_its_pictures(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: float
) -> None:
    (path,) = archive.glob("data/*.parquet")
    lost = len(Archive.open(archive))
    make_photos(tmp_path / "more", 4)
    assert encode(tmp_path / "more", "--output", archive) == 1
    assert len(list(archive.glob("data/*.parquet"))) == 2
    data = path.read_bytes()
    path.unlink()
    if kept:
        path.write_bytes(data[: int(kept * len(data))])
    capsys.readouterr()
    assert underpaint("verify", archive) == 1
    assert "2 damages" not in capsys.readouterr().out
    assert underpaint("decode", archive, "--output", tmp_path / "out") == 1
    assert f"damaged 0, lost {lost}\n" in capsys.readouterr().out
    assert underpaint("export", archive, "--output", tmp_path / "shards") == 1
    assert f"damaged {lost}\n" in capsys.readouterr().out
    assert underpaint("verify", archive, "--repair", "--output", tmp_path / "new") == 1
    assert f"lost {lost}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["encode", "nowhere", "--output", "new"], "no such file or folder: nowhere"),
        (["encode", "empty", "--output", "new"], "no pictures or shards in empty"),
        (["encode", "photos", "--output", "new", "--max-layers", "99"], "99"),
        (["encode", "photos", "--output", "photos"], "holds files, and no archive"),
        (["encode", "photos", "--output", "new", "--runner", "PrismRunner"], "PrismRunner"),
        (["encode", "photos", "--output", "new", "--runner", "DaskRunner"], "DaskRunner"),
        (
            ["encode", "photos", "--output", "new", "--no-such-option=1"],
            "unknown options: --no-such-option; see underpaint encode --help",
        ),
        (["encode", "photos", "--output", "archive", "--max-layers", "1"], "layers"),
        (["encode", "photos", "--output", "new", "--weights", "none"], "none"),
        (["encode", "photos", "--output", "new", "--source", "tapes"], "tapes"),
        (["decode", "archive", "--output", "out", "--layers", "9"], "layers: 9; the archive has"),
        (["decode", "photos", "--output", "out"], "no archive"),
        (["inspect", "nowhere"], "nowhere: no such folder"),
        (["verify", "empty"], "no archive"),
        (["sweep", "empty"], "no archive"),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(
    made: Path,
    arguments: list[str],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (made / "empty").mkdir(exist_ok=True)
    monkeypatch.chdir(made)
    assert underpaint(*arguments) == 2
    shown = capsys.readouterr().err.strip()
    assert shown.startswith("underpaint: ")
    assert text in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.slow
def test_a_job_that_breaks_says_why_in_one_line(made: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "data").write_bytes(b"a file in the way")
    command = [
        sys.executable,
        "-P",
        "-m",
        "underpaint",
        "encode",
        str(made / "photos"),
    ]
    command += ["--output", str(tmp_path / "archive"), "--workers", "2"]
    done = subprocess.run([*command, "--unit-size", "9k"], capture_output=True, text=True)
    assert done.returncode == 1
    progress = (" pictures ", "compiling functions: once", "compiled ")
    lines = [line for line in done.stderr.splitlines() if not any(p in line for p in progress)]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("underpaint: the job broke: FileExistsError")


@pytest.mark.parametrize("command", ["encode", "decode", "inspect", "verify", "sweep", ""])
def test_help_names_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert underpaint(*([command] if command else []), "--help") == 0
    shown = capsys.readouterr().out
    assert "usage: underpaint" in shown


def test_the_command_starts_without_torch_and_beam() -> None:
    code = (
        "import sys, underpaint.pipelines.cli.main as m; m.build_parser(); "
        "print([n for n in ('torch', 'apache_beam', 'pyarrow') if n in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.slow
def test_two_processes_make_the_same_files(made: Path, tmp_path: Path) -> None:
    """The whole command in processes of its own, as a shell runs it."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "underpaint",
        "encode",
        str(made / "photos"),
    ]
    command += ["--output", str(tmp_path / "archive"), "--workers", "2", "--unit-size", "5k"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "8 of 8 pictures" in done.stderr
    assert len(list((tmp_path / "archive" / "commits").iterdir())) > 2
    one, two = Archive.open(made / "archive"), Archive.open(tmp_path / "archive")
    assert {r.key: r.layers for r in one.rows()} == {r.key: r.layers for r in two.rows()}
    assert len(list(two.keys())) == 7
    assert underpaint("decode", tmp_path / "archive", "--output", tmp_path / "out",
                      "--workers", 2) == 0  # fmt: skip
    assert len(list((tmp_path / "out").rglob("*.png"))) == 7
