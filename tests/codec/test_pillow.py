"""The Pillow plugin: any beginning of a file at any size, in threads, and through other tools."""

from __future__ import annotations

import io
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError
from skimage import data

import underpaint.pillow
from underpaint import Codec
from underpaint.codec.bitstream import frames
from underpaint.codec.metrics import psnr
from underpaint.codec.transform.sizes import SHRINKS

GOLDEN = Path(__file__).parents[1] / "golden"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.astronaut()[:391, :463]


@pytest.fixture(scope="module")
def layers(codec, photo) -> tuple[bytes, ...]:
    return codec.encode([photo], sizes=(90, 180))[0]


@pytest.fixture(scope="module")
def joined(layers) -> bytes:
    return b"".join(layers)


def opened(content: bytes) -> underpaint.pillow.UnderpaintImageFile:
    image = Image.open(io.BytesIO(content))
    assert isinstance(image, underpaint.pillow.UnderpaintImageFile)
    return image


def test_the_format_is_registered():
    assert Image.registered_extensions()[".underpaint"] == "UNDERPAINT"
    assert Image.MIME["UNDERPAINT"] == "image/x-underpaint"
    assert {"UNDERPAINT"} <= Image.OPEN.keys() & Image.SAVE.keys()


def test_import_does_not_load_torch():
    program = "import underpaint.pillow, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", program], check=True)


def test_a_file_opens_as_the_codec_decodes_it(codec, layers, joined):
    image = opened(joined)
    assert (image.format, image.mode, image.size) == ("UNDERPAINT", "RGB", (463, 391))
    assert image.get_format_mimetype() == "image/x-underpaint"
    assert image.info == {
        "full_size": (463, 391),
        "weights": codec.weights_id,
        "cut": False,
        "layers": codec.layers,
    }
    np.testing.assert_array_equal(np.asarray(image), codec.decode([layers])[0])


def test_every_number_of_layers_at_every_size(codec, layers, joined):
    for count in range(1, codec.layers + 1):
        for shrink in SHRINKS:
            expected = codec.decode([layers[:count]], shrink=shrink)[0]
            height, width, _ = expected.shape
            image = opened(joined)
            image.draft("RGB", (width, height))
            image.limit_layers(count)
            assert image.size == (width, height)
            assert image.info["layers"] == count
            np.testing.assert_array_equal(np.asarray(image), expected)
            np.testing.assert_array_equal(
                np.asarray(opened(b"".join(layers[:count])).reduce(shrink)), expected
            )


