"""Faults: collected, located, with the nearest name; exit code 2 and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from det_files.faults import ConfigError, Fault, Faults, did_you_mean, exit_on_config_error

ROOT = Path(__file__).resolve().parent.parent


def test_all_faults_are_raised_together_and_each_once() -> None:
    faults = Faults()
    faults.add("a.b", "expected int")
    faults.add("a.b", "expected int")
    faults.unknown("a", "lerning_rate", ["learning_rate", "seed"])
    faults.unknown("", "zzz", ["name"])
    faults.extend(ConfigError([Fault("c", "bad")]))
    with pytest.raises(ConfigError) as caught:
        faults.raise_if_any("file.yaml")
    assert str(caught.value).splitlines() == [
        "ConfigError: 4 faults in file.yaml",
        "  a.b: expected int",
        '  a.lerning_rate: unknown key; did you mean "learning_rate"?',
        "  zzz: unknown key",
        "  c: bad",
    ]


def test_nothing_is_raised_where_nothing_was_noted() -> None:
    Faults().raise_if_any("file.yaml")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("no model"), "ConfigError: no model"),
        (ConfigError(Fault("a", "bad")), "ConfigError: a: bad"),
        (ConfigError(Fault("a", "bad"), "f"), "ConfigError: 1 fault in f\n  a: bad"),
    ],
)
def test_first_line_is_what_log_policies_look_for(error: ConfigError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("name", "tail"),
    [("evall_steps", '; did you mean "eval_steps"?'), ("qqqq", ""), (7, "")],
)
def test_only_near_names_are_proposed(name: str, tail: str) -> None:
    assert did_you_mean(name, ["eval_steps", "save_steps"]) == tail


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_what_main_returns(returned: int | None, code: int) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_on_config_error(lambda: returned)
    assert caught.value.code == code


def test_a_config_error_ends_a_process_with_2_and_no_traceback() -> None:
    script = (
        "from det_files.faults import *\n"
        "def main(): raise ConfigError('no model')\n"
        "exit_on_config_error(main)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "ConfigError: no model\n")
