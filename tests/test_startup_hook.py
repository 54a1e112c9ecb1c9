"""startup-hook.sh, sourced by a shell under `set -e` as in a task's container."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

IMAGE = re.search(r'image="(\S+)"', (ROOT / "startup-hook.sh").read_text())[1]  # type: ignore[index]
SOURCED = f'source "{ROOT}/startup-hook.sh"'


def run(
    script: str, first_on_path: Path, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Runs a bash script with `python3` from a directory; None unsets a variable."""
    path = os.pathsep.join([str(first_on_path), os.environ["PATH"]])
    settings = {"PATH": path, "PIP_CONSTRAINT": "/nowhere.txt", "STARTUP_HOOK_PAUSE_S": "0"}
    unset = {"PYTHONUSERBASE": None, "NOTEBOOK_PORT": None, "PIP_BREAK_SYSTEM_PACKAGES": None}
    merged = os.environ | unset | settings | environment
    return subprocess.run(
        ["bash", "-c", script],
        env={name: value for name, value in merged.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=120,
    )


def source(first_on_path: Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Sources the hook, and says so if the shell goes on behind it."""
    return run(
        f'set -eu; {SOURCED}; echo "went on with $-"; false; echo never',
        first_on_path,
        **environment,
    )


def script(directory: Path, text: str) -> Path:
    path = directory / "python3"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return directory


def installing(directory: Path, failures: int, missing: str = "peft==0.0.1") -> Path:
    """A python3 that lacks a package and whose pip fails `failures` times.

    Each call of pip leaves a line in `calls`: two variables, then its arguments.
    """
    return script(
        directory,
        f"calls={directory}/calls\n"
        'if [ "$1" = -m ]; then\n'
        '  echo "${PIP_CONSTRAINT-unset} ${PIP_BREAK_SYSTEM_PACKAGES-unset} $*" >>"$calls"\n'
        f'  [ "$(wc -l <"$calls")" -gt {failures} ]; exit\n'
        "fi\n"
        f'if [ "$1" = - ]; then echo {missing}; exit 0; fi\n'
        'case "$2" in\n'
        '  *ENABLE_USER_SITE*) exit "${NO_USER_SITE:-0}";;\n'
        '  *"import torch"*) echo 2.13.0; exit 0;;\n'
        "esac\n"
        f'exec "{sys.executable}" "$@"',
    )


def calls(directory: Path) -> list[str]:
    return (directory / "calls").read_text().splitlines()


def test_does_nothing_where_everything_is_there() -> None:
    done = source(Path(sys.executable).parent)
    assert done.stderr == ""
    # The shell has `set -e` still, so it ended at `false`.
    assert re.fullmatch(r"went on with \w*e\w*\n", done.stdout)


def test_an_old_python_is_refused_with_the_image_to_use(tmp_path: Path) -> None:
    old = script(tmp_path, 'if [ "$1" = --version ]; then echo Python 3.10.12; else exit 1; fi')
    done = source(old)
    assert done.returncode == 1 and done.stdout == ""
    assert "Python 3.10.12" in done.stderr and IMAGE in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_python_without_torch_is_refused(tmp_path: Path) -> None:
    # -S leaves out site-packages, so this interpreter is one without torch.
    bare = script(tmp_path, f'exec "{sys.executable}" -S -E "$@"')
    done = source(bare)
    assert done.returncode == 1 and done.stdout == ""
    assert "torch" in done.stderr and IMAGE in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("torch", "refused"),
    [("2.5.1+cu124", True), ("1.13.1", True), ("2.6.0", False), ("2.10.0a0+ab.nv25.10", False)],
)
def test_an_old_torch_is_refused(tmp_path: Path, torch: str, refused: bool) -> None:
    says = script(tmp_path, f'case "$2" in *torch*) echo {torch};; esac')
    done = source(says)
    assert ("torch 2.6 or newer" in done.stderr) == refused
    assert ("went on" in done.stdout) != refused


def test_the_images_torch_and_what_is_there_stay(tmp_path: Path) -> None:
    """The file of pins is read by the real interpreter; pip is told which torch to keep."""
    package = tmp_path / "site" / "peft-0.0.1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: peft\nVersion: 0.0.1\n")
    keep = f'for word in "$@"; do [ -f "$word" ] && cp "$word" "{tmp_path}/constraints"; done'
    fake = script(
        tmp_path,
        f'if [ "$1" = -m ]; then echo "$*" >"{tmp_path}/calls"; {keep}; exit 0; fi\n'
        f'exec "{sys.executable}" "$@"',
    )
    done = source(fake, PYTHONPATH=str(package.parent))
    assert "went on" in done.stdout
    pin = re.search(r"^peft==\S+$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pin is not None
    assert done.stderr == f"startup-hook: installing {pin[0]}\n"
    assert calls(tmp_path)[0].split()[-1] == pin[0]
    from importlib.metadata import version

    assert (tmp_path / "constraints").read_text() == f"torch=={version('torch')}\n"
    name = re.search(r"--constraint (\S+)", calls(tmp_path)[0])
    assert name is not None and not Path(name[1]).exists()


def test_an_unreachable_index_is_tried_three_times(tmp_path: Path) -> None:
    done = source(installing(tmp_path, failures=3))
    assert done.returncode == 1 and done.stdout == ""
    assert len(calls(tmp_path)) == 3 and all("--constraint" in call for call in calls(tmp_path))
    assert "could not install peft==0.0.1" in done.stderr


def test_an_index_that_comes_back_is_enough(tmp_path: Path) -> None:
    done = source(installing(tmp_path, failures=2))
    assert "went on" in done.stdout
    assert len(calls(tmp_path)) == 3
    assert "attempt 2 of 3" in done.stderr and "attempt 3" not in done.stderr


def test_pauses_grow_and_none_follows_the_last_attempt(tmp_path: Path) -> None:
    sleep = tmp_path / "sleep"
    sleep.write_text(f'#!/bin/sh\necho "$1" >>"{tmp_path}/pauses"\n')
    sleep.chmod(0o755)
    source(installing(tmp_path, failures=3), STARTUP_HOOK_PAUSE_S=None)
    assert (tmp_path / "pauses").read_text().split() == ["10", "20"]


def test_constraints_of_the_image_hold_for_all_but_the_hook(tmp_path: Path) -> None:
    done = run(
        f'{SOURCED}; echo "constraint $PIP_CONSTRAINT"',
        installing(tmp_path, 0),
        PIP_CONSTRAINT="/n",
    )
    assert done.stdout == "constraint /n\n"
    assert calls(tmp_path)[0].startswith("unset ")


def test_in_a_task_packages_go_to_the_tasks_own_directory(tmp_path: Path) -> None:
    """PEP 668: pip is overruled there, and only there."""
    source(installing(tmp_path, 0), PYTHONUSERBASE="/run/determined/pythonuserbase")
    assert " --user " in calls(tmp_path)[0] and calls(tmp_path)[0].split()[1] == "1"


@pytest.mark.parametrize("base", [None, "/run/determined/pythonuserbase"])
def test_elsewhere_pip_decides(tmp_path: Path, base: str | None) -> None:
    """Outside a task, or in a virtual environment, where pip refuses --user."""
    source(installing(tmp_path, 0), PYTHONUSERBASE=base, NO_USER_SITE="1")
    assert "--user" not in calls(tmp_path)[0] and calls(tmp_path)[0].split()[1] == "unset"


def test_a_notebook_gets_jupyterlab(tmp_path: Path) -> None:
    files = f'if [ "$1" = - ]; then shift; echo "$*" >"{tmp_path}/pins"; exit 0; fi'
    fake = script(tmp_path, f'{files}\nexec "{sys.executable}" "$@"')
    for port, names in ((None, ["."]), ("2900", [".", "notebooks"])):
        assert "went on" in source(fake, NOTEBOOK_PORT=port).stdout
        read = (tmp_path / "pins").read_text().split()
        assert [Path(path) for path in read] == [ROOT / name / "requirements.txt" for name in names]
    assert re.search(
        r"^jupyterlab==\S+$", (ROOT / "notebooks/requirements.txt").read_text(), re.MULTILINE
    )


def test_leaves_nothing_to_the_shell_that_sources_it(tmp_path: Path) -> None:
    state = "{ compgen -v; compgen -A function; export -p; set +o; shopt -p; trap; pwd; umask; }"
    quiet = f'{state} | grep -v -e BASH_LINENO -e PIPESTATUS -e "^_$" -e "_=" || true'
    done = run(
        f'a="$({quiet})"; {SOURCED}; b="$({quiet})"; diff <(echo "$a") <(echo "$b" | grep -vx a)',
        installing(tmp_path, 1),
        PYTHONUSERBASE="/somewhere",
    )
    assert done.stdout == "" and done.returncode == 0


@pytest.mark.parametrize("name", ["Dockerfile", "README.md", "notebooks/notebook.yaml"])
def test_the_same_image_is_named_everywhere(name: str) -> None:
    assert IMAGE in (ROOT / name).read_text()
