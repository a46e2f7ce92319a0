"""Random mixtures of files, names, sources and damage: every input is accounted for."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from underpaint.codec.archive import Archive
from underpaint.pipelines.cli.main import main

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TGA", "MPO")
SUFFIXES = (".jpg", ".JPG", ".png", ".webp", ".tga", ".bin", ".txt", "")
KINDS = ("picture", "cut", "heic", "psd", "raw", "text", "json", "video", "sidecar", "empty")


def picture(number: int, format: str) -> bytes:
    """Return a small picture, different for each number."""
    pixels = np.full((9, 8, 3), (number * 37 % 256, number * 11 % 256, number % 256), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format)
    return out.getvalue()


def content(kind: str, number: int, format: str) -> bytes:
    """Return the bytes of one file."""
    whole = picture(number, format)
    return {
        "picture": whole,
        "cut": whole[: len(whole) * 2 // 3],
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
        "psd": b"8BPS\0\1" + bytes(60),
        "raw": b"II*\0\x10\0\0\0CR\2\0" + bytes(60),
        "text": b"a line of text\n" * 9,
        "json": b'{"label": 3}',
        "video": b"\0\0\0\x18ftypqt  " + bytes(200),
        "sidecar": b"<?xml version='1.0'?><x:xmpmeta/>",
        "empty": b"",
    }[kind]


files = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from(FORMATS),
        st.sampled_from(("a", "b", "IMG_0001", "._a", ".hidden", "ü x", "a.b.c")),
        st.sampled_from(SUFFIXES),
        st.sampled_from(("", "2019/", "2020/")),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda file: file[4] + file[2] + file[3],
)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(in_folder=files, in_tar=files, in_zip=files)
def test_inputs_are_rows_dead_letters_and_skipped(in_folder, in_tar, in_zip):
    root = Path(tempfile.mkdtemp())
    try:
        for number, (kind, format, name, suffix, folder) in enumerate(in_folder):
            path = root / "photos" / folder / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(kind, number, format))
        with tarfile.open(root / "shard.tar", "w") as tar:
            for number, (kind, format, name, suffix, folder) in enumerate(in_tar, 100):
                data = content(kind, number, format)
                info = tarfile.TarInfo(f"{folder}{name}{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        with zipfile.ZipFile(root / "pack.zip", "w") as pack:
            for number, (kind, format, name, suffix, folder) in enumerate(in_zip, 200):
                pack.writestr(f"{folder}{name}{suffix}", content(kind, number, format))
        inputs = [str(root / name) for name in ("photos", "shard.tar", "pack.zip")]
        command = ["encode", *inputs, "--output", str(root / "archive"), "--max-failed", "100%"]
        assert main(command) in (0, 2)
        if not (root / "archive" / "manifest.json").exists():
            return  # no picture among the inputs, which is a mistake of its own
        archive = Archive.open(root / "archive")
        found = archive.statistics()
        labels = _labels_of(in_tar) + _labels_of(in_zip)
        listed = len(in_folder) + len(in_tar) + len(in_zip)
        assert found.images + found.failed + sum(found.skipped.values()) + labels >= listed
        assert found.images + found.failed + sum(found.skipped.values()) <= listed
        whole = sum(file[0] == "picture" for file in (*in_folder, *in_tar, *in_zip))
        assert found.images + found.failed >= whole - _hidden(in_folder, in_tar, in_zip)
        assert archive.duplicate_keys() == []
        assert main(["verify", str(root / "archive")]) == 0
        before = (root / "archive" / "manifest.json").read_bytes()
        assert main(command) == 0
        assert (root / "archive" / "manifest.json").read_bytes() == before
    finally:
        shutil.rmtree(root)


def _labels_of(members) -> int:
    """Most members of a shard that can be labels of a picture, which are no inputs of their own."""
    return sum(file[0] != "picture" for file in members)


def _hidden(*sources) -> int:
    """Pictures under names of hidden files, which are skipped."""
    return sum(f[0] == "picture" and f[2].startswith(".") for files in sources for f in files)
