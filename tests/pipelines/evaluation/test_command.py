"""`evaluate` from photos to files, and the page it writes."""

from __future__ import annotations

import argparse
import csv
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from skimage import data

from underpaint import Codec
from underpaint.codec.errors import MeasurementFailed, UsageError
from underpaint.codec.metrics import psnr
from underpaint.pipelines.cli import benchmark, evaluate
from underpaint.pipelines.evaluation.corpus import corpus_curve, difference, excess_at
from underpaint.pipelines.evaluation.crops import Crop, CropRow
from underpaint.pipelines.evaluation.measurement import CODEC, Measure, PhotoMeasures
from underpaint.pipelines.evaluation.page import PhotoCrops, Plot, Section, evaluation_page
from underpaint.pipelines.evaluation.scores import SCORES
from underpaint.pipelines.evaluation.speed import speeds
from underpaint.pipelines.evaluation.tables import percent
from underpaint.pipelines.evaluation.usage import measured_run

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.astronaut()[60:188, 150:310]).save(folder / "a <b>.png")
    Image.fromarray(data.coffee()[100:200, 200:312]).save(folder / "coffee.png")
    return folder


def run(module, *arguments) -> int:
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    parsed = parser.parse_args([str(argument) for argument in arguments])
    return parsed.run(parsed)


def read_csv(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_peers_alone(photos, tmp_path, capsys):
    out, cache = tmp_path / "out", tmp_path / "cache"
    arguments = ["evaluate", photos, "--peers", "jpeg,webp", "--peers-only", "--workers", 1]
    arguments += ["--speed-photos", 0, "--cache", cache]
    assert run(evaluate, *arguments, "--output", out) == 0
    printed = capsys.readouterr().out
    assert "JPEG (optimised, 4:2:0)" in printed
    assert (out / "rate_distortion.png").read_bytes().startswith(PNG_MAGIC)
    rows = read_csv(out / "photos.csv")
    assert {row["photo"] for row in rows} == {"a <b>.png", "coffee.png"}
    assert len(rows) == 2 * (14 + 13)
    for row in rows:
        assert float(row["bpp"]) == pytest.approx(
            8 * int(row["bytes"]) / int(row["pixels"]), rel=1e-5
        )
    means = read_csv(out / "curves.csv")
    of_both = [float(r["psnr"]) for r in rows if (r["codec"], r["setting"]) == ("jpeg", "37")]
    (mean,) = [float(r["psnr"]) for r in means if (r["codec"], r["setting"]) == ("jpeg", "37")]
    assert mean == pytest.approx(sum(of_both) / 2, rel=1e-5)
    assert len(list(cache.iterdir())) == 2

    again = tmp_path / "again"
    assert run(evaluate, *arguments, "--output", again) == 0
    assert (again / "photos.csv").read_text() == (out / "photos.csv").read_text()


@pytest.fixture(scope="module")
def with_bad_photos(photos, tmp_path_factory):
    """Two photos, one torn, one of another kind and one too small."""
    folder = tmp_path_factory.mktemp("bad photos")
    for path in photos.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "b torn.png").write_bytes((photos / "coffee.png").read_bytes()[:900])
    (folder / "c text.jpg").write_text("no picture")
    Image.fromarray(np.zeros((7, 200, 3), np.uint8)).save(folder / "d flat.png")
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_photos_that_cannot_be_read_are_named_and_left_out(
    photos, with_bad_photos, tmp_path, capfd, workers
):
    arguments = ["--peers", "jpeg", "--peers-only", "--workers", workers, "--speed-photos", 2]
    assert run(evaluate, "evaluate", photos, *arguments, "--output", tmp_path / "good") == 0
    capfd.readouterr()
    assert run(evaluate, "evaluate", with_bad_photos, *arguments, "--output", tmp_path / "all") == 1
    said = capfd.readouterr()
    for name in ("b torn.png", "c text.jpg", "d flat.png"):
        assert len([line for line in said.err.splitlines() if f"left out: {name}: " in line]) == 1
    assert "left out 3 of 5 photos" in said.err
    assert "200x7 pixels; metrics need" in said.err
    assert "Means over 2 photos of bits per pixel and scores (3 left out" in said.out
    for table in ("photos.csv", "curves.csv"):
        assert read_csv(tmp_path / "all" / table) == read_csv(tmp_path / "good" / table)


