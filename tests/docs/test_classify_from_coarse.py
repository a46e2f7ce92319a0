"""The example that classifies from coarse layers: its groups, its bytes, a run from end to end."""

import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from docs.examples import classify_from_coarse as example
from underpaint import Codec
from underpaint.codec.errors import UsageError

NAMES = ("n02124075_Egyptian_cat", "n07920052_espresso", "n02123045_tabby", "n07836838_sauce")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index, name in enumerate(NAMES):
        picture = (data.chelsea, data.coffee)[index % 2]()[20 * index :][:128, :160]
        Image.fromarray(picture).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_groups_are_told_by_wordnet_ids():
    groups = list(example.GROUPS)
    for name, group in (
        ("n02088364_beagle.jpg", "dog"),
        ("n01440764_tench.jpg", "fish"),
        ("n01855032_merganser.jpg", "bird"),
        ("n04562935_water_tower.jpg", "thing"),
    ):
        assert groups[example.group_of(name)] == group
    assert example.group_of("n06359193_web_site.jpg") is None
    assert example.group_of("holiday.jpg") is None
    ends = sorted(pair for ranges in example.GROUPS.values() for pair in ranges)
    assert all(before[1] <= after[0] for before, after in pairwise(ends))


@pytest.mark.parametrize("most", [600, 1500, 20_000])
def test_avif_files_keep_to_their_bytes(most):
    picture = data.astronaut()[:160, 100:300]
    whole = example.best_avif(Image.fromarray(picture), most)
    assert Image.open(io.BytesIO(whole)).size == (200, 160)
    assert (len(whole) <= most) == (most == 20_000) or most == 1500
    shrunken = example.shrunken_avif(picture, most)
    assert len(shrunken) <= most
    assert (Image.open(io.BytesIO(shrunken)).size == (200, 160)) == (len(whole) <= most)
    assert len(example.shrunken_avif(picture, 1)) < 600  # the smallest there is


def test_mirrored_latents_are_like_those_of_the_mirrored_photo():
    codec, picture = Codec.load(), data.coffee()[:256, :256]
    pair = [picture, picture[:, ::-1].copy()]
    straight, mirrored = (
        torch.from_numpy(latents.coefficients)[None].abs()
        for latents in codec.latents([layers[:2] for layers in codec.encode(pair)])
    )
    guess = example.CoarseLayers.mirrored(straight)
    for part, worse in ((slice(0, 3), straight), (slice(12, 48), straight.flip(-1))):
        off = (guess - mirrored)[:, part].square().mean()
        assert off < (worse - mirrored)[:, part].square().mean()


@pytest.mark.parametrize("shape", [(3, 5), (26, 26), (40, 7)])
def test_latents_stand_in_the_middle_of_the_grid(shape):
    rng = np.random.default_rng(0)
    parts = [torch.from_numpy(rng.random((count, *shape), np.float32)) for count in (4, 2)]
    grid = example.centred(parts)
    assert grid.shape == (6, example.GRID, example.GRID)
    rows, columns = (min(side, example.GRID) for side in shape)
    top, left = (example.GRID - rows) // 2, (example.GRID - columns) // 2
    cut = tuple((side - kept) // 2 for side, kept in zip(shape, (rows, columns), strict=True))
    middle = grid[:, top : top + rows, left : left + columns]
    whole = torch.cat(parts)[:, cut[0] : cut[0] + rows, cut[1] : cut[1] + columns]
    np.testing.assert_array_equal(middle, whole)
    assert grid.count_nonzero() == middle.count_nonzero()


def test_it_runs_from_photos_to_a_table(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(example, "EPOCHS", 1)
    monkeypatch.setattr(example, "PASSES", 1)
    arguments = [str(photos), "--work", str(tmp_path), "--layers", "1", "--folds", "2"]
    example.main([*arguments, "--seeds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 photos of 12 classes; the largest has 2"
    names = ["AVIF, whole", "latents, layers: 1", "AVIF, bytes of 1"]
    assert [line.split("  ")[0] for line in lines[4:]] == names
    whole, layers, shrunken = (float(line[24:32]) for line in lines[4:])
    assert 0 < shrunken <= max(layers, 600)
    assert whole > shrunken
    with pytest.raises(UsageError, match="WordNet"):
        example.main([str(tmp_path / "none"), "--work", str(tmp_path)])


@pytest.mark.parametrize(
    "name", ["classify_from_coarse", "train_from_latents", "resnet_on_latents"]
)
def test_a_mistake_gets_one_line(name, tmp_path):
    script = Path(example.__file__).with_name(f"{name}.py")
    arguments = ["--work", "work"] if name == "classify_from_coarse" else ["--label", "x"]
    command = [sys.executable, str(script), str(tmp_path / "none"), *arguments]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith(f"{name}: ")
    assert len(run.stderr.splitlines()) == 1


class Maps:
    """Maps that may be mirrored as they are."""

    stem = 0

    def mirrored(self, inputs):
        return inputs.flip(-1)


def test_a_network_learns_what_can_be_seen():
    rng = np.random.default_rng(0)
    labels = torch.arange(32) % 2
    inputs = torch.from_numpy(rng.normal(size=(32, 5, 8, 8)).astype(np.float32))
    inputs[:, 0] += 2.0 * labels[:, None, None]
    inputs *= 256  # colour is given in grey levels
    net = example.train(inputs, labels, Maps(), seed=0)
    assert example.right(net, inputs, labels) >= 30