def test_a_file_cut_anywhere_opens_from_its_whole_parts(codec, joined):
    ends, end = [], 0
    for part in frames([joined]):
        end += part.nbytes
        ends.append(end)
    first = next(frames([joined])).nbytes
    rng = np.random.default_rng(2)
    anywhere = rng.integers(first, len(joined), 12).tolist()
    seen = set()
    for length in [*ends, *anywhere]:
        image = opened(joined[:length])
        assert image.info["cut"] == (length not in ends)
        whole = joined[: max(e for e in ends if e <= length)]
        level = SHRINKS[[-(-463 // s) for s in SHRINKS].index(image.size[0])]
        kept = image.info["layers"]
        expected = codec.decode([[whole]], shrink=level)[0]
        np.testing.assert_array_equal(np.asarray(image), expected)
        seen.add(kept)
    assert seen == set(range(1, codec.layers + 1))
    for length in (*range(16), first - 1):
        with pytest.raises(OSError, match=r"cannot identify|truncated"):
            opened(joined[:length])


def test_a_file_of_a_smaller_size_opens_at_that_size(codec, layers):
    small = [[f.tobytes() for f in frames(layers) if f.layer == n and not f.size] for n in range(6)]
    image = opened(b"".join(part for layer in small for part in layer))
    assert image.size == (116, 98)
    assert image.info["full_size"] == (463, 391)
    assert image.info["layers"] == codec.layers
    np.testing.assert_array_equal(np.asarray(image), codec.decode([layers], shrink=4)[0])


def test_draft_takes_the_smallest_size_that_suffices(joined):
    for wanted, expected in (
        ((463, 391), (463, 391)), ((232, 196), (232, 196)), ((231, 100), (232, 196)),
        ((116, 98), (116, 98)), ((1, 1), (29, 25)), ((464, 1), (463, 391)),
    ):  # fmt: skip
        image = opened(joined)
        image.draft("L", wanted)
        assert image.size == expected
        image.load()
        assert image.draft("RGB", (1, 1)) is None
        assert image.size == expected
    thumbnail = opened(joined)
    thumbnail.thumbnail((64, 64))
    assert thumbnail.size == (64, 54)


def test_reduce_has_the_sizes_of_pillow(codec, layers, joined):
    loaded = opened(joined)
    loaded.load()
    for factor in (1, 2, 3, 8, 16, 32):
        assert opened(joined).reduce(factor).size == loaded.reduce(factor).size
    lazy = opened(joined)
    np.testing.assert_array_equal(np.asarray(lazy.reduce(4)), codec.decode([layers], shrink=4)[0])
    assert lazy.size == (463, 391)
    assert lazy.reduce(2, box=(0, 0, 100, 100)).size == (50, 50)


def test_limits_of_layers_are_checked(joined):
    image = opened(joined)
    for layers in (0, "a", 2.0, None, True):
        with pytest.raises(ValueError, match="want an integer of 1 or more"):
            image.limit_layers(layers)
    image.limit_layers(np.int64(3))
    assert image.info["layers"] == 3
    image.load()
    with pytest.raises(ValueError, match="loaded already"):
        image.limit_layers(2)


def test_threads_get_equal_pixels(joined):
    def read(count: int) -> bytes:
        image = opened(joined)
        image.limit_layers(count % 3 + 1)
        image.draft("RGB", (100, 100))
        return image.tobytes()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(24)))
    assert len(set(found)) == 3
    assert all(found[number] == found[number % 3] for number in range(24))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.underpaint")), ids=lambda path: path.stem)
def test_conformance_vectors_open(path):
    with Image.open(path) as image:
        assert image.format == "UNDERPAINT"
        if image.size[0] * image.size[1] < 1 << 16:
            image.load()
        else:
            image.draft("RGB", (1, 1))
            image.verify()


def test_damage_is_one_line_and_coarser_layers_stay(codec, layers, joined, monkeypatch):
    at = sum(map(len, layers[:3])) + len(layers[3]) - 3  # in the last part of layer 4
    damaged = joined[:at] + bytes([joined[at] ^ 1]) + joined[at + 1 :]
    with pytest.raises(OSError, match=r"^Underpaint picture: layer 4: checksum mismatch.*$"):
        opened(damaged).load()
    with pytest.raises(OSError, match="layer 4"):
        opened(damaged).verify()
    opened(joined).verify()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image = opened(damaged)
    np.testing.assert_array_equal(np.asarray(image), codec.decode([layers[:3]])[0])
    assert image.info["layers"] == 3


def test_files_of_others_are_not_ours(joined):
    with (
        pytest.warns(UserWarning, match="of version 99; this reader knows version"),
        pytest.raises(UnidentifiedImageError),
    ):
        Image.open(io.BytesIO(joined[:1] + b"\x63" + joined[2:]))
    other = joined.replace(bytes.fromhex(Codec.load().weights_id), bytes(8))
    with pytest.raises(OSError, match="Underpaint picture"):
        opened(other).load()


def test_large_pictures_meet_the_limit_of_pillow(monkeypatch):
    content = (GOLDEN / "longest-side.underpaint").read_bytes()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(content))


def test_save_writes_what_the_codec_encodes(codec, photo, layers, tmp_path):
    path = tmp_path / "photo.underpaint"
    image = Image.fromarray(photo)
    image.save(path, sizes=(90, 180))
    assert path.read_bytes() == b"".join(layers)
    image.save(path, layers=2, effort=2, sizes=())
    assert path.read_bytes() == b"".join(codec.encode([photo], layers=2, effort=2, sizes=())[0])
    image.save(path, weights="fidelity", layers=1)
    with Image.open(path) as coarse:
        assert coarse.info["weights"] == Codec.load("fidelity").weights_id
        assert coarse.info["layers"] == 1
        coarse.load()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photo.underpaint"]


@pytest.mark.parametrize(
    "option",
    [
        {"layers": 9}, {"layers": "a"}, {"layers": 2.0}, {"layers": True}, {"effort": 7},
        {"effort": None}, {"sizes": (9, 3)}, {"sizes": 256}, {"sizes": ("a",)}, {"weights": 3},
    ],
)  # fmt: skip
def test_options_of_save_are_checked(photo, option, tmp_path):
    with pytest.raises(ValueError, match="cannot write UNDERPAINT"):
        Image.fromarray(photo).save(tmp_path / "x.underpaint", **option)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("layrs", "layers"), ("layer", "layers"), ("Effort", "effort"), ("weight", "weights"),
     ("size", "sizes"), ("wieghts", "weights")],
)  # fmt: skip
def test_a_misspelt_option_of_save_is_refused(wrong, right):
    expected = f"^cannot write UNDERPAINT: no option '{wrong}'; did you mean '{right}'\\?$"
    with pytest.raises(ValueError, match=expected):
        Image.new("RGB", (8, 8)).save(io.BytesIO(), "UNDERPAINT", **{wrong: 2})


