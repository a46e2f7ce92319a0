"""The example that classifies from coarse layers: its groups, its bytes, a run from end to end."""

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from codec import Codec
from codec.errors import UsageError
from pipelines.examples import classify_from_coarse as example

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
    file = example.avif_within(picture, most)
    assert len(file) <= most
    size = Image.open(io.BytesIO(file)).size
    assert (size == (200, 160)) == (most == 20_000) or most == 1500
    assert len(example.avif_within(picture, 1)) < 600  # the smallest there is


def test_mirrored_latents_are_like_those_of_the_mirrored_photo():
    codec, picture = Codec.load(), data.coffee()[:256, :256]
    pair = [picture, picture[:, ::-1].copy()]
    straight, mirrored = (
        torch.from_numpy(latents.coefficients)[None].abs()
        for latents in codec.latents([layers[:2] for layers in codec.encode(pair)])
    )
    guess = example.mirrored_latents(straight)
    for part, worse in ((slice(0, 3), straight), (slice(12, 48), straight.flip(-1))):
        off = (guess - mirrored)[:, part].square().mean()
        assert off < (worse - mirrored)[:, part].square().mean()


def test_it_runs_from_photos_to_a_table(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(example, "EPOCHS", 2)
    arguments = [str(photos), "--work", str(tmp_path), "--layers", "1", "--folds", "2"]
    assert example.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 photos of 12 classes; the largest has 2"
    assert [line.split("  ")[0] for line in lines[2:]] == ["1 layers, latents", "AVIF pictures"]
    layers, avif = (float(line[24:32]) for line in lines[2:])
    assert 0 < avif <= max(layers, 600)
    with pytest.raises(UsageError, match="WordNet"):
        example.main([str(tmp_path / "none"), "--work", str(tmp_path)])


def test_a_network_learns_what_can_be_seen():
    rng = np.random.default_rng(0)
    labels = torch.arange(32) % 2
    inputs = torch.from_numpy(rng.normal(size=(32, 5, 16, 16)).astype(np.float32))
    inputs[:, 0] += 2.0 * labels[:, None, None]
    net = example.train(inputs, labels, lambda x: x.flip(-1), seed=0)
    assert example.right(net, inputs, labels) >= 30
