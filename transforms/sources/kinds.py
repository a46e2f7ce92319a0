"""Classifies files by name: a picture, a shard of some kind, or neither.

A name only decides what is tried first; the content decides what a file is. A shard may be
compressed under a name that does not say so, and a file whose name says nothing is examined.
"""

from __future__ import annotations

import posixpath
import re

from underpaint.codec.image_io.read import PICTURE_SUFFIXES
from underpaint.transforms.records import ENCODED
from underpaint.transforms.sources.addresses import path_of

_PACKED = ("", ".gz", ".bz2", ".xz", ".zst")

SHARD_SUFFIXES: dict[str, tuple[str, ...]] = {
    "tar": (*(f".tar{packed}" for packed in _PACKED), ".tgz", ".tbz2", ".txz", ".tzst"),
    "zip": (".zip",),
    "tfrecord": tuple(f"{name}{p}" for name in (".tfrecord", ".tfrecords") for p in _PACKED),
    "parquet": (".parquet",),
    "manifest": tuple(
        f"{name}{packed}" for name in (".csv", ".tsv", ".jsonl", ".ndjson") for packed in _PACKED
    ),
}
"""Lower-case suffixes of the shards of each kind."""

UNREADABLE_PICTURES = frozenset(
    {".psd", ".psb", ".exr", ".hdr", ".jxl", ".jxr"}
    | {".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".raf", ".orf"}
    | {".rw2", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".erf", ".mrw", ".dcr", ".kdc", ".rwl"}
    | {".ico", ".cur", ".icns", ".xcf", ".xpm", ".xbm", ".bpg"}
    | {".svg", ".svgz", ".eps", ".jng", ".mng", ".wdp", ".jls", ".fits", ".dcm"}
)
"""Suffixes of pictures in formats that may not be readable here: each becomes a row, or a dead
letter `UnsupportedFormat`, and is never passed over."""

OTHER_FILES = frozenset(
    {".txt", ".text", ".md", ".rst", ".log", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".xml"}
    | {".html", ".htm", ".css", ".js", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".py", ".sh"}
    | {".ipynb", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".rtf"}
    | {".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"}
    | {".mts", ".m2ts", ".mp3", ".wav", ".flac", ".aac", ".ogg", ".m4a", ".opus", ".aae", ".xmp"}
    | {".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pt", ".pth", ".safetensors", ".onnx"}
    | {".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".parquet", ".arrow"}
    | {".feather", ".tfrecord", ".tfrecords", ".db", ".sqlite", ".lnk", ".srt", ".vtt", ".cls"}
)
"""Suffixes of files that are not pictures. On a remote store such a file is not opened."""

VIDEO_SUFFIXES = frozenset(
    {".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"}
    | {".mts", ".m2ts"}
)
"""Suffixes of videos; as members of a tar they are not labels either."""

_NUMBERED_TFRECORD = re.compile(r"\.tfrecords?-\d")


def suffix_of(uri: str) -> str:
    """Return the lower-case suffix of a path or URL, with its dot; "" for none."""
    return posixpath.splitext(path_of(uri).rstrip("/").lower())[1]


def has_picture_suffix(uri: str) -> bool:
    """Return whether the suffix is that of a picture, in a readable format or not."""
    return suffix_of(uri) in PICTURE_SUFFIXES | UNREADABLE_PICTURES


def shard_kind(uri: str) -> str:
    """Return the kind of shard that a name indicates; "" if it is not the name of a shard."""
    name = path_of(uri).lower()
    for kind, suffixes in SHARD_SUFFIXES.items():
        if name.endswith(suffixes):
            return kind
    return "tfrecord" if _NUMBERED_TFRECORD.search(posixpath.basename(name)) else ""


def without_shard_suffix(key: str) -> str:
    """Return a shard's key without the suffix that indicates its kind."""
    lower = key.lower()
    suffixes = (suffix for group in SHARD_SUFFIXES.values() for suffix in group)
    for suffix in sorted(suffixes, key=len, reverse=True):
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return key[: -len(suffix)]
    return key


def reserved_name(name: str) -> str:
    """Return why a file is skipped whatever its content ("dot file"); "" for other files."""
    parts = name.split("/")
    if parts[-1].startswith("._") or "__MACOSX" in parts:
        return "macOS ._ file"
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return "dot file" if hidden else ""


def skip_reason(uri: str) -> str:
    """Return the reason under which a file that is not a picture is counted: its suffix, if any.

    A file of Underpaint has a reason of its own.
    """
    suffix = suffix_of(uri)
    if suffix == ".underpaint":
        return ENCODED
    if not suffix:
        return "no suffix"
    plain = re.fullmatch(r"\.(?=\d*[a-z])[a-z0-9_+-]{1,12}", suffix)
    return suffix if plain else "other suffix"
