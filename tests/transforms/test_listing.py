"""Every file of an input is listed, as a picture, a shard, or skipped for a reason."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.reading import outcome, read_all, read_everything, skipped
from tests.helpers.shards import jpeg, packed, tar_of, zip_of
from underpaint.codec.errors import UsageError
from underpaint.transforms.records import NotAPicture, Record, Skipped
from underpaint.transforms.sources import Choice, open_sources

HEIC = b"\0\0\0\x18ftypheic" + bytes(99)


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_pictures_are_found_by_content(tmp_path: Path) -> None:
    files = {"a": jpeg(1), "b.dat": jpeg(2), "c.txt": jpeg(3), "d.jpg": jpeg(4), "e.JPG": jpeg(5)}
    fill(tmp_path, {**files, "f.txt": b"text", "g": b"text", "h.2024": b"x"})
    assert [record.key for record in read_all([tmp_path])] == [
        "a",
        "b.dat",
        "c.txt",
        "d.jpg",
        "e.JPG",
    ]
    assert [record.fetch() for record in read_all([tmp_path])] == list(files.values())
    assert skipped([tmp_path]) == {".txt": 1, "no suffix": 1, "other suffix": 1}


@pytest.mark.parametrize("name", ["a.heic", "a", "a.cr2", "a.psd", "a.svg", "a.HEIC"])
def test_a_picture_of_another_format_is_a_record(tmp_path: Path, name: str) -> None:
    fill(tmp_path, {name: HEIC})
    assert [record.fetch() for record in read_all([tmp_path])] == [HEIC]


def test_what_is_no_picture_is_counted(tmp_path: Path) -> None:
    names = ["a.json", "a.mov", "a.mp4", "b.AAE", ".hidden.jpg", "._a.jpg", ".git/x.jpg", "a.csv"]
    fill(tmp_path, {**dict.fromkeys(names, jpeg(0)[:1] + b"no"), "a.jpg": jpeg(0)})
    (tmp_path / "nothing.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert skipped([tmp_path]) == {
        ".json": 1,
        ".mov": 1,
        ".mp4": 1,
        ".aae": 1,
        ".csv": 1,
        "dot file": 2,
        "macOS ._ file": 1,
        "broken link": 1,
        "not a regular file": 1,
    }
    with pytest.raises(UsageError, match=r"no pictures or shards in .*\(skipped 1: \.json 1\)"):
        open_sources([str(fill(tmp_path / "other", {"a.json": b"{}"}))], Choice())


def test_what_is_named_is_tried(tmp_path: Path) -> None:
    fill(tmp_path, {"a.txt": b"text", "b": b"text", ".c.jpg": jpeg(1)})
    records = read_all([tmp_path / name for name in ("a.txt", "b", ".c.jpg")])
    assert [record.fetch() for record in records] == [b"text", b"text", jpeg(1)]


def test_a_folder_that_cannot_be_listed_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, {"a/1.jpg": jpeg(1), "b/2.jpg": jpeg(2)})
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr("os.listdir", refuse)
    assert [outcome(record) for record in read_all([tmp_path])] == [PermissionError, jpeg(2)]


PHONE = {
    "2019/IMG_0001.jpg": "picture",
    "2020/IMG_0001.jpg": "picture",
    "2020/IMG_0002.HEIC": "picture",
    "2020/IMG_0002.MOV": ".mov",
    "2020/IMG_0002.AAE": ".aae",
    "2020/DSC_3.NEF": "picture",
    "2020/DSC_3.xmp": ".xmp",
    "2020/DSC_4.dng": "picture",
    "2020/clip.mp4": ".mp4",
    "2020/.DS_Store": "dot file",
    "2020/._IMG_0001.jpg": "macOS ._ file",
    "2020/Thumbs.db": ".db",
    "scan": "picture",
    "notes.txt": ".txt",
}


def test_a_folder_of_phones_and_cameras(tmp_path: Path) -> None:
    contents = {name: jpeg(1) if of == "picture" else b"other" for name, of in PHONE.items()}
    fill(tmp_path, contents)
    (tmp_path / "latest").symlink_to("2020")
    assert {r.key for r in read_all([tmp_path])} == {n for n in PHONE if PHONE[n] == "picture"}
    reasons = Counter(of for of in PHONE.values() if of != "picture")
    assert skipped([tmp_path]) == reasons | {"link to a listed folder": 1}


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root = fill(tmp_path / "photos", {"a/1.jpg": jpeg(1), "b/2.jpg": jpeg(2)})
    fill(tmp_path / "elsewhere", {"3.jpg": jpeg(3)})
    (root / "dogs").symlink_to("../elsewhere")
    (root / "b" / "again").symlink_to("../a")
    (root / "b" / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    (tmp_path / "elsewhere" / "out").symlink_to("..")
    (root / "dogs2").symlink_to("../elsewhere")
    assert [record.key for record in read_all([root])] == ["a/1.jpg", "b/2.jpg", "dogs/3.jpg"]
    assert skipped([root]) == {"link loop": 2, "link to a listed folder": 3}


ALL = {"link loop": 1, "link to a listed folder": 3, "listed twice": 1}


@pytest.mark.parametrize(
    ("inputs", "keys", "reasons"),
    [
        ("catlink cats", "cats/c.jpg", {"listed twice": 1}),
        ("cats catlink", "cats/c.jpg", {"listed twice": 1}),
        ("catlink catlink2", "catlink/c.jpg", {"listed twice": 1}),
        (
            "all cats",
            "all/cats/c.jpg all/d/d.jpg",
            ALL,
        ),
        ("d cats", "d/d.jpg cats/c.jpg", {"link to a listed folder": 1}),
        ("d d/cats", "d.jpg cats/c.jpg", {"link to a listed folder": 1}),
        ("cat*", "cats/c.jpg", {"link to a listed folder": 2}),
        ("**", "cats/c.jpg d/d.jpg", {"link loop": 1, "link to a listed folder": 3}),
        ("catl*", "catlink/c.jpg", {"link to a listed folder": 1}),
        ("catl* cats", "cats/c.jpg", {"link to a listed folder": 2}),
    ],
)
def test_an_input_that_is_a_link_lists_no_file_a_second_time(
    tmp_path: Path, inputs: str, keys: str, reasons: dict[str, int]
) -> None:
    fill(tmp_path, {"cats/c.jpg": jpeg(1), "d/d.jpg": jpeg(3)})
    links = {"catlink": "cats", "catlink2": "cats", "all": ".", "d/cats": "../cats"}
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    found = [tmp_path / name for name in inputs.split()]
    assert [record.key for record in read_all(found)] == keys.split()
    assert skipped(found) == reasons


def test_a_folder_that_a_glob_matches_is_walked(tmp_path: Path) -> None:
    fill(
        tmp_path, {"2019/a/1.jpg": jpeg(1), "2019/n.txt": b"x", "2020/2.jpg": jpeg(2), "3.jpg": b""}
    )
    pattern = f"{tmp_path}/20*"
    assert [record.key for record in read_all([pattern])] == ["2019/a/1.jpg", "2020/2.jpg"]
    assert skipped([pattern]) == {".txt": 1}
    everything = read_all([f"{tmp_path}/**"])
    assert len({record.uri for record in everything}) == len(everything) == 3


TREE = {"a/1.jpg": jpeg(1), "a/b/2.jpg": jpeg(2), "a/t.txt": b"x", "3.jpg": jpeg(3)}
TREE |= {"a/s.tar": tar_of({"4.jpg": jpeg(4)}), "a/.h/5.jpg": jpeg(5)}


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize(
    ("inputs", "pictures", "reasons"),
    [
        (("a", "a"), "1 2 4", {"listed twice": 5, ".txt": 1, "dot file": 1}),
        (("a", "a/b", "a/b"), "1 2 4", {"listed twice": 2, ".txt": 1, "dot file": 1}),
        (("a", "a/1.jpg"), "1 2 4", {"listed twice": 1, ".txt": 1, "dot file": 1}),
        (("a/1.jpg", "a"), "1 2 4", {"listed twice": 1, ".txt": 1, "dot file": 1}),
        (("a/*.jpg", "a"), "1 2 4", {"listed twice": 1, ".txt": 1, "dot file": 1}),
        (("a", "a/*.tar"), "1 2 4", {"listed twice": 1, ".txt": 1, "dot file": 1}),
        (("a/1.jpg", "a/?.jpg", "a/1.jpg"), "1", {"listed twice": 2}),
        (("a/s.tar", "a/s.tar"), "4", {"listed twice": 1}),
        (("3.jpg", "*.jpg", "a/b", "a/b/*"), "2 3", {"listed twice": 2}),
        (("a", "a/.h"), "1 2 4 5", {".txt": 1, "listed twice": 1}),
        (("a/.h", "a"), "1 2 4 5", {".txt": 1, "listed twice": 1}),
        (("a", "a/.h", "a/.h"), "1 2 4 5", {".txt": 1, "listed twice": 2}),
        (("a", "a/.h/5.jpg"), "1 2 4 5", {".txt": 1, "listed twice": 1}),
        (("a", "a/*/*.jpg"), "1 2 4", {".txt": 1, "dot file": 1, "listed twice": 2}),
        (("a", "a/.h/*", "a/*/*.jpg"), "1 2 4 5", {".txt": 1, "listed twice": 3}),
        (("a/*.txt", "a/b"), "2", {".txt": 1}),
        (("a/*",), "1 2 4", {".txt": 1, "dot file": 1}),
        (("a/**",), "1 2 4", {".txt": 1, "dot file": 1}),
        (("*/*/*",), "2", {"dot file": 1}),
        (("a/.h/*",), "5", {}),
        (("a/*", "a"), "1 2 4", {"listed twice": 5, ".txt": 1, "dot file": 1}),
    ],
)
def test_what_several_inputs_list_is_one_input(
    tmp_path: Path,
    remote: bool,
    inputs: tuple[str, ...],
    pictures: str,
    reasons: dict[str, int],
) -> None:
    base = str(tmp_path)
    fill(tmp_path, TREE)
    if remote:
        base = f"memory:/{tmp_path}"
        fsspec.filesystem("memory").pipe({f"{tmp_path}/{name}": TREE[name] for name in TREE})
    found = [f"{base}/{name}" for name in inputs]
    records = read_all(found)
    assert sorted(map(outcome, records)) == sorted(jpeg(int(n)) for n in pictures.split())
    assert len({record.key for record in records}) == len(records)
    assert skipped(found) == reasons


def test_a_file_has_one_outcome_whatever_each_input_says_of_it(tmp_path: Path) -> None:
    fill(tmp_path, {"1.jpg": jpeg(1), ".h/t.txt": b"x", ".h/s/2.jpg": jpeg(2)})
    os.mkfifo(tmp_path / "pipe.jpg")
    for names in itertools.permutations(("", ".h", ".h/s", "pipe.jpg")):
        found = [tmp_path / name for name in names]
        assert Counter(map(outcome, read_all(found))) == {jpeg(1): 1, jpeg(2): 1, OSError: 1}
        assert skipped(found) == {".txt": 1, "listed twice": 4}


def test_a_name_makes_a_file_an_input_whatever_a_folder_says_of_it(tmp_path: Path) -> None:
    fill(tmp_path, {"t.txt": b"text", "u.csv": b"url\nv.jpg\n", "v.jpg": jpeg(1)})
    for inputs in (["", "t.txt", "u.csv"], ["u.csv", "t.txt", ""]):
        found = [tmp_path / name for name in inputs]
        assert Counter(map(outcome, read_all(found))) == {b"text": 1, jpeg(1): 2}
        assert skipped(found) == {"listed twice": 2}


def test_a_remote_folder_opens_nothing_to_list_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    store.pipe({f"/remote/{n}": v for n, v in {"a.jpg": jpeg(1), "b": jpeg(2), "c": b"x"}.items()})
    store.pipe({"/remote/d.txt": jpeg(3), "/remote/.e/f.jpg": b"", "/remote/g.mov": b"x"})
    opened: list[str] = []
    cat = type(store).cat_file
    monkeypatch.setattr(
        type(store), "cat_file", lambda self, path, **k: opened.append(path) or cat(self, path, **k)
    )
    (source,) = open_sources(["memory://remote"], Choice())
    found = list(source.listing())
    assert not opened
    assert [each.reason for each in found if isinstance(each, Skipped)] == [
        "dot file",
        ".txt",
        ".mov",
    ]
    records = {r.key: outcome(r) for r in read_all(["memory://remote"])}
    assert records == {"a.jpg": jpeg(1), "b": jpeg(2), "c": NotAPicture}


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "TAR.BZ2", "tar.xz", "tar.zst", "tgz"])
@pytest.mark.parametrize("name", ["a.{}", "a.data"])
def test_archives_of_pictures_are_shards(tmp_path: Path, suffix: str, name: str) -> None:
    files = {"pics/1.jpg": jpeg(1), "pics/._1.jpg": b"mac", "2.png": jpeg(2), "notes.md": b"hi"}
    data = zip_of(files) if suffix == "zip" else packed(tar_of(files), suffix.lower())
    path = tmp_path / name.format(suffix)
    path.write_bytes(data)
    choice = Choice("zip" if suffix == "zip" else "tar")
    found = read_everything([path], choice if name == "a.data" else Choice())
    records = [each for each in found if isinstance(each, Record)]
    assert [record.fetch() for record in records] == [jpeg(1), jpeg(2)]
    assert sorted(each.reason for each in found if isinstance(each, Skipped)) == [
        ".md",
        "macOS ._ file",
    ]


@pytest.mark.parametrize("make", ["zip", "tar"])
def test_chains_reach_the_picture(tmp_path: Path, make: str) -> None:
    files = {"pics/1.jpg": jpeg(1), "pics/deep/2.jpg": jpeg(2), "3.jpg": jpeg(3)}
    data = {"zip": zip_of, "tar": tar_of}[make](files)
    path = tmp_path / f"p.{make}"
    path.write_bytes(data)
    fsspec.filesystem("memory").pipe({f"/chain/p.{make}": data})
    for target in (str(path), f"memory://chain/p.{make}"):
        for pattern, count in (("pics", 2), ("*.jpg", 1), ("**/*.jpg", 3), ("pics/*", 2), ("", 3)):
            records = read_all([f"{make}://{pattern}::{target}"])
            assert len(records) == count
            for record in records:
                content = record.fetch()
                assert content in files.values()
                with fsspec.open(record.uri) as file:
                    assert file.read() == content
        (missing,) = read_all([f"{make}://none::{target}"])
        assert isinstance(outcome(missing), type)
    nested = zip_of({f"in/p.{make}": data})
    (tmp_path / "outer.zip").write_bytes(nested)
    address = f"{make}://pics/1.jpg::zip://in/p.{make}::{tmp_path}/outer.zip"
    assert [record.fetch() for record in read_all([address])] == [jpeg(1)]


@pytest.mark.parametrize("chain", ["simplecache::memory://cached", "filecache::memory://cached"])
def test_chains_of_caches_keep_their_form(chain: str) -> None:
    fsspec.filesystem("memory").pipe({"/cached/a/1.jpg": jpeg(1)})
    (record,) = read_all([chain])
    assert record.uri.startswith(chain.partition("::")[0])
    assert record.fetch() == jpeg(1)


def test_two_colons_in_local_names_make_no_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "x::y"
    pictures = ["a::b.jpg", "d::e/1.jpg", "zip::b.jpg", "http::x.jpg", "::chain.jpg", "f::g"]
    contents = {name: jpeg(number) for number, name in enumerate(pictures)}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for suffix, made in (("tar", tar_of), ("zip", zip_of)):
        (folder / f"odd::name.{suffix}").write_bytes(made({f"{suffix}.jpg": jpeg(9)}))
    (folder / "t::u.txt").write_bytes(b"text")
    want = {
        **contents,
        "odd::name.tar/tar.jpg": jpeg(9),
        "odd::name.zip/zip.jpg": jpeg(9),
    }
    assert {record.key: record.fetch() for record in read_all([folder])} == want
    assert skipped([folder]) == {".txt": 1}
    monkeypatch.chdir(folder)
    assert {record.key: record.fetch() for record in read_all(["."])} == want
    names = ["a::b.jpg", "zip::b.jpg", "d::e", "odd::name.tar"]
    for address in (*names, *(f"{folder}/{name}" for name in names), f"{folder}/d::*/*.jpg"):
        (record,) = read_all([address])
        assert record.fetch() in want.values()
    chain = f"zip://zip.jpg::{folder}/odd::name.zip"
    assert [record.fetch() for record in read_all([chain])] == [jpeg(9)]


NAMES = st.sampled_from(
    [
        *("a.jpg", "a.JPG", "b.png", "a", "b", "c.txt", "d.json", ".e.jpg", "._a.jpg", "f.mov"),
        *("g.heic", "h.2023.jpg", "h.2023.txt", "i.dat", "j.tar", "k.zip", "l.tgz", "m.cls"),
        *("sub/n.jpg", "sub/.p/q.jpg", "sub/r.cls", "sub/a.png", "s.csv", "sub/h.jpg"),
        *("sub/h.2023.jpg", "o o.jpg", "t\nu.jpg"),
    ]
)
CONTENTS = {
    "picture": jpeg(1),
    "other picture": jpeg(2),
    "cut": jpeg(2)[:200],
    "text": b"text",
    "nothing": b"",
    "heic": HEIC,
    "number": b"7",
    "zeros": bytes(2000),
}
FILES = st.dictionaries(NAMES, st.sampled_from(list(CONTENTS)), max_size=10)
ARCHIVES = ("tar", "zip", "tgz")
LINKS = st.dictionaries(
    st.sampled_from(["link", "sub/link", "link.jpg", ".link"]),
    st.sampled_from([".", "..", "sub", "a.jpg", "nowhere", "../outside", "link"]),
    max_size=3,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=FILES, links=LINKS, inner=FILES, outside=FILES)
def test_what_lies_in_a_folder_is_what_is_listed(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, str],
    links: dict[str, str],
    inner: dict[str, str],
    outside: dict[str, str],
) -> None:
    """Records and skipped files together are the files, links and members that are there."""
    base = tmp_path_factory.mktemp("mixed")
    root = fill(base / "root", {name: CONTENTS[of] for name, of in files.items()})
    root.mkdir(exist_ok=True)
    fill(base / "outside", {n: CONTENTS[of] for n, of in outside.items() if n[-3:] not in ARCHIVES})
    (base / "outside").mkdir(exist_ok=True)
    (root / "t.tar").write_bytes(tar_of({name: CONTENTS[of] for name, of in inner.items()}))
    (root / "z.zip").write_bytes(zip_of({name: CONTENTS[of] for name, of in inner.items()}))
    for name, target in links.items():
        path = root / name
        if path.parent.is_dir() and not path.exists() and not path.is_symlink():
            path.symlink_to(target)
    found = read_everything([root], span_bytes=1000)
    uris = [each.uri for each in found]
    assert len(set(uris)) == len(uris)
    pictures = [each for each in found if isinstance(each, Record)]
    assert len({record.key for record in pictures}) == len(pictures)
    expected = set()
    for folder, _, names in os.walk(root):
        expected |= {os.path.join(folder, name) for name in names}
    loose = {uri for uri in uris if "#" not in uri}
    shards = {str(root / name) for name in ("t.tar", "z.zip")}
    shards |= {path for path in expected if path.endswith((".tar", ".zip", ".tgz"))}
    followed = {uri for uri in loose if os.path.realpath(uri).startswith(str(base / "outside"))}
    assert expected - shards - followed <= loose
    for shard in ("t.tar", "z.zip"):
        members = {uri.partition("#")[2] for uri in uris if uri.startswith(f"{root}/{shard}#")}
        labels = {name for name in inner if name not in members}
        assert members <= set(inner)
        stems = {_stem(member) for member in members}
        assert all(_stem(name) in stems for name in labels)
        assert not any(name.endswith((".mov", ".jpg", ".heic")) for name in labels)


def _stem(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


@pytest.mark.parametrize("links", [1, 2])
def test_a_link_to_itself_is_said_at_once(
    tmp_path: Path, links: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(links):
        (tmp_path / f"{number}.jpg").symlink_to(f"{(number + 1) % links}.jpg")
    waits: list[float] = []
    monkeypatch.setattr("underpaint.codec.storage.retries.random.uniform", waits.append)
    with pytest.raises(UsageError, match=rf"{tmp_path}/0\.jpg: a link that leads to itself"):
        open_sources([str(tmp_path / "0.jpg")], Choice())
    with pytest.raises(UsageError, match="the name is longer than"):
        open_sources([str(tmp_path / ("x" * 300))], Choice())
    assert not waits
