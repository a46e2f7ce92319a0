"""What is fuzzed: each harness turns any bytes into hostile input and lets named errors pass only.

    stream    bytes -> layers -> symbols, and now and then pictures, with the network, without and
              with texture, and latents; compiled loops check their indices
    walk      the same through the entropy coder as plain Python, where coverage guides the fuzzer
    weights   bytes -> a weights file -> symbols of a stream read with it
    archive   bytes -> files of an archive -> opened, counted, read, looked up, salvaged, verified
    pages     bytes -> Thrift, page index and pages, as rows by key read them
    picture   bytes -> a picture file -> pixels
    pillow    bytes -> a file of parts, opened by Pillow: any cut, any size, any number of layers

A file of `found/HARNESS` made the harness fail once; a test replays all of them. Where a checksum
would keep a fuzzer out, the harness mends it: who forges a file forges its checksums too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.numpy import load, save

import underpaint.pillow  # noqa: F401 (registers the format)
from tests.helpers.backends import torch_pictures
from tests.helpers.manifests import Unit, sealed
from tests.helpers.streams import framed
from underpaint import Codec
from underpaint.codec import bitstream
from underpaint.codec.archive import Archive, ArchiveWriter, DeadLetter, Row, publish
from underpaint.codec.archive.parquet.footer import parse_footer
from underpaint.codec.archive.parquet.pages import blob_pages, page_values
from underpaint.codec.archive.record_json import decode_pointer, encode_json
from underpaint.codec.archive.records import MANIFEST, UNITS, file_path, unit_of_path
from underpaint.codec.archive.unit_columns import SCHEMA
from underpaint.codec.decoder import Decoder
from underpaint.codec.entropy.state import CodedState
from underpaint.codec.entropy.tables import TableLayout
from underpaint.codec.errors import (
    LayerDamaged,
    PictureError,
    StreamError,
    UnderpaintError,
    WeightsDamaged,
)
from underpaint.codec.image_io import header as picture_headers
from underpaint.codec.image_io.read import read_picture
from underpaint.codec.weights.header import SHIPPED
from underpaint.codec.weights.loading import load_weights, unpack_weights
from underpaint.codec.weights.model import Weights

FOLDER = Path(__file__).parent
GOLDEN = FOLDER.parent / "golden"

MOST_PIXELS = 1 << 21
"""Pixels of pictures that are decoded here: the real limit is met by its own tests."""

MOST_STREAM_PIXELS = 1 << 12

Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Harness:
    """One target: `run` must return, whatever the bytes, and let nothing but a finding escape."""

    run: Run
    seeds: Callable[[], Iterator[bytes]]
    longest: int
    """Bytes of an input."""
    environment: Mapping[str, str] = field(default_factory=dict)


def pack_parts(parts: list[bytes]) -> bytes:
    """Join byte strings so that `parts_of` finds them again; any other bytes are some parts too."""
    return b"".join(struct.pack("<H", len(part)) + part for part in parts)


def parts_of(data: bytes, most: int) -> list[bytes]:
    """Cut bytes into at most `most` parts, each led by its length in two bytes."""
    parts, at = [], 0
    while at + 2 <= len(data) and len(parts) < most:
        (length,) = struct.unpack_from("<H", data, at)
        parts.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return parts


def expect_one_line(error: Exception) -> None:
    """Errors for people are one line, whatever a hostile file has in it."""
    if "\n" in str(error):
        raise AssertionError(f"not one line: {error}")


# streams


@cache
def _codec() -> Codec:
    return lenient(load_weights(None))


def vectors() -> Iterator[list[bytes]]:
    """Layers of each conformance vector."""
    for path in sorted(GOLDEN.glob("*.json")):
        lengths = json.loads(path.read_text("utf-8"))["layer_bytes"]
        ends = np.cumsum(lengths)
        joined = path.with_suffix(".underpaint").read_bytes()
        yield [joined[end - n : end] for n, end in zip(lengths, ends, strict=True)]


def stream_seeds() -> Iterator[bytes]:
    """Vectors of up to 4 kB, each as it is and with its frames mended."""
    for layers in vectors():
        if sum(map(len, layers)) < 4000:
            for how in (0, 1, 15, 31):
                yield bytes([how]) + pack_parts(layers)


def mended(layers: list[bytes], weights_id: str, most_pixels: int) -> list[bytes]:
    """Frame layers anew as parts of the right weights, places and checks, with bearable sides.

    The two bits of a layer's first place that name a size say how many parts it is cut into.
    """
    result: list[bytes] = []
    checks: dict[int, int] = {}
    header: bitstream.PictureHeader | None = None
    sizes = [0]
    for index, layer in enumerate(layers):
        place, payload = _place_and_rest(layer[2:] if index == 0 else layer)
        if index == 0:
            fields, payload = payload[:13].ljust(13, b"\0"), payload[13:]
            height, width = struct.unpack_from("<HH", fields, 8)
            height %= most_pixels
            width %= max(1, most_pixels // (height + 1))
            cuts = sorted((fields[12] // 5**k % 5 for k in range(3)), reverse=True)
            header = bitstream.PictureHeader(height + 1, width + 1, weights_id, tuple(cuts))
            sizes = list(header.sizes)
        count = min(1 + (place >> 4 & 3), len(sizes))
        words = max(2, len(payload) // 4 // count)
        parts: list[bytes] = []
        of_layer: dict[int, int] = {}
        check = 0
        for number, size in enumerate(sizes[:count]):
            last = number + 1 == count
            run = payload[4 * words * number :][: None if last else 4 * words].ljust(8, b"\0")
            before = bitstream.check_of(checks, size), check
            run = run[: len(run) & ~3]
            part, check = bitstream.pack_part(index, size, last, run, before, header)
            of_layer[size], header = check, None
            parts.append(part)
        checks = of_layer
        result.append(b"".join(parts))
    return result


def _place_and_rest(part: bytes) -> tuple[int, bytes]:
    """Return the place of a part and what follows its check, whatever its length says."""
    part = part.ljust(6, b"\0")
    end = next((at for at in range(1, 6) if part[at] < 0x80), 5) + 1
    return part[0], part[end + 4 :]


class Lenient(Decoder):
    """A decoder that goes on where only the end of a payload is wrong.

    Who forges a stream gets it right, but a fuzzer would never come to the second layer.
    """

    def _decode(
        self, part: bitstream.Frame, state: CodedState, levels: tuple[int | None, int]
    ) -> None:
        try:
            super()._decode(part, state, levels)
        except LayerDamaged as error:
            if error.rule != "S13":
                raise


def lenient(weights: Weights) -> Codec:
    """Return a codec with a lenient decoder."""
    codec = Codec(weights)
    codec._decoder = Lenient(weights)
    return codec


def walked(codec: Codec, layers: Sequence[bytes]) -> CodedState:
    """Decode layers to symbols, which must be within their bounds."""
    state = codec._decoder.state(layers)
    classes = len(codec._weights.classes.expected_magnitude)
    assert all(0 <= p.class_map.min() <= p.class_map.max() < classes for p in state.palettes)
    assert state.magnitude.min() >= 0
    assert state.sums.min() >= 0
    return state


def shown(codec: Codec, layers: Sequence[bytes], state: CodedState, texture: int | None) -> None:
    """Make of a state all that readers make of it; compiled loops check their indices here."""
    assert torch_pictures(codec, [layers], texture=texture)[0].dtype == torch.uint8
    sides = (3, state.layout.height, state.layout.width)
    for refine in (True, False):
        [picture] = codec.decode_tensors([layers], texture=texture, refine=refine)
        assert picture.dtype == torch.uint8
        assert tuple(picture.shape) == sides
    for shrink in (2, 4, 8, 16):
        [small] = codec.decode_tensors([layers], shrink=shrink, refine=shrink != 2)
        assert tuple(small.shape) == (3, *(-(-side // shrink) for side in sides[1:]))
    for levels in (0, 2, 4):
        [latents] = codec.latents([layers], levels=levels)
        assert latents.coefficients.shape[0] == 3 * 4**levels


def run_stream(data: bytes, most_pixels: int = MOST_STREAM_PIXELS) -> None:
    """Bit 0 of the first byte: mend the frames; bits 0 to 3: make a picture too; bit 4: with
    texture."""
    if not data:
        return
    codec = _codec()
    layers = parts_of(data[1:], codec.layers + 1)
    with contextlib.suppress(StreamError):
        if not data[0] & 1:
            header = bitstream.unpack_stream(layers).picture
            if header.height * header.width <= most_pixels:
                codec.check(layers)
            return
        layers = mended(layers, codec.weights_id, most_pixels)
        state = walked(codec, layers)
        if data[0] & 15 == 15:
            shown(codec, layers, state, 1 if data[0] & 16 else None)


def walk_seeds() -> Iterator[bytes]:
    """Beginnings of the layers of the smaller vectors."""
    for layers in vectors():
        if sum(map(len, layers)) < 4000:
            yield b"\1" + pack_parts([layer[:90] for layer in layers])


def run_walk(data: bytes) -> None:
    """Small pictures only: a coefficient costs a few microseconds a step in plain Python."""
    run_stream(b"\1" + data[1:], 256)


# weights


@cache
def _small_weights() -> tuple[bytes, dict[str, np.ndarray], dict]:
    """Shipped tables of two cell steps and a network of two channels: a file of 220 kB."""
    data = SHIPPED.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    config = json.loads(header["__metadata__"]["underpaint"])
    tensors = load(data)
    codec = config["codec"]
    layout = TableLayout(len(codec["palette_budgets"]), len(codec["widths"]))
    codec["widths"] = codec["widths"][:2]
    codec["palette_budgets"] = codec["palette_budgets"][:1]
    codec["layers"] = [
        {"name": "coarse", "palette_steps": 1, "cell_steps": 1},
        {"name": "fine", "palette_steps": 0, "cell_steps": 1},
    ]
    sizes = {name: 2 for name in config["network"] if name.endswith(("width", "hidden", "shared"))}
    depths = {"coarse_depth": 1, "fine_depth": 1, "embedding": 2, "classes": 4, "layers": 2}
    config["network"] |= sizes | depths
    tables = tensors["frequencies"]
    first, after = (int(layout.cells(step)[0]) for step in (0, 2))
    tensors["frequencies"] = np.concatenate([tables[: layout.palette(1)], tables[first:after]])
    per_step = {"activity", "flag_activity", "sign_weights", "centroids"}
    per_step |= {name for name in tensors if name.startswith("estimates.")}
    for name in (*per_step, "latents.mean", "latents.std"):
        tensors[name] = tensors[name][:2]
    for name in ("scale", "law", "mask", "embedding"):
        tensors[f"classes.{name}"] = tensors[f"classes.{name}"][:4]
    tensors = {name: array for name, array in tensors.items() if not name.startswith("network.")}
    from underpaint.codec.reconstruct.network_shape import NetworkShape

    for name, shape in sorted(NetworkShape(**config["network"]).parameters().items()):
        tensors[f"network.{name}"] = np.zeros(shape, np.float16)
    return save(tensors, {"underpaint": json.dumps(config)}), tensors, config


def _header_and_body() -> tuple[bytes, bytes]:
    whole = _small_weights()[0]
    length = 8 + int.from_bytes(whole[:8], "little")
    return whole[8:length], whole[length:]


def weights_seeds() -> Iterator[bytes]:
    """The configuration alone, the whole header, and patches of the tensors."""
    config = json.dumps(_small_weights()[2]).encode()
    header, body = _header_and_body()
    yield b"\0" + config
    yield b"\1" + header
    yield b"\2" + b"".join(
        struct.pack("<IB", place, value)
        for place in range(0, len(body), len(body) // 40)
        for value in (0, 255)
    )
    yield b"\2"
    yield b"\3" + header[:200]


def run_weights(data: bytes) -> None:
    """First byte: what the rest stands for. What is read must decode a stream or refuse it."""
    if not data:
        return
    kind, rest = data[0] % 4, data[1:]
    if kind == 0:
        file = save(_small_weights()[1], {"underpaint": rest.decode("utf-8", "replace")})
    elif kind == 1:
        file = len(rest).to_bytes(8, "little") + rest + _header_and_body()[1]
    elif kind == 2:
        header, body = _header_and_body()
        patched = bytearray(body)
        for at in range(0, len(rest) - 4, 5):
            place, value = struct.unpack_from("<IB", rest, at)
            patched[place % len(patched)] = value
        file = len(header).to_bytes(8, "little") + header + bytes(patched)
    else:
        file = rest
    try:
        weights = unpack_weights(file)
    except WeightsDamaged as error:
        expect_one_line(error)
        return
    codec = lenient(weights)
    for layers in _streams_for_weights():
        with contextlib.suppress(StreamError):
            forged = mended(layers, codec.weights_id, MOST_STREAM_PIXELS)[: codec.layers]
            shown(codec, forged, walked(codec, forged), None)
            codec.decode_tensors([forged], texture=1)


@cache
def _streams_for_weights() -> list[list[bytes]]:
    """Two streams: nearly all zeros, and noise that every table takes for some symbols."""
    frame = bytes(3) + b"\x20" + bytes(12) + struct.pack("<HHB", 15, 20, 0)
    words = np.random.default_rng(5).bytes(400)
    return [[frame + bytes(16), bytes(24)], [frame + words, b"\0\x20" + bytes(4) + words]]


# archives


@cache
def _archive_files() -> dict[str, bytes]:
    """Files of a small archive of two units, by name."""
    rng = np.random.default_rng(0)
    fs = fsspec.filesystem("memory")
    root = "memory://fuzz-seed"
    schema = pa.schema([("class", pa.int64())])
    for unit, keys in (("a", ("x", "y/z", "ü")), ("b", ("last",))):
        with ArchiveWriter(
            root, unit, layers=("c", "f"), weights_id="0" * 16, label_schema=schema
        ) as writer:
            for number, key in enumerate(keys):
                header = bitstream.PictureHeader(8, 8, "0" * 16)
                layers = framed([rng.bytes(16), rng.bytes(24)], header)
                writer.add(Row(key, tuple(layers), 8, 8, labels={"class": number}))
            writer.fail(DeadLetter(f"bad-{unit}", "", "read", "PictureDamaged"))
    publish(root)
    files = {
        path.split("fuzz-seed/", 1)[1]: fs.cat_file(path)
        for path in fs.find("/fuzz-seed")
        if "/commits/" not in path
    }
    fs.rm("/fuzz-seed", recursive=True)
    return files


def archive_seeds() -> Iterator[bytes]:
    """The manifest as it is, and files with a byte changed."""
    files = _archive_files()
    for number, name in enumerate(sorted(files)):
        for how in (0, 1, 2):
            yield bytes([how, number]) + (files[name] if how == 0 else b"")
        middle = struct.pack("<HB", len(files[name]) - 100, 7)
        yield bytes([1, number]) + middle
        yield bytes([2, number]) + middle
    yield bytes([3, 0]) + json.dumps(json.loads(files[MANIFEST])).encode()
    yield bytes([3, 1]) + json.dumps(_archive_units(), default=bytes.hex).encode()


def run_archive(data: bytes) -> None:
    """Bytes 0 and 1: what to do with which file, checksums mended or not; then patches, or it.

    JSON with mended checksums stands for the manifest, or for the columns of its units.
    """
    if len(data) < 2:
        return
    files = dict(_archive_files())
    how, rest = data[0] % 4, data[2:]
    name = sorted(files)[data[1] % len(files)] if how != 3 else MANIFEST
    if how in (0, 3):
        files[name] = rest
    else:
        changed = bytearray(files[name])
        for at in range(0, len(rest) - 2, 3):
            place, value = struct.unpack_from("<HB", rest, at)
            if place >= len(changed):
                changed.append(value)
            else:
                changed[place] = value
        files[name] = bytes(changed)
    if how == 3:
        with contextlib.suppress(ValueError, RecursionError, AttributeError, KeyError):
            value = json.loads(rest)
            if isinstance(value, dict):
                value.pop("sha256", None)
                files[MANIFEST] = encode_json(value)
            elif isinstance(value, list):
                _put_units(files, [_with_bytes(unit) for unit in value])
    if how == 2 and name.startswith(("data/", "failed/")):
        _reseal(files, name)
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    for path, content in files.items():
        fs.pipe_file(f"/fuzz/{path}", content)
    _read_all("memory://fuzz")


@cache
def _archive_units() -> list[Unit]:
    """Return the units of the small archive by column."""
    name = next(name for name in _archive_files() if name.startswith(f"{UNITS}/"))
    rows: list[Unit] = pq.read_table(pa.BufferReader(_archive_files()[name])).to_pylist()
    return rows


def _with_bytes(unit: Unit) -> Unit:
    """Return a unit in which bytes are no longer hex, as in JSON."""
    return {
        name: bytes.fromhex(value) if isinstance(value, str) and "binary" in kind else value
        for name, value in unit.items()
        for kind in [str(SCHEMA.field(name).type)]
    }


def _put_units(files: dict[str, bytes], units: list[Unit]) -> None:
    """Replace the columns of the units, with the checksums that they have now."""
    pointer = decode_pointer(_archive_files()[MANIFEST], MANIFEST)
    with contextlib.suppress(pa.ArrowException, OverflowError, KeyError, TypeError):
        files[MANIFEST], name, columns = sealed(units, pointer)
        files[name] = columns


def _reseal(files: dict[str, bytes], name: str) -> None:
    """Give the manifest the checksums that a changed file has now, and the file its name."""
    content = files.pop(name)
    footer = min(int.from_bytes(content[-8:-4], "little") + 8, len(content))
    folder, unit = name.partition("/")[0], unit_of_path(name)
    digests = [hashlib.sha256(part) for part in (content, content[-footer:])]
    now = {
        f"{folder}_bytes": len(content),
        f"{folder}_footer_bytes": footer,
        f"{folder}_sha256": digests[0].digest(),
        f"{folder}_footer_sha256": digests[1].digest(),
    }
    files[file_path(folder, unit, digests[0].hexdigest())] = content
    _put_units(files, [u | now if u["unit"] == unit else u for u in _archive_units()])


def _read_all(root: str) -> None:
    """Every way to read an archive, each to its end or to a named error."""
    try:
        archive = Archive.open(root)
    except UnderpaintError:
        return
    damages: list[object] = []
    ways: list[Callable[[], object]] = [
        archive.statistics,
        lambda: archive.schema,
        lambda: list(archive.rows()),
        lambda: list(archive.rows(on_damage=damages.append)),
        lambda: archive.get("y/z"),
        lambda: archive.get("last", layers=1),
        lambda: list(archive.dead_letters()),
        lambda: list(archive.check_files()),
        archive.duplicate_keys,
    ]
    for way in ways:
        with contextlib.suppress(UnderpaintError):
            way()


def pages_seeds() -> Iterator[bytes]:
    """Footer, offset index and a page of a real file."""
    files = _archive_files()
    content = files[next(name for name in sorted(files) if name.startswith("data/a"))]
    length = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - length : -8]
    yield b"\0" + footer
    start, stop = parse_footer(content[-8 - length :]).groups[0].indices["layer_0"]
    yield b"\1" + content[start:stop]
    page = content[4 : len(content) // 2]
    yield b"\2" + page
    yield b"\3" + page
    at = content.index(bytes([bitstream.MAGIC, bitstream.VERSION]))
    yield b"\2" + content[at - 64 : at + 200]


def run_pages(data: bytes) -> None:
    """First byte: what the rest is read as; a page's checksum is mended."""
    if not data:
        return
    kind, rest = data[0] % 4, data[1:]
    with contextlib.suppress(UnderpaintError):
        if kind == 0:
            parse_footer(rest + struct.pack("<I", len(rest)) + b"PAR1")
        elif kind == 1:
            pages = blob_pages(rest, (4, 4 + len(rest)), 3, nullable=True)
            pages.read(lambda start, stop: rest[start - 4 : stop - 4], 1)
        else:
            values = page_values(_with_crc(rest), 3, nullable=kind == 3)
            assert len(values) == 3
            assert all(value is None or len(value) < len(rest) for value in values)