def test_nothing_is_measured_where_no_photo_can_be_read(tmp_path, capfd):
    (tmp_path / "a.jpg").write_text("no picture")
    arguments = ["evaluate", tmp_path, "--peers", "jpeg", "--peers-only", "--output"]
    with pytest.raises(MeasurementFailed, match="all photos are left out"):
        run(evaluate, *arguments, tmp_path / "out")
    assert "left out: a.jpg: " in capfd.readouterr().err


@pytest.mark.parametrize("others", [[], ["--tasks", "tasks", "--peers-only"]])
def test_texture_without_effect_is_refused(photos, tmp_path, others):
    with pytest.raises(UsageError, match="--texture: no effect"):
        run(evaluate, "evaluate", photos, "--output", tmp_path, "--texture", 1, *others)


@pytest.mark.slow
def test_more_effort_takes_fewer_bytes(photos, tmp_path):
    sizes = {}
    for effort in (1, 2):
        out = tmp_path / str(effort)
        arguments = ["evaluate", photos, "--peers", "none", "--workers", 1, "--speed-photos", 0]
        assert run(evaluate, *arguments, "--effort", effort, "--output", out) == 0
        rows = read_csv(out / "photos.csv")
        assert {row["codec"] for row in rows} == {CODEC}
        sizes[effort] = np.array([int(row["bytes"]) for row in rows])
    assert (sizes[2] <= sizes[1]).all()
    assert (sizes[2] < sizes[1]).any()


