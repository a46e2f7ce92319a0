"""A user's mistake gets one line that says what, where and what to do."""

from __future__ import annotations

import errno
import importlib.util
import os
import shlex
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
import torch

from tests.helpers.pictures import make_photos, underpaint
from underpaint.codec.archive import Archive
from underpaint.codec.errors import UsageError
from underpaint.codec.storage.extras import file_system, install_hint, require_extras
from underpaint.codec.storage.files import Storage
from underpaint.pipelines.cli.main import COMMANDS, main
from underpaint.pipelines.cli.options import LONGEST_LINE
from underpaint.pipelines.runners.select import LOCAL, check_options, last_line


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    make_photos(folder / "photos", 2)
    assert underpaint("encode", folder / "photos", "--output", folder / "archive") == 0
    return folder / "archive"


CASES = {
    "a profile that does not exist": (
        ("decode", "ARCHIVE", "--output", "OUT", "--weights", "nosuch"),
        "no weights at nosuch: No such file or directory; give a path, a URL or a profile "
        "(perceptual, fidelity)",
    ),
    "a layer too many": (
        ("decode", "ARCHIVE", "--output", "OUT", "--layers", "9"),
        "layers: 9; the archive has layers 1 to 6",
    ),
    "a picture in another format": (
        ("view", "ARCHIVE", "--picture", "foo.svg"),
        "--picture foo.svg: the suffix must be one of .png, .jpg, .jpeg, .webp",
    ),
    "a device that torch does not know": (
        ("decode", "ARCHIVE", "--output", "OUT", "--device", "gpu"),
        "device 'gpu': not a torch device; try cpu or cuda",
    ),
    "an archive without embeddings": (
        ("search", "ARCHIVE", "--like", "0.png"),
        "no embeddings; encode with --embedding NAME",
    ),
    "data files of a byte": (
        ("compact", "ARCHIVE", "--target-size", "1"),
        "--target-size: 1 B; want 1M or more",
    ),
    "the manifest instead of its folder": (
        ("inspect", "MANIFEST"),
        "manifest.json: a file; give the folder of an archive",
    ),
    "no archive": (("inspect", "OUT"), "no such folder"),
    "an empty folder": (("encode", "EMPTY", "--output", "OUT"), "no pictures or shards in"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_gets_one_line(
    case: str, archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words, expected = CASES[case]
    empty = tmp_path / "empty"
    empty.mkdir()
    names = {"ARCHIVE": archive, "OUT": tmp_path / "out", "EMPTY": empty}
    names["MANIFEST"] = archive / "manifest.json"
    assert underpaint(*(names.get(word, word) for word in words)) == 2
    told = capfd.readouterr().err.strip()
    assert expected in told
    assert told.startswith("underpaint: ")
    assert len(told.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_gets_one_line(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("decode", archive, "--output", tmp_path / "out", "--device", "cuda")
    assert underpaint(*command) == 2
    told = capfd.readouterr().err.strip()
    assert told == "underpaint: device 'cuda': PyTorch finds no CUDA GPU here; use cpu"


OPTIONS = {
    "an option that does not exist": (
        ("decode", "archive", "--output", "out", "--nosuch", "3"),
        "unrecognized arguments: --nosuch 3; see underpaint decode --help",
    ),
    "a command that does not exist": (("encoed",), "argument COMMAND: invalid choice: 'encoed'"),
    "nothing to write to": (
        ("decode", "archive"),
        "the following arguments are required: --output; see underpaint decode --help",
    ),
    "a format that does not exist": (
        ("decode", "archive", "--output", "out", "--format", "gif"),
        "argument --format: invalid choice: 'gif'",
    ),
    "no memory": (
        ("encode", "photos", "--output", "out", "--memory", "0"),
        "argument --memory: not a size: '0' (try 512M or 4G); see underpaint encode --help",
    ),
    "negative memory": (
        ("encode", "photos", "--output", "out", "--memory", "-5G"),
        "argument --memory: ",
    ),
    "memory of no machine": (
        ("encode", "photos", "--output", "out", "--memory", "1" + "0" * 23),
        "argument --memory: more than any machine has: ",
    ),
    "files of the future": (
        ("sweep", "archive", "--older-than", "-1"),
        "argument --older-than: not a number of hours, 0 or more: '-1'",
    ),
    "files of no age": (
        ("sweep", "archive", "--older-than", "nan"),
        "argument --older-than: not a number of hours, 0 or more: 'nan'",
    ),
}
"""Command lines that the parser refuses."""


@pytest.mark.parametrize("case", OPTIONS)
def test_a_mistake_in_an_option_is_one_line_without_the_usage(
    case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words, expected = OPTIONS[case]
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    assert stopped.value.code == 2
    [told] = capfd.readouterr().err.splitlines()
    assert told.startswith(f"underpaint: {expected}")
    assert told.endswith("--help")


def test_an_option_of_beam_is_refused_in_one_line(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("encode", archive.parent / "photos", "--output", tmp_path / "out")
    assert underpaint(*command, "--direct_running_mode", "abc") == 2
    [told] = capfd.readouterr().err.splitlines()
    assert told.startswith(
        "underpaint: an option of Beam: argument --direct_running_mode: invalid choice: 'abc'"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--typo-option", "unknown options: --typo-option; see underpaint encode --help"),
        (
            "--typo-option=5 --other_typo -5 --region x",
            "unknown options: --typo-option --other_typo;",
        ),
        ("-x 3", "unknown options: -x;"),
        (
            "--worker_machine_type n1 --num_workers=2",
            "--worker_machine_type, --num_workers: no effect",
        ),
    ],
)
def test_an_option_that_beam_does_not_take_is_named_as_it_was_typed(words: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_options(words.split(), LOCAL)
    assert str(refused.value).startswith(said)


def test_memory_that_no_photo_fits_is_refused(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("encode", archive.parent / "photos", "--output", tmp_path / "out", "--workers", 2)
    assert underpaint(*command, "--memory", "100M") == 2
    assert capfd.readouterr().err == (
        "underpaint: --memory: 100 MB for 2 workers, where each needs 64 MB or more; give more, or "
        "fewer --workers\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [("encode", "", "--output", "out"), ("encode", "photos", "--output", ""), ("inspect", "")],
)
def test_an_empty_argument_is_not_the_current_folder(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    assert stopped.value.code == 2
    assert "an argument is empty" in capfd.readouterr().err


def test_an_empty_path_is_refused_in_python() -> None:
    for open_it in (Archive.open, Storage, file_system):
        with pytest.raises(UsageError, match="a path is empty"):
            open_it("")


BLOCKED = {
    "encode to a file": ("encode", "EMPTY", "--output", "FILE"),
    "encode below a file": ("encode", "EMPTY", "--output", "FILE/archive"),
    "decode into a file": ("decode", "ARCHIVE", "--output", "FILE"),
    "decode below a file": ("decode", "ARCHIVE", "--output", "FILE/out"),
    "trim to a file": ("trim", "ARCHIVE", "--layers", "1", "--output", "FILE"),
    "merge to a file": ("merge", "ARCHIVE", "--output", "FILE"),
    "export to a file": ("export", "ARCHIVE", "--output", "FILE"),
    "repair to a file": ("verify", "ARCHIVE", "--repair", "--output", "FILE"),
    "evaluate to a file": ("evaluate", "FILE", "--output", "FILE"),
    "a page that is a folder": ("view", "ARCHIVE", "--html", "EMPTY"),
    "a page in no folder": ("view", "ARCHIVE", "--html", "EMPTY/no/page.html"),
    "a sheet in no folder": ("view", "ARCHIVE", "--picture", "EMPTY/no/sheet.png"),
    "weights that are a folder": ("train", "FILE", "--output", "EMPTY"),
    "figures in no folder": ("benchmark", "FILE", "--json", "EMPTY/no/figures.json"),
    "encode where no folders are": ("encode", "EMPTY", "--output", "/proc/x/y"),
    "decode where no folders are": ("decode", "ARCHIVE", "--output", "/proc/x"),
    "a page where no files are": ("view", "ARCHIVE", "--html", "/proc/x"),
    "weights where no files are": ("train", "FILE", "--output", "/proc/x"),
    "a run in a file": ("train", "FILE", "--output", "EMPTY/w", "--run-folder", "FILE/run"),
    "a folder with a long name": ("merge", "ARCHIVE", "--output", "EMPTY/" + "n" * 300),
    "a page with a long name": ("view", "ARCHIVE", "--html", "EMPTY/" + "n" * 300),
    "a cache in a file": ("evaluate", "FILE", "--output", "EMPTY", "--cache", "FILE/cache"),
    "an archive in a file": ("benchmark", "FILE", "--folder", "FILE/archive"),
}
"""Command lines whose output cannot be written."""


@pytest.mark.parametrize("case", BLOCKED)
def test_an_output_that_cannot_be_written_is_named_before_any_work(
    case: str, archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_bytes(b"text")
    words = [
        str(archive)
        if word == "ARCHIVE"
        else str(tmp_path / word)
        if word.startswith(("FILE", "EMPTY"))
        else word
        for word in BLOCKED[case]
    ]
    assert underpaint(*words) == 2
    shown = capfd.readouterr()
    option = next(word for word in reversed(words) if word.startswith("--"))
    assert shown.err.startswith(f"underpaint: {option} {words[-1]}: ")
    assert "Errno" not in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not shown.out
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["EMPTY", "FILE"]


@pytest.mark.parametrize("command", ["compact", "sweep"])
def test_an_archive_that_cannot_be_changed_is_named_before_any_work(
    command: str,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    copy = tmp_path / "archive"
    shutil.copytree(archive, copy)

    def refuse(*, dir: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert underpaint(command, copy) == 2
    assert capfd.readouterr().err == (
        f"underpaint: ARCHIVE {copy}: cannot write there: read-only file system\n"
    )
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_the_end_of_encode_names_the_command_that_shows_failures(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing")
    output = tmp_path / "my archive"
    command = ("encode", tmp_path / "photos", "--output", output, "--workers", 1)
    assert underpaint(*command) == 1
    told = capfd.readouterr().err
    [line] = [line for line in told.splitlines() if "inspect" in line]
    assert line == f"failures with their reasons: underpaint inspect '{output}' --failed"
    assert underpaint(*shlex.split(line.partition(": underpaint ")[2])) == 0
    assert capfd.readouterr().out.startswith("bad.jpg")


def test_decode_does_not_overwrite_unless_asked(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("decode", archive, "--output", tmp_path / "out", "--layers", 1)
    assert underpaint(*command) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    capfd.readouterr()
    again = ("decode", archive, "--output", tmp_path / "out")
    assert underpaint(*again) == 2
    assert "not empty; choose another one, or give --overwrite" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert underpaint(*again, "--overwrite") == 0
    assert all(path.read_bytes() != data for path, data in before.items())


DEAD = 2**22 + 1  # more than any process id of Linux


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("decode", "--output"), ""),
        (("export", "--output"), ""),
        (("export", "--as", "folder", "--output"), ""),
        (("export", "--html"), "pictures/"),
    ],
)
def test_a_killed_run_begins_again_with_overwrite(
    archive: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    name: str,
) -> None:
    command, *others = words
    out = tmp_path / "out"
    again = (command, archive, *others, out)
    assert underpaint(*again) == 0
    whole = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(whole) > 1 or command == "export"
    for path in whole:  # as a kill leaves them
        path.write_bytes(b"old")
    left = out / f"{name}.tmp-x.png-{DEAD}-0123456789ab"
    running = out / f"{name}.tmp-x.png-{os.getpid()}-0123456789ab"
    own = [out / f"{name}{mine}" for mine in (".tmp-mine", "notes.txt", ".tmp-x-12-0123456789aX")]
    for path in (left, running, *own):
        path.write_bytes(b"half")
    capfd.readouterr()
    assert underpaint(*again) == 2
    assert "not empty; choose another one, or give --overwrite" in capfd.readouterr().err
    assert left.exists()
    assert underpaint(*again, "--overwrite") == 0
    assert {path: path.read_bytes() for path in whole} == whole
    found = {path for path in out.rglob("*") if path.is_file()}
    assert found == {*whole, running, *own}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_leaves_nothing_behind(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = archive.parent / "photos"
    said = "underpaint: device 'cuda': PyTorch finds no CUDA GPU here; use cpu"
    for command in (
        ("encode", photos, "--output", tmp_path / "new", "--device", "cuda"),
        ("train", photos, "--output", tmp_path / "new.safetensors", "--device", "cuda"),
    ):
        assert underpaint(*command) == 2
        assert capfd.readouterr().err.strip() == said
    assert not list(tmp_path.iterdir())


def test_a_file_that_holds_no_weights_is_named(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = next((archive.parent / "photos").rglob("*.jpg"))
    for command in ("encode", archive.parent / "photos"), ("decode", archive):
        assert underpaint(*command, "--output", tmp_path / "new", "--weights", photo) == 1
        assert f"{photo}: not a weights file (" in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_archives_that_do_not_fit_are_a_mistake(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert underpaint("trim", archive, "--layers", 2, "--output", tmp_path / "two") == 0
    assert underpaint("merge", archive, tmp_path / "two", "--output", tmp_path / "both") == 2
    assert "underpaint trim --layers 2" in capfd.readouterr().err
    assert underpaint("encode", archive.parent / "photos", "--output", tmp_path / "same") == 0
    (tmp_path / "copy").mkdir()
    photo = next((archive.parent / "photos").rglob("*.jpg"))
    (tmp_path / "copy" / photo.parent.name).mkdir()
    (tmp_path / "copy" / photo.parent.name / photo.name).write_bytes(photo.read_bytes())
    assert underpaint("encode", tmp_path / "copy", "--output", tmp_path / "one") == 0
    capfd.readouterr()
    assert underpaint("merge", archive, tmp_path / "one", "--output", tmp_path / "both") == 2
    assert "more than one of the archives has a picture of this key" in capfd.readouterr().err
    assert not (tmp_path / "both").exists()


def test_old_failures_come_with_the_option_that_tries_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing")
    command = ("encode", tmp_path / "photos", "--output", tmp_path / "archive", "--workers", 1)
    assert underpaint(*command) == 1
    first = capfd.readouterr()
    assert "--retry-failed" not in first.err
    assert "layers 1 to N" not in first.out, "a table of layers without pictures"
    assert underpaint(*command) == 1
    assert "1 failure of earlier runs: --retry-failed tries them again" in capfd.readouterr().err


def test_the_hint_about_tables_needs_a_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    command = ("encode", folder, "--output", tmp_path / "archive")
    assert underpaint(*command) == 2
    assert "--source" not in capfd.readouterr().err
    (folder / "photos.csv").write_text("url\nhttp://host/a.jpg\n")
    assert underpaint(*command) == 2
    assert "tables need --source parquet or manifest" in capfd.readouterr().err


def test_a_type_of_no_label_names_its_option(
    archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = archive.parent / "photos"
    assert underpaint("encode", photos, "--output", tmp_path / "new", "--label", "x:floaty") == 2
    assert "--label x:floaty: 'floaty' is no type of a label" in capfd.readouterr().err


def test_a_refused_connection_is_said_in_plain_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # free again when the socket is closed
    url = f"http://127.0.0.1:{port}/archive"
    assert underpaint("inspect", url) == 1
    assert f"underpaint: {url}: the server refused the connection" in capfd.readouterr().err


def test_the_command_alone_shows_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert underpaint() == 2
    assert "commands:" in capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", ["60", "200"])
def test_each_help_page_has_examples_and_fits(
    command: str, columns: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert underpaint(command, "--help") == 0
    text = capfd.readouterr().out
    assert "examples:\n  " in text
    assert "130" in text.rpartition("exit status")[2]
    assert "(default " not in text, "write (default: X)"
    if columns == "200":
        assert max(map(len, text.splitlines())) <= LONGEST_LINE


def test_beams_note_of_the_step_is_removed_from_errors() -> None:
    error = RuntimeError("UsageError: no such thing [while running 'Encode pictures/Write']")
    assert last_line(error) == "UsageError: no such thing"


def test_a_missing_extra_is_named_with_all_that_the_command_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_spec = importlib.util.find_spec
    absent = ("apache_beam", "matplotlib")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else find_spec(name)
    )
    with pytest.raises(UsageError) as refused:
        require_extras("benchmark", "evaluate", "pipeline")
    assert str(refused.value) == f"benchmark needs {install_hint('evaluate,pipeline')}"
    require_extras("search", "http")


@pytest.mark.parametrize("columns", [50, 80])
def test_inspect_fits_the_terminal(
    columns: int, archive: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert underpaint("inspect", archive) == 0
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("6") for line in lines)