def test_options_of_other_formats_have_no_effect(photo):
    """All that the plugins of Pillow look for, with values that any of them may have."""
    plugins = Path(Image.__file__).parent.glob("*Plugin.py")
    calls = re.compile(r"""(?:encoderinfo|info)(?:\.get\(|\[)\s*["'](\w+)["']""")
    names = {name for path in plugins for name in calls.findall(path.read_text("utf-8"))}
    assert {"quality", "optimize", "exif", "icc_profile", "progressive", "dpi"} <= names
    others = sorted(names - {"sizes", "icc_profile"})
    plain, given = io.BytesIO(), io.BytesIO()
    image = Image.fromarray(photo[:48, :64])
    image.save(plain, "UNDERPAINT")
    for value in (1, "keep", b"junk"):
        given.seek(0)
        image.save(given, "UNDERPAINT", icc_profile=None, **dict.fromkeys(others, value))
        assert given.getvalue() == plain.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I", "F", "I;16", "YCbCr", "HSV", "RGBX"])
def test_save_refuses_what_it_would_lose(mode):
    with pytest.raises(OSError, match="convert the image"):
        Image.new(mode, (8, 8)).save(io.BytesIO(), "UNDERPAINT")


def test_save_refuses_transparency():
    image = Image.new("P", (8, 8))
    image.info["transparency"] = 0
    with pytest.raises(OSError, match="transparency"):
        image.save(io.BytesIO(), "UNDERPAINT")


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LAB"])
def test_save_converts_other_modes(photo, mode):
    out = io.BytesIO()
    image = Image.fromarray(photo[:64, :64])
    image = image.convert("P" if mode == "P" else "RGB")
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    elif mode != "P":
        image = image.convert(mode)
    image.save(out, "UNDERPAINT")
    expected = np.asarray(image.convert("RGB")) if mode != "LAB" else photo[:64, :64]
    assert psnr(np.asarray(opened(out.getvalue())), expected) > 25


def test_save_turns_pictures_upright_and_converts_colour(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    source = io.BytesIO()
    Image.fromarray(photo[:64, :96]).save(source, "PNG", exif=exif)
    out = io.BytesIO()
    Image.open(source).save(out, "UNDERPAINT")
    turned = opened(out.getvalue())
    assert turned.size == (64, 96)
    assert psnr(np.asarray(turned), np.rot90(photo[:64, :96], -1)) > 28
    assert not turned.getexif()


def test_pictures_can_be_pickled_and_copied(joined):
    image = opened(joined)
    again = pickle.loads(pickle.dumps(image))
    assert again.tobytes() == image.tobytes() == image.copy().tobytes()


class TestOtherTools:
    """Libraries that open pictures through Pillow open ours."""

    @pytest.fixture
    def folder(self, joined, tmp_path) -> Path:
        for number, cls in enumerate(("cat", "dog", "cat")):
            path = tmp_path / cls / f"{number}.underpaint"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(joined[: len(joined) - 1000 * number])
        return tmp_path

    def test_hugging_face_datasets(self, codec, layers, joined, folder):
        datasets = pytest.importorskip("datasets")
        paths = sorted(map(str, folder.glob("*/*.underpaint")))
        files = [{"bytes": None, "path": path} for path in paths]
        column = datasets.Dataset.from_dict({"image": [*files, {"bytes": joined, "path": None}]})
        column = column.cast_column("image", datasets.Image())
        assert [row["image"].size for row in column] == [(463, 391)] * 4
        np.testing.assert_array_equal(np.asarray(column[3]["image"]), codec.decode([layers])[0])

    def test_imageio(self, codec, layers, folder):
        imageio = pytest.importorskip("imageio.v3")
        pixels = imageio.imread(folder / "cat" / "0.underpaint", plugin="pillow")
        np.testing.assert_array_equal(pixels, codec.decode([layers])[0])
        content = imageio.imwrite("<bytes>", pixels, plugin="pillow", extension=".underpaint")
        assert opened(content).size == (463, 391)

    def test_scikit_image(self, codec, layers, folder):
        from skimage import io as skimage_io

        pixels = skimage_io.imread(folder / "cat" / "0.underpaint")
        np.testing.assert_array_equal(pixels, codec.decode([layers])[0])

    def test_torchvision_image_folder(self, folder):
        datasets = pytest.importorskip("torchvision.datasets", exc_type=(ImportError, RuntimeError))
        found = datasets.ImageFolder(folder, is_valid_file=lambda path: path.endswith("underpaint"))
        assert found.classes == ["cat", "dog"]
        assert [image.size for image, _ in found] == [(463, 391)] * 3


def test_save_all_writes_one_frame_and_refuses_more(photo, tmp_path):
    image, path = Image.fromarray(photo), tmp_path / "photo.underpaint"
    image.save(path, save_all=True)
    with Image.open(path) as picture:
        assert picture.size == image.size
    for options in ({"save_all": True, "append_images": [image]}, {"append_images": [image]}):
        with pytest.raises(OSError, match="cannot write 2 frames as UNDERPAINT: a file holds one"):
            image.save(tmp_path / "more.underpaint", **options)
    assert not (tmp_path / "more.underpaint").exists()
