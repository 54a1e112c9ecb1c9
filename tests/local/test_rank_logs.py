"""Whole lines with a prefix from files that are still being written."""

from pathlib import Path

import pytest

from det_files.local.rank_logs import LineStream, RankLogs, split_prefix


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_the_same_however_they_arrive(size: int) -> None:
    data = b"one\n\ntwo\r\nbar 1%\rbar 50%\rbar 100%\nlast\r"
    stream = LineStream(b"> ")
    out = b"".join(stream.feed(data[i : i + size]) for i in range(0, len(data), size))
    assert out == b"> one\n> \n> two\n> bar 100%\n"
    assert stream.flush() == b"> last\n"
    assert stream.flush() == b""


def test_a_bar_without_an_end_does_not_pile_up() -> None:
    stream = LineStream(b"> ")
    for step in range(1000):
        assert stream.feed(b"\rstep %d" % step) == b""
    assert len(stream._partial) < 20
    assert stream.flush() == b"> step 999\n"


def test_ranks_are_followed_from_the_first_to_the_last_byte(tmp_path: Path) -> None:
    logs = RankLogs(tmp_path)
    assert logs.drain() == b""
    for rank in (0, 1, 10):
        directory = tmp_path / "run_x" / "attempt_0" / str(rank)
        directory.mkdir(parents=True)
        (directory / "stderr.log").write_bytes(b"E\nhalf")
        (directory / "stdout.log").write_bytes(b"O\n")
    assert logs.drain().splitlines() == [
        b"[rank=%d] %s" % (rank, text) for rank in (0, 1, 10) for text in (b"O", b"E")
    ]
    with open(tmp_path / "run_x" / "attempt_0" / "1" / "stderr.log", "ab") as file:
        file.write(b" and half\nthe end")
    assert logs.drain() == b"[rank=1] half and half\n"
    assert logs.finish().splitlines() == [
        b"[rank=0] half",
        b"[rank=1] the end",
        b"[rank=10] half",
    ]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("[rank=12] text", (12, "text")),
        ("[rank=0] ", (0, "")),
        ("[torchrun] text", (None, "text")),
        ("[rank=x] text", (None, "[rank=x] text")),
    ],
)
def test_split_prefix(line: str, parts: tuple[int | None, str]) -> None:
    assert split_prefix(line) == parts
