"""Chats of the real command, in a terminal and by a script."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from chatting.models_to_chat_with import (
    make_adapter,
    make_checkpoint,
    never_end,
    without_chat_template,
)
from chatting.typing_session import CTRL_C, CTRL_D, Session
from conftest import ROOT, rank_environment
from det_files.chat import main
from det_files.chatting.columns import printable
from det_files.faults import ConfigError

ENDLESS = ("--max-new-tokens", "60000")
SHORT = ("--max-new-tokens", "12")
YOU = "you> "


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model whose answers end where they must, which may be very late."""
    made = make_checkpoint(tmp_path_factory.mktemp("long"), max_position_embeddings=2**16)
    never_end(made)
    return made


Script = Callable[..., tuple[int, str, str]]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs a chat whose lines are read from no terminal: (exit code, stdout, stderr)."""

    def run(checkpoint: Path, *lines: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", StringIO("".join(f"{line}\n" for line in lines)))
        capsys.readouterr()
        code = main([str(checkpoint), *SHORT])
        return code, *capsys.readouterr()

    return run


def rows_of(file: Path) -> list[dict[str, Any]]:
    return list(map(json.loads, file.read_text().splitlines()))


def saved(file: Path) -> list[dict[str, str]]:
    (row,) = rows_of(file)
    return list(row["messages"])


def test_ctrl_c_stops_an_answer_and_not_the_program(checkpoint: Path, tmp_path: Path) -> None:
    with Session(["det_files.chat", str(checkpoint), *ENDLESS, "--system", "be kind"]) as chat:
        chat.wait_for(YOU)
        chat.line("the cat")
        chat.wait_for("fine-tuned>(?s:.{60})")  # it streams: the answer's end is far away
        chat.type(CTRL_C)
        chat.wait_for(r"\(stopped\)[^\n]*\n" + YOU)
        chat.line(f"/save {tmp_path}/chat.jsonl")
        chat.wait_for(r"saved to .*; 1 of its answers stopped early")
        chat.wait_for(YOU)
        system, question, answer = saved(tmp_path / "chat.jsonl")
        assert system == {"role": "system", "content": "be kind"}
        assert question == {"role": "user", "content": "the cat"}
        assert answer["stopped"] and len(answer["content"]) >= 30
        chat.line(f"/save {tmp_path}/chat.jsonl")
        chat.wait_for("exists: say /save --append FILE")
        chat.line("/reset")
        chat.wait_for(r"\(the conversation is empty\)")
        chat.line("/rest")
        chat.wait_for('unknown command /rest; did you mean "/reset"')
        chat.wait_for(YOU)
        chat.type(CTRL_D)
        assert chat.end() == 0


def test_ctrl_c_at_the_prompt_ends_when_it_comes_twice(checkpoint: Path) -> None:
    with Session(["det_files.chat", str(checkpoint), *SHORT]) as chat:
        chat.wait_for(YOU)
        chat.wait_until_it_reads()
        chat.type(CTRL_C)
        chat.wait_for(r"Ctrl-C again, or Ctrl-D, ends")
        chat.wait_for(YOU)
        chat.line("/help")  # whoever goes on has not meant to end
        chat.wait_for("/quit")
        chat.wait_for(YOU)
        chat.wait_until_it_reads()
        chat.type(CTRL_C)
        chat.wait_for(r"Ctrl-C again")
        chat.wait_for(YOU)
        chat.wait_until_it_reads()
        chat.type(CTRL_C)
        assert chat.end() == 0


def test_both_models_answer_in_two_columns(script: Script, tmp_path: Path) -> None:
    checkpoint = make_adapter(tmp_path)
    file = tmp_path / "c.jsonl"
    save = ("/save " + str(file), "/reset")
    again = ("/model base", "the cat", f"/save --append {file}")
    assert script(checkpoint, "the cat", *save, *again)[0] == 0
    tuned, base = (row["messages"][1]["content"] for row in rows_of(file))
    with Session(["det_files.chat", str(checkpoint), *SHORT], columns=100) as chat:
        chat.wait_for(YOU)
        chat.line("/compare")
        chat.wait_for("both will answer the next message")
        chat.line("the cat")
        # The last thing that is drawn, when both are complete.
        table = chat.wait_for(r"fine-tuned(?s:.*)" + YOU)
        table = re.split(r"\x1b\[[JK]", table)[-1]
        assert re.search(r"base {44,46} \| fine-tuned\n", table)
        left, right = ("".join(c).split() for c in zip(*_cells(table), strict=True))
        assert "".join(left) == "base" + "".join(printable(base).split())
        assert "".join(right) == "fine-tuned" + "".join(printable(tuned).split())
        chat.line("/quit")
        assert chat.end() == 0


def _cells(table: str) -> list[tuple[str, str]]:
    rows = [line.partition(" | ") for line in table.splitlines() if " | " in line]
    return [(left, right) for left, _, right in rows]


def test_a_terminal_without_colours(checkpoint: Path) -> None:
    with Session(["det_files.chat", str(checkpoint), *SHORT], NO_COLOR="1") as chat:
        chat.wait_for(YOU)
        chat.line("the cat")
        chat.wait_for(f"fine-tuned>(?s:.*){YOU}")
        chat.line("/quit")
        assert chat.end() == 0
    assert "\x1b[1m" not in chat.text and "\x1b[2m" not in chat.text


def test_a_pipe_has_answers_alone_on_stdout(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    lines = b"the cat\n\n/model base\nthe cat\n/modle base\ncaf\xe9\n/save " + bytes(file)
    done = subprocess.run(
        [sys.executable, "-m", "det_files.chat", str(checkpoint), *SHORT],
        cwd=ROOT,
        env=rank_environment(PYTHONIOENCODING="utf-8:strict"),
        input=lines,
        capture_output=True,
        timeout=120,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    said = [turn["content"] for turn in saved(file)]
    assert said[0] == said[2] == "the cat" and said[1] != said[3]
    assert out == f"{said[1]}\n{said[3]}\n"
    assert f"{checkpoint} (full)" in err and "(the base model answers)" in err
    assert 'line 5: unknown command /modle; did you mean "/model"?' in err
    assert "line 6: is not UTF-8 text" in err and "\x1b" not in err
    assert done.returncode == 1  # for these two


def test_ctrl_c_ends_a_script_behind_what_was_shown(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "det_files.chat", str(checkpoint), *ENDLESS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=rank_environment(), **pipes) as chat:
        assert chat.stdin and chat.stdout and chat.stderr
        chat.stdin.write(b"the cat\nthe dog\n")
        chat.stdin.flush()
        begun = chat.stdout.read(40)
        chat.send_signal(signal.SIGINT)
        rest = chat.stdout.read()
        assert b"(stopped)" in chat.stderr.read()
    assert len(begun) == 40 and rest.endswith(b"\n")
    assert chat.returncode == 130


def test_answers_depend_on_what_was_said_before(script: Script, checkpoint: Path) -> None:
    _, first, _ = script(checkpoint, "the cat", "the dog")
    code, again, _ = script(checkpoint, "the cat", "the dog")
    assert code == 0 and first == again
    _, fresh, _ = script(checkpoint, "the cat", "/reset", "the dog")
    _, other, _ = script(checkpoint, "the cat", "/reset", "/system x", "the dog")
    assert len({first, fresh, other}) == 3


def test_a_comparison_asks_again_and_leaves_the_conversation(
    script: Script, checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "c.jsonl"
    code, out, _ = script(checkpoint, "the cat", "/compare", "/compare the dog", f"/save {file}")
    _, cat, _, dog = (turn["content"] for turn in saved(file))
    assert code == 0 and out.startswith(f"{cat}\nbase: ")
    assert f"\nfine-tuned: {cat}\nbase: " in out and out.endswith(f"\nfine-tuned: {dog}\n")


def test_there_are_two_models(script: Script, checkpoint: Path) -> None:
    code, _, err = script(checkpoint, "/model bsae", "/model")
    assert code == 1
    assert "line 1: there is no model 'bsae'; did you mean \"base\"?" in err
    assert "(the fine-tuned model answers)" in err


def test_the_oldest_turns_leave_a_full_context(script: Script, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path, max_position_embeddings=128)
    words = "the red cat sees one old house and two trees"
    save = f"/save {tmp_path}/c.jsonl"
    code, _, err = script(checkpoint, *[words] * 6, save, " ".join([words] * 20))
    assert code == 1  # the last line is longer than all of the context
    assert re.search(r"\(the oldest \d+ messages do not fit into the model's context\)", err)
    assert re.search(r"line 8: the message has \d+ tokens, and there is room for 116", err)
    assert len(saved(tmp_path / "c.jsonl")) == 12  # they are left out, and not forgotten


def test_models_of_single_prompts_say_so_and_read_no_history(
    script: Script, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(tmp_path, data={"input_format": "Q: __input__\nA:"})
    without_chat_template(checkpoint)
    without_chat_template(tmp_path / "base")
    file = tmp_path / "c.jsonl"
    code, _, err = script(checkpoint, "the cat", "the dog", "the cat", f"/save {file}", "/system x")
    assert err.count("without a chat template") == 1
    assert code == 1 and "line 5: this model was trained on single prompts" in err
    first, second, third = rows_of(file)
    assert first == third and first["input"] == "the cat"
    assert first["output"] != second["output"]
    with pytest.raises(ConfigError, match="--system: the model was trained on single prompts"):
        main([str(checkpoint), *SHORT, "--system", "x"])
