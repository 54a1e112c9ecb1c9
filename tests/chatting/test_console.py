"""Chats of the real command, in a terminal and by a script."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chatting.models_to_chat_with import (
    make_checkpoint,
    make_lora,
    never_end,
    without_chat_template,
)
from chatting.typing_session import CTRL_C, CTRL_D, Session
from conftest import ROOT, rank_environment

ENDLESS = ("--max-new-tokens", "60000")
SHORT = ("--max-new-tokens", "12")
YOU = "you> "


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model whose answers end where they must, which may be very late."""
    made = make_checkpoint(tmp_path_factory.mktemp("long"), max_position_embeddings=2**16)
    never_end(made)
    return made


def script(checkpoint: Path, *lines: str, flags: tuple[str, ...] = SHORT) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a chat whose messages come from a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "det_files.chat", str(checkpoint), *flags],
        cwd=ROOT,
        env=rank_environment(),
        input="".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"),
        capture_output=True,
        timeout=120,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def saved(file: Path) -> list[dict[str, str]]:
    (row,) = map(json.loads, file.read_text().splitlines())
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
        chat.type(CTRL_C)
        chat.wait_for(r"Ctrl-C again, or Ctrl-D, ends")
        chat.wait_for(YOU)
        chat.line("/help")  # whoever goes on has not meant to end
        chat.wait_for("/quit")
        chat.wait_for(YOU)
        chat.type(CTRL_C)
        chat.wait_for(r"Ctrl-C again")
        chat.wait_for(YOU)
        chat.type(CTRL_C)
        assert chat.end() == 0


def test_both_models_answer_in_two_columns(tmp_path: Path) -> None:
    checkpoint = make_lora(tmp_path)
    _, alone, _ = script(checkpoint, "/model base", "the cat", "/model tuned", "/reset", "the cat")
    with Session(["det_files.chat", str(checkpoint), *SHORT], columns=100) as chat:
        chat.wait_for(YOU)
        chat.line("/compare")
        chat.wait_for("both will answer the next message")
        chat.line("the cat")
        # The last thing that is drawn, when both are complete.
        table = chat.wait_for(r"fine-tuned(?s:.*)" + YOU).split("\x1b[K")[-1]
        assert re.search(r"base {44,46} \| fine-tuned\n", table)
        left, right = ("".join(c).split() for c in zip(*_cells(table), strict=True))
        shown = [re.sub(r"[\x00-\x1f\x7f-\x9f]", "", answer) for answer in alone.splitlines()]
        assert "".join(left) == "base" + "".join(shown[0].split())
        assert "".join(right) == "fine-tuned" + "".join(shown[1].split())
        chat.line("/quit")
        assert chat.end() == 0


def _cells(table: str) -> list[tuple[str, str]]:
    rows = [line.partition(" | ") for line in table.splitlines() if " | " in line]
    return [(left, right) for left, _, right in rows]


def test_colours_are_for_terminals_that_want_them(checkpoint: Path) -> None:
    for environment, wanted in (({}, True), ({"NO_COLOR": "1"}, False)):
        with Session(["det_files.chat", str(checkpoint), *SHORT], **environment) as chat:
            chat.wait_for(YOU)
            chat.line("the cat")
            shown = chat.wait_for(f"fine-tuned>(?s:.*){YOU}")
            assert ("\x1b[1mfine-tuned>\x1b[0m" in shown) == wanted
    code, out, err = script(checkpoint, "the cat")
    assert code == 0 and "\x1b" not in out + err and len(out) > 1


def test_a_script_has_answers_alone_on_stdout(checkpoint: Path, tmp_path: Path) -> None:
    code, out, err = script(
        checkpoint, "the cat", "", "/model base", "the cat", f"/save {tmp_path}/c.jsonl"
    )
    assert code == 0
    said = [turn["content"] for turn in saved(tmp_path / "c.jsonl")]
    assert said[0] == said[2] == "the cat" and said[1] != said[3]
    assert out == f"{said[1]}\n{said[3]}\n"
    assert f"{checkpoint} (full)" in err and "(the base model answers)" in err


def test_answers_depend_on_what_was_said_before(checkpoint: Path) -> None:
    _, first, _ = script(checkpoint, "the cat", "the dog")
    _, again, _ = script(checkpoint, "the cat", "the dog")
    _, fresh, _ = script(checkpoint, "the cat", "/reset", "the dog")
    _, other, _ = script(checkpoint, "the cat", "/reset", "/system x", "the dog")
    assert first == again
    assert len({first, fresh, other}) == 3


def test_lines_that_get_no_answer_are_named_and_counted_in_the_exit_code(checkpoint: Path) -> None:
    code, out, err = script(checkpoint, "/modle base", "/model bsae", "caf\udce9", "the cat")
    assert code == 1 and out.strip()
    assert 'line 1: unknown command /modle; did you mean "/model"?' in err
    assert "line 2: there is no model 'bsae'; did you mean \"base\"?" in err
    assert "line 3: is not UTF-8 text" in err


def test_the_oldest_turns_leave_a_full_context(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path, max_position_embeddings=128)
    words = "the red cat sees one old house and two trees"
    code, _, err = script(
        checkpoint, *[words] * 6, f"/save {tmp_path}/c.jsonl", words * 20, flags=SHORT
    )
    assert code == 1  # the last line is longer than all of the context
    assert re.search(r"\(the oldest \d+ messages do not fit into the model's context\)", err)
    assert re.search(r"line 8: the message has \d+ tokens, and there is room for 116", err)
    assert len(saved(tmp_path / "c.jsonl")) == 12  # they are left out, and not forgotten


def test_models_of_single_prompts_say_so_and_read_no_history(tmp_path: Path) -> None:
    form = {"input_format": "Question: __input__\nAnswer:"}
    checkpoint = make_checkpoint(tmp_path, data=form)
    without_chat_template(checkpoint)
    without_chat_template(tmp_path / "base")
    code, out, err = script(checkpoint, "the cat", "the dog", "the cat", "/system x")
    assert err.count("without a chat template") == 1
    assert code == 1 and "reads no system prompt" in err
    first, second, third = out.splitlines()
    assert first == third != second
    code, _, err = script(checkpoint, "the cat", flags=(*SHORT, "--system", "x"))
    assert code == 2 and "--system: the model was trained on single prompts" in err
