"""What a line means: a message, or a command such as `/save FILE`."""

from __future__ import annotations

from dataclasses import dataclass

from det_files.faults import did_you_mean

MARK = "/"


@dataclass(frozen=True)
class Usage:
    """What stands behind a command's name, and what it does."""

    argument: str  # "" for none, "TEXT" for one that must be there, "[TEXT]" for one that may
    effect: str


COMMANDS = {
    "reset": Usage("", "forget the conversation; the system prompt stays"),
    "system": Usage(
        "[TEXT]", "set the system prompt; none takes it away, without TEXT it is shown"
    ),
    "save": Usage("FILE", "write the conversation to FILE.jsonl, as training reads it"),
    "model": Usage("[base|tuned]", "who answers from now on"),
    "compare": Usage("[TEXT]", "both answer TEXT, or the last message, or else the next one"),
    "help": Usage("", "show this"),
    "quit": Usage("", "end; so does Ctrl-D, or Ctrl-C twice"),
}


@dataclass(frozen=True)
class Command:
    """A command and what stands behind it ("" for nothing)."""

    name: str
    argument: str = ""


class BadCommand(Exception):
    """A line begins like a command and is none; its text says what may be meant."""


def read_line(line: str) -> str | Command:
    """The message, or the command, that a line is; `//` begins a message with a slash.

    Raises:
        BadCommand: there is no such command, or it lacks its argument, or has none.
    """
    if not line.startswith(MARK):
        return line
    if line.startswith(MARK * 2):
        return line[len(MARK) :]
    name, _, argument = line[len(MARK) :].partition(" ")
    argument = argument.strip()
    usage = COMMANDS.get(name)
    if usage is None:
        near = did_you_mean(MARK + name, [MARK + known for known in COMMANDS])
        raise BadCommand(f"unknown command {MARK}{name}{near or '; /help names them all'}")
    if argument and not usage.argument:
        raise BadCommand(f"{MARK}{name} takes nothing behind it, got {argument!r}")
    if not argument and usage.argument and not usage.argument.startswith("["):
        raise BadCommand(f"expected {MARK}{name} {usage.argument}: {usage.effect}")
    return Command(name, argument)


def render_help() -> str:
    """All commands, a line each."""
    return "\n".join(
        f"  {f'{MARK}{name} {usage.argument}':<22}{usage.effect}"
        for name, usage in COMMANDS.items()
    )
