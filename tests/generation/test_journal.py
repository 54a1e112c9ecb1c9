"""The journal loses no line that was written, and becomes the output in the input's order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from det_files.faults import ConfigError, Faults
from det_files.generation.journal import (
    Journal,
    JournalWriter,
    begin_journal,
    check_request,
    find_output_faults,
    journal_directory,
)

REQUEST = {"--seed": 0, "--split": None}


def line(row: int, **more: Any) -> dict[str, Any]:
    return {"row": row, **more, "answer": f"ü {row}"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    output = tmp_path / "new" / "out.jsonl"
    begin_journal(output, REQUEST)
    return output


def test_lines_of_several_ranks_are_joined_in_order(output: Path) -> None:
    for rank, rows in enumerate([(3, 1), (4, 2)]):
        with JournalWriter(output, rank) as journal:
            for row in rows:
                journal.write(line(row))
    journal_ = Journal(output, 1)
    assert journal_.finished_rows() == {1, 2, 3, 4}
    assert [record["row"] for record in journal_.records()] == [1, 2, 3, 4]
    journal_.publish()
    assert output.read_text().splitlines()[2] == '{"row": 3, "answer": "ü 3"}'
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


def test_a_kill_while_the_journal_is_removed_leaves_a_finished_output(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with JournalWriter(output, 0) as journal:
        journal.write(line(1))

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if path.exists():
            (path / "request.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            Journal(output, 1).publish()
    assert output.read_text() == '{"row": 1, "answer": "ü 1"}\n'
    assert "is finished" in faults_of(output, True)[0]
    output.unlink()  # to begin anew, of which nothing that lies there is a part
    begin_journal(output, {"--seed": 1})
    assert not Journal(output, 1).finished_rows()
    with JournalWriter(output, 0) as journal:
        journal.write(line(2))
    Journal(output, 1).publish()
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


def test_a_torn_line_is_dropped(output: Path) -> None:
    with JournalWriter(output, 0) as journal:
        journal.write(line(2))
        journal.write(line(1))
    part = journal_directory(output) / "rank_0.jsonl"
    part.write_bytes(part.read_bytes()[:-4])
    assert Journal(output, 1).finished_rows() == {2}
    with JournalWriter(output, 0) as journal:
        journal.write(line(3))
    assert part.read_text().splitlines() == [
        '{"row": 2, "answer": "ü 2"}',
        '{"row": 3, "answer": "ü 3"}',
    ]


@pytest.mark.parametrize("length", [10, 65_535, 65_536, 200_000])
def test_the_last_whole_line_is_found_behind_any_torn_one(output: Path, length: int) -> None:
    part = journal_directory(output) / "rank_0.jsonl"
    part.write_bytes(b'{"row": 1}\n' + b"x" * length)
    with JournalWriter(output, 0) as journal:
        journal.write({"row": 2})
    assert part.read_bytes() == b'{"row": 1}\n{"row": 2}\n'
    part.write_bytes(b"x" * length)
    with JournalWriter(output, 0):
        pass
    assert part.read_bytes() == b""


def test_a_row_is_finished_with_its_last_answer(output: Path) -> None:
    with JournalWriter(output, 0) as journal:
        for row, sequence in ((1, 0), (2, 1), (1, 1), (3, 0)):
            journal.write(line(row, sequence=sequence))
    assert Journal(output, 2).finished_rows() == {1}
    with JournalWriter(output, 1) as journal:  # the whole row again, as a resume has it
        for sequence in (0, 1):
            journal.write(line(2, sequence=sequence))
    keys = [(record["row"], record["sequence"]) for record in Journal(output, 2).records()]
    assert keys == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]


def test_one_process_alone_writes_a_part(output: Path) -> None:
    with JournalWriter(output, 0), pytest.raises(ConfigError, match="another process"):
        JournalWriter(output, 0)
    JournalWriter(output, 0).__exit__(None, None, None)


def test_another_request_is_refused_and_all_that_differs_named(output: Path) -> None:
    check_request(output, REQUEST)
    begin_journal(output, REQUEST)
    with pytest.raises(ConfigError) as raised:
        check_request(output, {"--seed": 1, "--split": "test"})
    assert [fault.message for fault in raised.value.faults] == [
        f"--seed: {output} was begun with 0, and now it is 1",
        f"--split: {output} was begun with None, and now it is 'test'",
    ]


def faults_of(output: Path, resume: bool) -> list[str]:
    faults = Faults()
    find_output_faults(output, resume, faults)
    return [str(fault) for fault in faults.found]


def test_an_output_that_is_there_is_never_written_over(output: Path, tmp_path: Path) -> None:
    assert not faults_of(tmp_path / "fresh.jsonl", False)
    assert not faults_of(tmp_path / "fresh.jsonl", True)
    assert "--resume goes on with it, or choose another name" in faults_of(output, False)[0]
    assert not faults_of(output, True)
    with JournalWriter(output, 0) as journal:
        journal.write(line(1))
    Journal(output, 1).publish()
    assert "exists: choose another name" in faults_of(output, False)[0]
    assert "is finished" in faults_of(output, True)[0]
    assert "ends with .jsonl" in faults_of(tmp_path / "out.json", False)[0]
    (tmp_path / "d.jsonl").mkdir()
    assert "is a directory" in faults_of(tmp_path / "d.jsonl", False)[0]
    assert f"{output} is no directory" in faults_of(output / "x.jsonl", False)[0]


def test_an_output_that_has_come_into_being_meanwhile_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("another process's")
    with pytest.raises(ConfigError, match="exists"):
        begin_journal(output, REQUEST)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
