"""Peers, scores, and the cache of their results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from skimage import data

from underpaint.codec.errors import UsageError
from underpaint.pipelines.evaluation.crops import CROP, busiest_window, nearest_file
from underpaint.pipelines.evaluation.curves import bd_rate
from underpaint.pipelines.evaluation.measurement import PeerCache, measure_peer
from underpaint.pipelines.evaluation.peers import (
    AVIF_TUNES,
    PEER_NAMES,
    peer_named,
    peers_named,
    short_labels,
)
from underpaint.pipelines.evaluation.photos import Photo, find_photos, spread
from underpaint.pipelines.evaluation.scores import SCORES, scores_named


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.ascontiguousarray(data.astronaut()[40:168, 150:342])


@pytest.mark.parametrize("name", PEER_NAMES)
def test_a_ladder_runs_from_coarse_to_fine(name, photo):
    peer = peer_named(name)
    rungs = [peer.qualities[0], peer.qualities[len(peer.qualities) // 2], peer.qualities[-1]]
    files = [peer.encode(photo, quality) for quality in rungs]
    decoded = [peer.decode(file) for file in files]
    sizes = [len(file) for file in files]
    values = [SCORES["psnr"].of_pictures(photo, each) for each in decoded]
    assert sizes == sorted(sizes)
    assert values == sorted(values)
    assert values[-1] > 36
    assert all(each.shape == photo.shape and each.dtype == np.uint8 for each in decoded)


def test_short_labels_tell_all_peers_apart():
    labels = [peer_named(name).label for name in PEER_NAMES]
    short = short_labels(labels)
    assert len(set(short)) == len(labels)
    assert "WebP" in short
    assert "AVIF (speed 6, tune psnr)" in short
    assert short_labels(["AVIF (speed 6)", "WebP (method 6)"]) == ["AVIF", "WebP"]


@pytest.mark.parametrize("name", PEER_NAMES)
def test_the_qualities_of_a_ladder_are_distinct(name):
    peer = peer_named(name)
    assert len(set(peer.qualities)) == len(peer.qualities) >= 10


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "jxl"])
def test_the_file_nearest_to_a_size_is_near(name, photo):
    peer = peer_named(name)
    found = nearest_file(peer, photo, 6000)
    assert 0.9 < len(found) / 6000 < 1.1
    smallest = nearest_file(peer, photo, 1)
    assert len(smallest) <= len(peer.encode(photo, peer.qualities[0]))


@pytest.mark.parametrize("metric", AVIF_TUNES)
def test_avif_tuned_for_a_metric_needs_fewer_bytes_in_it(metric, photo):
    curves = []
    for name in ("avif", f"avif-{metric}"):
        peer = peer_named(name)
        files = [peer.encode(photo, quality) for quality in peer.qualities]
        values = [SCORES[metric].of_pictures(photo, peer.decode(file)) for file in files]
        curves += [[float(len(file)) for file in files], values]
    assert bd_rate(*curves) < 0


def test_unknown_names_are_refused():
    with pytest.raises(
        UsageError, match=r"no peer 'gif'; there are jpeg, webp, avif, avif-444, avif-psnr, .*jp2"
    ):
        peers_named(["jpeg", "gif"])
    with pytest.raises(UsageError, match="no metric 'vmaf'; there are psnr, ms-ssim, ssimulacra2"):
        scores_named(["vmaf"])


def test_scores_of_equal_and_of_worse_pictures(photo):
    jpeg = peer_named("jpeg")
    worse = jpeg.decode(jpeg.encode(photo, 20))
    for score in SCORES.values():
        best = score.of_pictures(photo, photo)
        assert best == pytest.approx({"ms-ssim": 1.0}.get(score.name, 100.0))
        assert score.of_pictures(photo, worse) < best


def test_ssimulacra2_of_jpeg_is_where_its_authors_put_it():
    """Their scale: about 90 cannot be told apart, 70 is high quality, 30 is low."""
    photo = data.astronaut()[:256, 100:356]
    jpeg = peer_named("jpeg")
    score = SCORES["ssimulacra2"]
    fine = score.of_pictures(photo, jpeg.decode(jpeg.encode(photo, 94)))
    poor = score.of_pictures(photo, jpeg.decode(jpeg.encode(photo, 13)))
    assert 75 < fine < 95
    assert 10 < poor < 40


def test_cached_results_are_used_and_completed(tmp_path, photo):
    peer = peer_named("jpeg")
    psnr = scores_named(["psnr"])
    store = PeerCache(tmp_path, photo)
    first = measure_peer(peer, 37, photo, psnr, store)
    store.save()
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    assert kept[peer.key]["37"]["bytes"] == first.size == len(peer.encode(photo, 37))

    kept[peer.key]["37"]["psnr"] = 12.5
    path.write_text(json.dumps(kept))
    assert measure_peer(peer, 37, photo, psnr, PeerCache(tmp_path, photo)).scores["psnr"] == 12.5

    store = PeerCache(tmp_path, photo)
    both = measure_peer(peer, 37, photo, scores_named(["psnr", "ms-ssim"]), store)
    assert both.scores["psnr"] == 12.5
    assert both.scores["ms-ssim"] == pytest.approx(0.97, abs=0.03)


def test_another_photo_and_another_shape_are_other_entries(tmp_path, photo):
    stores = [
        PeerCache(tmp_path, p) for p in (photo, photo[::-1].copy(), photo.reshape(192, 128, 3))
    ]
    for store in stores:
        store.put("key", 1, 10, {})
        store.save()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_broken_cache_is_named(tmp_path, photo):
    store = PeerCache(tmp_path, photo)
    store.put("key", 1, 10, {})
    store.save()
    (path,) = tmp_path.iterdir()
    path.write_text("{")
    with pytest.raises(UsageError, match=path.name):
        PeerCache(tmp_path, photo)


def test_a_picture_a_peer_cannot_take_is_named():
    wide = np.zeros((8, 16400, 3), np.uint8)
    with pytest.raises(UsageError, match=r"WebP .* fails on 16400x8 pixels"):
        measure_peer(peer_named("webp"), 0, wide, scores_named(["psnr"]), PeerCache(None, wide))


def test_the_busiest_window_holds_the_detail():
    pixels = np.full((300, 400, 3), 90, np.uint8)
    pixels[150:250, 230:330] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    rows, columns = busiest_window(pixels)
    assert rows.stop - rows.start == columns.stop - columns.start == CROP
    assert rows.start <= 150
    assert rows.stop >= 250
    assert columns.start <= 230
    assert columns.stop >= 330
    small = busiest_window(pixels[:20, :30])
    assert small == (slice(0, 20), slice(0, 30))


def test_photos_are_spread_over_all():
    photos = [Photo(str(i), "") for i in range(10)]
    assert [p.name for p in spread(photos, 3)] == ["1", "5", "8"]
    assert spread(photos, 10) == spread(photos, 99) == photos


def test_a_folder_without_pictures_is_a_mistake(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UsageError, match="no pictures in"):
        find_photos([str(tmp_path)])