def _with_crc(body: bytes) -> bytes:
    """A header of a plain page of three values, and the body."""

    def zigzag(value: int) -> bytes:
        value = (value << 1) ^ (value >> 63)
        out = bytearray()
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes([*out, value])

    check = bitstream.zlib.crc32(body)
    check -= (check >> 31) << 32
    size = zigzag(len(body))
    header = b"\x15\0\x15" + size + b"\x15" + size + b"\x15" + zigzag(check)
    return header + b"\x1c\x15" + zigzag(3) + b"\x15\0\x15\x06\x15\x06\0\0" + body


# pictures


def picture_seeds() -> Iterator[bytes]:
    """Small pictures of each format and of many kinds."""
    y, x = np.mgrid[0:12, 0:20]
    rgb = np.stack([x * 12, y * 20, 255 - x * 6 - y * 8], -1).astype(np.uint8)
    colour = Image.fromarray(rgb)
    alpha = colour.copy()
    alpha.putalpha(Image.fromarray((x * 12).astype(np.uint8)))
    exif = Image.Exif()
    exif[0x112] = 6
    kinds: list[tuple[Image.Image, str, dict]] = [
        (colour, "JPEG", {"exif": exif}),
        (colour, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "PNG", {}),
        (alpha, "PNG", {}),
        (colour.quantize(7), "PNG", {"transparency": 3}),
        (colour.convert("1"), "PNG", {}),
        (Image.fromarray((x * 3000).astype(np.uint16)), "PNG", {}),
        (colour, "PNG", {"save_all": True, "append_images": [alpha.convert("RGB")]}),
        (colour.quantize(9), "GIF", {"save_all": True, "append_images": [colour.quantize(3)]}),
        (colour, "WEBP", {"lossless": True}),
        (alpha, "WEBP", {"quality": 60}),
        (colour, "AVIF", {}),
        (colour, "BMP", {}),
        (colour.quantize(4), "BMP", {}),
        (colour, "PPM", {}),
        (colour.convert("L"), "PPM", {}),
        (colour, "JPEG2000", {}),
        (colour, "TIFF", {}),
        (colour.convert("1"), "TIFF", {"compression": "group4"}),
    ]
    packed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    kinds += [(colour, "TIFF", {"compression": name}) for name in packed]
    for image, format, options in kinds:
        out = io.BytesIO()
        image.save(out, format, **options)
        yield out.getvalue()


