"""Lines as messages and commands."""

import re

import pytest

from det_files.chatting.commands import COMMANDS, BadCommand, Command, read_line, render_help


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("hello /reset", "hello /reset"),
        ("//etc is a directory", "/etc is a directory"),
        ("/reset", Command("reset")),
        ("/system  be kind ", Command("system", "be kind")),
        ("/system", Command("system")),
        ("/save --append my file.jsonl", Command("save", "--append my file.jsonl")),
        ("/compare", Command("compare")),
        ("/compare which?", Command("compare", "which?")),
    ],
)
def test_what_a_line_means(line: str, meant: str | Command) -> None:
    assert read_line(line) == meant


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/resett", 'unknown command /resett; did you mean "/reset"?'),
        ("/xyzzy", "unknown command /xyzzy; /help names them all"),
        ("/save", "expected /save FILE: write the conversation"),
        ("/reset now", "/reset takes nothing behind it, got 'now'"),
    ],
)
def test_what_is_wrong_with_a_command(line: str, why: str) -> None:
    with pytest.raises(BadCommand, match=re.escape(why)):
        read_line(line)


def test_help_names_each_command_on_a_line_of_its_own() -> None:
    assert [line.split()[0] for line in render_help().splitlines()] == [f"/{n}" for n in COMMANDS]
