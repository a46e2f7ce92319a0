"""What the commands print and take: sizes, shares, times, tables, the line of progress."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.streams import framed
from underpaint.codec.archive import ArchiveWriter, DeadLetter, Row, publish
from underpaint.codec.bitstream import PictureHeader
from underpaint.pipelines.cli.console import (
    ProgressLine,
    count,
    parse_share,
    parse_size,
    positive,
    shown,
    size_text,
    table,
    time_text,
)
from underpaint.pipelines.cli.main import main
from underpaint.transforms.progress import Counts


def test_sizes_are_read_and_shown() -> None:
    assert [parse_size(text) for text in ("512", "1k", "1.5M", "2G", "2GiB", "1KiB")] == [
        512, 1000, 1_500_000, 2_000_000_000, 2 << 30, 1024,
    ]  # fmt: skip
    assert [size_text(count) for count in (0, 999, 1000, 123_456, 5e9, 7e12)] == [
        "0 B", "999 B", "1 kB", "123 kB", "5 GB", "7 TB",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "-1", "0", "many", "1.2.3G", "9" * 23, "9223372036855T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_size(text)


def test_shares_and_counts() -> None:
    assert (parse_share("1%"), parse_share("0.25"), positive("3")) == (0.01, 0.25, 3)
    for parse, text in ((parse_share, "2"), (parse_share, "x"), (positive, "0"), (positive, "x")):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(text)


@pytest.mark.parametrize("text", [" 3", "1_0", "٣", "³", "+3", "-3", "", "9" * 19])
def test_whole_numbers_are_plain_digits(text: str) -> None:
    assert (positive("10"), count("0"), count("007")) == (10, 0, 7)
    for parse in (positive, count):
        with pytest.raises(argparse.ArgumentTypeError, match="not an integer"):
            parse(text)


def test_times_read_well_for_minutes_and_for_days() -> None:
    assert [time_text(span) for span in (5, 65, 3_700, 200_000)] == [
        "5 s", "1 min 05 s", "1 h 01 min", "2 d 07 h",
    ]  # fmt: skip


def test_a_table_is_aligned() -> None:
    assert table([("a", "bb"), ("ccc", "1")]).splitlines() == [
        "a      bb",
        "---  ----",
        "ccc     1",
    ]


def test_a_column_is_wrapped_to_the_width() -> None:
    rows = [("pictures", "2,700"), ("labels", "cls, caption, source, licence"), ("none", "")]
    assert table(rows, header=False, width=28).splitlines() == [
        "pictures            2,700",
        "labels      cls, caption,",
        "          source, licence",
        "none",
    ]


def test_the_line_of_progress_says_how_far_and_how_long() -> None:
    line = ProgressLine(lambda: Counts(), total_bytes=1000, total_images=10, stream=io.StringIO())
    counts = Counts(images=4, pixels=3_000_000, bytes_in=400, bytes_out=99, input_bytes=500)
    counts += Counts(failed=1, causes={"decode: PictureDamaged": 1})
    text = line.text(counts, elapsed=6.0)
    for part in (
        "5 of 10 pictures",
        "0.50 Mpx/s",
        "in 400 B",
        "out 99 B",
        "failed 1 (decode: PictureDamaged 1)",
        "50%",
        "ETA 6 s",
    ):
        assert part in text


def test_a_log_gets_a_last_line() -> None:
    stream = io.StringIO()
    with ProgressLine(lambda: Counts(images=3), 0, 3, stream):
        pass
    assert stream.getvalue().startswith("3 of 3 pictures")
    assert stream.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain.jpg", "plain.jpg"),
        ("ü/日本/é👩‍🚀.jpg", "ü/日本/é👩‍🚀.jpg"),
        ("a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        ("one\ntwo\r\x7f", "one\\ntwo\\r\\x7f"),
        ("\x9b2J", "\\x9b2J"),
        ("gnp.\u202egpj.", "gnp.\\u202egpj."),
        (ValueError("\x00"), "\\x00"),
    ],
)
def test_what_came_from_elsewhere_does_not_steer_the_terminal(text: object, expected: str) -> None:
    assert shown(text) == expected
    assert expected in table([("name",), (str(text),)])


def test_no_command_lets_an_archive_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steer = "\x1b]0;owned\x07"
    [layer] = framed([bytes(16)], PictureHeader(8, 8, "0" * 16))
    with ArchiveWriter(
        tmp_path, "u", layers=(f"c{steer}",), weights_id="0" * 16, extractor=f"mine{steer}",
        embedding_size=1,
    ) as writer:  # fmt: skip
        writer.add(Row("k\x9b2J", (layer,), 8, 8, embedding=np.ones(1)))
        writer.fail(DeadLetter("bad", "", f"read{steer}", f"Error{steer}", f"why{steer}"))
    publish(tmp_path)
    assert main(["inspect", str(tmp_path)]) == 0
    assert main(["inspect", "--failed", str(tmp_path)]) == 0
    assert main(["inspect", "--keys", str(tmp_path)]) == 0
    assert main(["inspect", f"{tmp_path}/none{steer}"]) == 2
    assert main(["verify", str(tmp_path), "--workers", "1"]) == 2
    told = "".join(capsys.readouterr())
    assert told.count("\\x1b]0;owned\\x07") >= 6
    assert not set(told) & {"\x1b", "\x07", "\x9b"}