@pytest.mark.slow
def test_codec_and_peers(photos, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["evaluate", photos, "--peers", "jpeg", "--workers", 1, "--speed-photos", 2]
    assert run(evaluate, *arguments, "--output", out, "--page", "--page-photos", 1) == 0
    printed = capsys.readouterr().out
    assert "BD-rate" in printed
    codec = Codec.load()
    rows = [row for row in read_csv(out / "photos.csv") if row["codec"] == CODEC]
    assert len(rows) == 2 * codec.layers
    (layers,) = codec.encode([data.astronaut()[60:188, 150:310]])
    first = [row for row in rows if row["photo"] == "a <b>.png"]
    sizes = np.cumsum([len(layer) for layer in layers])
    assert [int(row["bytes"]) for row in first] == list(sizes)
    (half,) = codec.decode([layers[:3]])
    of_three = psnr(data.astronaut()[60:188, 150:310], half)
    assert float(first[2]["psnr"]) == pytest.approx(of_three, rel=1e-4)
    (psnr_row, _) = read_csv(out / "bd_rates.csv")
    assert (psnr_row["against"], psnr_row["metric"]) == ("jpeg", "psnr")
    assert -90 < float(psnr_row["percent"]) < 0
    names = [row["codec"] for row in read_csv(out / "speeds.csv")]
    assert names[0] == CODEC
    assert names[-1] == "jpeg"
    outline = Outline((out / "evaluation.html").read_text())
    assert "coffee.png" in outline.text
    crops = [at for tag, at in outline.tags if tag == "img"]
    assert len(crops) == 1 + 3 * 4


@pytest.mark.slow
def test_codec_figures_of_the_benchmark(photos, tmp_path, capsys):
    found = tmp_path / "figures.json"
    arguments = ["benchmark", photos, "--codec-only", "--workers", 1, "--json", found]
    assert run(benchmark, *arguments) == 0
    figures = json.loads(found.read_text())
    ratio = figures["codec, encode"]["value"] / figures["AVIF speed 6, encode"]["value"]
    assert figures["codec, encode against AVIF"]["value"] == pytest.approx(ratio)
    printed = capsys.readouterr().out
    assert all(name in printed and figure["value"] > 0 for name, figure in figures.items())


def test_memory_and_time_of_a_command():
    usage = measured_run(["--help"])
    assert usage.seconds > 0
    assert usage.peak_bytes > 1 << 20


def test_a_command_that_fails_gives_no_figures(tmp_path):
    with pytest.raises(MeasurementFailed, match="underpaint inspect ended with status 2"):
        measured_run(["inspect", str(tmp_path / "absent")])


def test_mistakes_get_one_line(photos, tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        run(evaluate, "evaluate", tmp_path / "absent", "--output", tmp_path)
    with pytest.raises(UsageError, match="nothing to measure"):
        run(evaluate, "evaluate", photos, "--peers", "none", "--peers-only", "--output", tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="a file, not a folder"):
        run(evaluate, "evaluate", photos, "--peers-only", "--output", file / "below")
    with pytest.raises(UsageError, match="no such file or folder"):
        run(benchmark, "benchmark", tmp_path / "absent")


@pytest.mark.slow
def test_speeds_of_peers():
    photos = [data.astronaut()[:96, :128], data.coffee()[:64, :64]]
    (jpeg,) = speeds(photos, [("jpeg", 37, "JPEG")], weights=None, workers=1)
    assert jpeg.encode > 0
    assert jpeg.decode > 0
    assert 0.2 < jpeg.bpp < 5


def ladder(rates: list[float], values: list[float]) -> list[Measure]:
    return [
        Measure(round(r * 12500), 100_000, {"psnr": v}) for r, v in zip(rates, values, strict=True)
    ]


def test_corpus_figures():
    """Ours: a coarse point that would ruin the curve if it counted, then half the peer's bytes."""
    score = SCORES["psnr"]
    values = [26.0, 29.0, 33.0, 37.0]
    measured = [
        PhotoMeasures(
            name,
            {
                "jpeg": ladder([0.2 * k, 0.4 * k, 0.8 * k, 1.6 * k], values),
                CODEC: ladder([0.19 * k, 0.2 * k, 0.4 * k, 0.8 * k], [10.0, *values[1:]]),
            },
        )
        for name, k in (("a", 1.0), ("b", 2.0))
    ]
    peer = corpus_curve(measured, "jpeg", "JPEG", list("wxyz"), [score])
    ours = corpus_curve(measured, CODEC, "Underpaint", list("1234"), [score])
    assert peer.bpp == pytest.approx((0.3, 0.6, 1.2, 2.4))
    found = difference(measured, ours, peer, score)
    assert found.of_means == pytest.approx(-50, abs=0.5)
    assert found.mean_of_photos == pytest.approx(-50, abs=0.5)
    assert found.standard_error == pytest.approx(0, abs=1e-6)  # the same in both
    assert found.photos == 2
    assert excess_at(ours, peer, score, 2) == pytest.approx(-50)
    assert percent(excess_at(ours, peer, score, 0)) == "-"
    with pytest.raises(UsageError, match="a has 4 points of jpeg, not 3"):
        corpus_curve(measured, "jpeg", "JPEG", list("xyz"), [score])


class Outline(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_escapes_what_photos_are_called():
    evil = '<script>alert("x")</script>&'
    buffer = PNG_MAGIC
    page = evaluation_page(
        evil,
        evil,
        [Section(evil, evil, evil)],
        [Plot(evil, buffer)],
        [PhotoCrops(evil, [CropRow(evil, (Crop(evil, buffer), Crop(evil, buffer, ours=True)))])],
    )
    outline = Outline(page)
    tags = [tag for tag, _ in outline.tags]
    assert "script" not in tags
    assert outline.text.count(evil) == 10
    images = [attributes for tag, attributes in outline.tags if tag == "img"]
    assert [image["alt"] for image in images] == [evil] * 3
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in images)
    assert "http" not in page


def test_pixels_reach_peers_as_they_are(photos):
    from underpaint.pipelines.evaluation.photos import find_photos

    first, second = find_photos([str(photos)])
    assert (first.name, second.name) == ("a <b>.png", "coffee.png")
    np.testing.assert_array_equal(first.read(), data.astronaut()[60:188, 150:310])