def run_picture(data: bytes) -> None:
    """Decode; smaller limits than the real ones keep one input below a second."""
    limit = picture_headers.MAX_PIXELS
    picture_headers.MAX_PIXELS = MOST_PIXELS
    try:
        picture = read_picture(data)
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.ndim == 3
    except PictureError as error:
        expect_one_line(error)
    finally:
        picture_headers.MAX_PIXELS = limit


# the Pillow plugin


def pillow_seeds() -> Iterator[bytes]:
    """Small vectors, whole and cut, as they are and with their frames mended."""
    for layers in vectors():
        if sum(map(len, layers)) < 4000:
            for how in (0, 1, 2, 7, 28):
                yield bytes([how, 0]) + pack_parts(layers)
                yield bytes([how, 40]) + pack_parts(layers)


def run_pillow(data: bytes) -> None:
    """Bit 0 of the first byte: mend the frames; bits 1 to 3: halve the size so often; bits 4 to 6:
    limit the layers. The second byte: how many bytes are cut off."""
    if len(data) < 2:
        return
    layers = parts_of(data[2:], _codec().layers + 1)
    if data[0] & 1:
        layers = mended(layers, _codec().weights_id, MOST_STREAM_PIXELS)
    joined = b"".join(layers)
    refused = (OSError, Image.DecompressionBombError)
    with contextlib.suppress(*refused), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a version that Pillow reports so
        image = Image.open(io.BytesIO(joined[: len(joined) - data[1]]), formats=["UNDERPAINT"])
        width, height = image.info["full_size"]
        if data[0] >> 4 & 7:
            image.limit_layers(data[0] >> 4 & 7)
        shrink = 1 << (data[0] >> 1 & 7)
        image.draft("RGB", (width // shrink, height // shrink))
        assert image.size[0] * image.size[1] <= width * height
        if width * height <= MOST_STREAM_PIXELS:
            image.load()
            assert len(image.tobytes()) == 3 * image.size[0] * image.size[1]


CHECKED = {"NUMBA_BOUNDSCHECK": "1"}
PLAIN = {"NUMBA_DISABLE_JIT": "1"}

HARNESSES: dict[str, Harness] = {
    "stream": Harness(run_stream, stream_seeds, 5000, CHECKED),
    "walk": Harness(run_walk, walk_seeds, 700, PLAIN),
    "weights": Harness(run_weights, weights_seeds, 8000, CHECKED),
    "archive": Harness(run_archive, archive_seeds, 10_000),
    "pages": Harness(run_pages, pages_seeds, 4000),
    "picture": Harness(run_picture, picture_seeds, 8000),
    "pillow": Harness(run_pillow, pillow_seeds, 5000, CHECKED),
}
