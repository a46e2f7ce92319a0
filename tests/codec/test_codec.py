"""The codec as a whole: any picture in, any prefix of layers out, damage noticed."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import uniform_filter
from skimage import data

from tests.helpers.backends import torch_backend, torch_latents
from tests.helpers.streams import framed
from underpaint import Codec
from underpaint.codec.archive import Row
from underpaint.codec.bitstream import PictureHeader, frames, unpack_stream
from underpaint.codec.errors import (
    LayerDamaged,
    UnknownVersion,
    UsageError,
    WeightsDamaged,
    WeightsMismatch,
)
from underpaint.codec.metrics import psnr
from underpaint.codec.palette.merging import MergeWeights
from underpaint.codec.transform.colours import to_opponent
from underpaint.codec.transform.subbands import DYADIC_LEVELS
from underpaint.codec.transform.wavelet import analyse
from underpaint.codec.weights.header import SHIPPED
from underpaint.codec.weights.loading import load_weights, unpack_weights


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.astronaut()[:208, 100:340]


@pytest.fixture(scope="module")
def stream(codec, photo) -> tuple[bytes, ...]:
    return codec.encode([photo])[0]


def _equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def test_each_layer_brings_the_picture_closer(codec, photo, stream):
    assert 6 <= codec.layers <= 8
    assert len(codec.layer_names) == codec.layers == len(stream)
    decoded = codec.decode([stream[:n] for n in range(1, codec.layers + 1)])
    quality = [psnr(photo, picture) for picture in decoded]
    assert quality == sorted(quality)
    assert quality[-1] >= 38
    pixels = photo.shape[0] * photo.shape[1]
    assert 8 * len(stream[0]) / pixels < 0.1


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (40, 1), (16, 32), (32, 16), (33, 17), (5, 300), (130, 66)]
)
@pytest.mark.parametrize("kind", ["noise", "flat", "checkerboard"])
def test_any_size_and_content(codec, shape, kind):
    rng = np.random.default_rng(7)
    if kind == "noise":
        picture = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    elif kind == "flat":
        picture = np.full((*shape, 3), rng.integers(0, 256, 3), np.uint8)
    else:
        picture = (np.indices(shape).sum(0) % 2 * 255)[..., None].repeat(3, 2).astype(np.uint8)
    layers = codec.encode([picture])[0]
    decoded = codec.decode([layers])[0]
    assert decoded.shape == picture.shape
    weights = load_weights(None)
    widest = weights.steps.max() * weights.classes.mask.max()
    assert np.abs(decoded.astype(int) - picture).max() <= 2.2 * widest
    symbols, known = codec.symbols(layers), codec.quantised([picture])[0]
    class_maps = [state.class_map for state in known.palettes]
    assert _equal(symbols, [np.array(known.rotation), *class_maps, known.q])


def test_bytes_do_not_depend_on_the_batch(codec, photo, stream):
    others = [photo[:100], photo[::-1].copy(), photo[:, :37]]
    together = codec.encode([others[0], photo, *others[1:]])
    assert together[1] == stream
    pictures = codec.decode([together[0], together[1], together[2][:2], together[3]])
    alone = codec.decode([stream])[0]
    assert np.abs(pictures[1].astype(int) - alone).max() <= 1
    assert [p.shape for p in pictures] == [i.shape for i in (others[0], photo, *others[1:])]


def test_fewer_layers_are_a_prefix(codec, photo, stream):
    assert codec.encode([photo], layers=2)[0] == stream[:2]


def test_symbols_depend_on_nothing_but_the_bytes(codec, stream):
    expected = codec.symbols(stream)
    double = Codec(load_weights(None))
    torch_backend(double)._network.double()
    assert _equal(double.symbols(stream), expected)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert _equal(codec.symbols(stream), expected)
    finally:
        torch.set_num_threads(threads)
    results: list[bool] = []
    workers = [
        threading.Thread(target=lambda: results.append(_equal(codec.symbols(stream), expected)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [True] * 4


def test_latents(codec, photo, stream):
    found = codec.latents([stream[:2], stream])
    for latents in found:
        assert latents.class_map.shape == (13, 15)
        assert latents.embedding.shape[1:] == (13, 15)
        assert latents.coefficients.shape == (48, 13, 15)
        assert latents.coefficients.dtype == latents.embedding.dtype == np.float32
    assert np.abs(found[0].coefficients).sum() < np.abs(found[1].coefficients).sum()
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float()
    shear = load_weights(None).config.shear
    low = analyse(to_opponent(pixels, shear), DYADIC_LEVELS)[-1][0].numpy()
    np.testing.assert_allclose(found[1].coefficients[:3], low, atol=40)


def test_latents_of_more_levels_add_channels(codec, stream):
    channels = {
        levels: codec.latents([stream], levels=levels)[0].coefficients for levels in range(5)
    }
    assert [len(channels[levels]) for levels in range(5)] == [3, 12, 48, 192, 768]
    for levels in range(4):
        finer = channels[levels + 1][: len(channels[levels])]
        np.testing.assert_array_equal(finer, channels[levels])
    with pytest.raises(UsageError, match="levels: 5"):
        codec.latents([stream], levels=5)


def test_flipped_bits_are_noticed_and_the_prefix_still_decodes(codec, stream):
    rng = np.random.default_rng(11)
    clean = [codec.symbols(stream[:n]) for n in range(1, len(stream) + 1)]
    for index, blob in enumerate(stream):
        for bit in rng.integers(0, 8 * len(blob), 200):
            damaged = bytearray(blob)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises((LayerDamaged, UnknownVersion)):
                unpack_stream([*stream[:index], bytes(damaged), *stream[index + 1 :]])
        with pytest.raises(LayerDamaged) as caught:
            codec.check([*stream[:index], blob[:-1] + bytes([blob[-1] ^ 1])])
        assert caught.value.layer == index
        if index:
            assert _equal(codec.symbols(stream[:index]), clean[index - 1])


def test_the_end_of_a_payload_is_checked_behind_the_checksum(codec, stream):
    first, *_ = frames(stream)
    for payload in (
        first.payload + bytes(4),
        first.payload[:-4],
        first.payload[:4] + bytes(4) + first.payload[8:],
    ):
        [forged] = framed([payload], first.picture)
        with pytest.raises(LayerDamaged):
            codec.check([forged])


@pytest.mark.parametrize("affinity", ["latent", "texture", "semantic", "colour"])
def test_what_merges_palettes_is_the_encoders_business(codec, photo, stream, affinity):
    weights = load_weights(None)
    merge = replace(MergeWeights(0, 0, 0, 0), **{affinity: 1})
    other = Codec(replace(weights, config=replace(weights.config, merge=merge)))
    (layers,) = other.encode([photo])
    assert layers != stream
    assert _equal(codec.symbols(layers), other.symbols(layers))
    assert psnr(photo, codec.decode([layers])[0]) >= 38


def test_latents_say_what_each_class_is_about(codec, stream):
    weights = load_weights(None)
    (latents,) = codec.latents([stream[:1]])
    assert len(latents.embedding) == weights.head.size
    np.testing.assert_allclose(np.linalg.norm(latents.embedding, axis=0), 1, rtol=1e-4)
    expected = weights.classes.embedding[latents.class_map].transpose(2, 0, 1)
    np.testing.assert_array_equal(latents.embedding, expected)


def test_other_weights_are_refused(codec, stream):
    first, *_ = frames(stream)
    header = PictureHeader(208, 240, "ffffffffffffffff")
    [blob] = framed([first.payload], header)
    with pytest.raises(WeightsMismatch, match="ffffffffffffffff"):
        codec.decode([[blob]])


def test_mistakes_get_a_clear_line(codec, photo):
    with pytest.raises(UsageError, match="layers: 9"):
        codec.encode([photo], layers=9)
    with pytest.raises(UsageError, match="uint8"):
        codec.encode([photo.astype(np.float32)])
    with pytest.raises(UsageError, match="no weights"):
        Codec.load("/nowhere/weights.safetensors")
    with pytest.raises(LayerDamaged):
        codec.decode([[]])
    [layers] = codec.encode([photo], layers=1)
    for decode in (codec.decode, codec.latents):
        with pytest.raises(UsageError, match=r"pass \[row\.layers\] for a single one"):
            decode(layers)
        with pytest.raises(UsageError, match="not Row"):
            decode([Row("key", layers, 8, 8)])
    with pytest.raises(UsageError, match=r"pass np\.asarray\(image\.convert"):
        codec.encode([Image.fromarray(photo)])
    with pytest.raises(UsageError, match=r"pass \[image\] for a single one"):
        codec.encode(photo)


def test_damaged_weights_are_refused():
    data = SHIPPED.read_bytes()
    assert len(data) <= 12_000_000
    for wrong in (data[:1000], b"", data[: len(data) // 2], b"{}" * 100):
        with pytest.raises(WeightsDamaged):
            unpack_weights(wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_decodes_the_same_symbols_and_nearly_the_same_picture(codec, photo, stream):
    on_gpu = Codec.load(device="cuda")
    assert _equal(on_gpu.symbols(stream), codec.symbols(stream))
    difference = on_gpu.decode([stream])[0].astype(int) - codec.decode([stream])[0]
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("layers", [1, 2, 6])
@pytest.mark.parametrize("levels", [0, 2, 4])
def test_latents_of_one_picture_equal_those_of_a_batch(codec, layers, levels):
    pictures = [data.astronaut()[:70, :131], data.coffee()[100:117, 200:330], data.coffee()[:1, :1]]
    streams = [stream[:layers] for stream in codec.encode(pictures)]
    alone = codec.latents(streams, levels=levels)
    together = torch_latents(codec, streams, levels=levels)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.class_map, other.class_map, strict=True)
        np.testing.assert_array_equal(one.embedding, other.embedding, strict=True)
        np.testing.assert_array_equal(one.coefficients, other.coefficients, strict=True)
    assert alone[0].coefficients.shape == (3 * 4**levels, 5, 9)
    assert alone[0].coefficients.any()


def test_pictures_may_stay_on_the_device(codec, photo, stream):
    small = photo[:33, :17]
    streams = [stream, codec.encode([small])[0], stream[:2]]
    for tensor, picture in zip(codec.decode_tensors(streams), codec.decode(streams), strict=True):
        assert tensor.device == torch.device("cpu")
        assert tensor.dtype == torch.uint8
        np.testing.assert_array_equal(tensor.permute(1, 2, 0).cpu().numpy(), picture)


def test_the_network_is_worth_something_and_can_be_left_out(codec, photo, stream):
    for layers in range(1, codec.layers + 1):
        refined, plain = (
            psnr(photo, codec.decode([stream[:layers]], refine=refine)[0])
            for refine in (True, False)
        )
        assert refined - 1.5 < plain < refined


@pytest.mark.parametrize("profile", ["perceptual", "fidelity"])
def test_no_state_has_a_pattern_on_a_grid(profile):
    """The mean of what is rougher than 17 pixels, by place in squares of 8, is all but equal."""
    codec = Codec.load(profile)
    pictures = [data.astronaut(), data.coffee(), data.chelsea()]
    streams = codec.encode([picture[:288, :400] for picture in pictures])
    for layers in range(1, 5):
        rough = []
        for picture in codec.decode([stream[:layers] for stream in streams]):
            exact = picture.astype(float)
            rough.append(exact - uniform_filter(exact, (17, 17, 0)))
        by_place = np.mean(rough, 0).reshape(36, 8, 50, 8, 3).mean((0, 2))
        print(profile, layers, by_place.std())
        assert by_place.std() < 0.4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda codec, photo, stream: codec.encode([photo], layers="2"), "layers: want a whole"),
        (lambda codec, photo, stream: codec.encode([photo], layers=2.5), "layers: want a whole"),
        (lambda codec, photo, stream: codec.encode([photo], layers=0), "layers: 0 of 6"),
        (lambda codec, photo, stream: codec.encode([photo], effort="1"), "effort: want a whole"),
        (lambda codec, photo, stream: codec.encode([photo], effort=4), "effort: 4 of 3"),
        (lambda codec, photo, stream: codec.encode([photo], sizes="ab"), "sizes: want a list"),
        (lambda codec, photo, stream: codec.encode([photo], sizes=[9.5]), "sizes: want a whole"),
        (lambda codec, photo, stream: codec.encode(3), "want a list of images, not int"),
        (lambda codec, photo, stream: codec.decode(None), "want a list of images, not NoneType"),
        (lambda codec, photo, stream: codec.decode(["ab"]), "want the layers of each image"),
        (lambda codec, photo, stream: codec.decode([[None]]), "layer 1: want bytes, not NoneType"),
        (lambda codec, photo, stream: codec.latents([[stream[0], 3]]), "layer 2: want bytes, not"),
        (lambda codec, photo, stream: codec.check(["ab"]), "layer 1: want bytes, not str"),
        (lambda codec, photo, stream: codec.symbols(stream[0]), "want the layers of each image"),
        (lambda codec, photo, stream: codec.decode([stream], refine=2), "refine: want True or"),
        (lambda codec, photo, stream: codec.decode([stream], texture="x"), "texture: want a whole"),
        (lambda codec, photo, stream: codec.latents([stream], levels="2"), "levels: want a whole"),
        (lambda codec, photo, stream: codec.latents([stream], levels=5), "levels: 5 of 4"),
        (lambda codec, photo, stream: codec.latents([stream], normalize=1), "normalize: want True"),
        (lambda codec, photo, stream: Codec.load(b"fidelity"), "weights: want a name, a path"),
    ],
)
def test_a_wrong_value_gets_one_line(codec, photo, stream, call, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        call(codec, photo, stream)
