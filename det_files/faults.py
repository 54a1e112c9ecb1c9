"""Faults of a configuration: all at once, each with its place and the nearest valid name."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

EXIT_CONFIGURATION = 2


@dataclass(frozen=True)
class Fault:
    """One mistake: `path` says where (`hyperparameters.data_arguments.sources[1].weight`)."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(Exception):
    """Every fault found in a configuration or in its data; the process ends with exit code 2.

    The first line of its text starts with "ConfigError:", which the log policies of the
    experiments look for, so that a cluster does not retry what cannot succeed.
    """

    def __init__(self, faults: Iterable[Fault] | Fault | str, subject: str = "") -> None:
        if isinstance(faults, str):
            faults = Fault("", faults)
        self.faults: list[Fault] = [faults] if isinstance(faults, Fault) else list(faults)
        self.subject = subject
        super().__init__(self._text())

    def _text(self) -> str:
        if len(self.faults) == 1 and not self.subject:
            return f"ConfigError: {self.faults[0]}"
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        head = f"ConfigError: {count}" + (f" in {self.subject}" if self.subject else "")
        return "\n".join([head, *(f"  {fault}" for fault in self.faults)])


class Faults:
    """Collects faults so that a reader can go on after the first one."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, path: str, message: str) -> None:
        """Notes a fault; the same one twice is noted once."""
        fault = Fault(path, message)
        if fault not in self.found:
            self.found.append(fault)

    def unknown(self, path: str, name: str, valid: Iterable[str]) -> None:
        """Notes an unknown key, with the valid name that is nearest to it."""
        self.add(f"{path}.{name}" if path else name, f"unknown key{did_you_mean(name, valid)}")

    def extend(self, error: ConfigError) -> None:
        for fault in error.faults:
            self.add(fault.path, fault.message)

    def raise_if_any(self, subject: str = "") -> None:
        """Raises one ConfigError that lists everything noted so far, if anything was."""
        if self.found:
            raise ConfigError(self.found, subject)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The tail of a message: `; did you mean "eval_steps"?`, or nothing where no name is near."""
    near = difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def exit_on_config_error(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command's main and ends the process: 2 and no traceback for a ConfigError.

    SystemExit is left alone: a bad flag already ends argparse with 2.
    """
    try:
        code = main()
    except ConfigError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(EXIT_CONFIGURATION)
    sys.exit(code or 0)
