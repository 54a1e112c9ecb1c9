"""startup-hook.sh, sourced by a shell under `set -e` as in a trial's container."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

IMAGE = re.search(r'image="(\S+)"', (ROOT / "startup-hook.sh").read_text())[1]  # type: ignore[index]


def source(first_on_path: Path) -> subprocess.CompletedProcess[str]:
    """Sources the hook with `python3` from a directory; says so if the shell goes on behind it."""
    script = f'set -e; source "{ROOT}/startup-hook.sh"; echo "went on with $-"; false; echo never'
    path = os.pathsep.join([str(first_on_path), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": path, "PIP_CONSTRAINT": "/nowhere.txt"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def script(directory: Path, text: str) -> Path:
    path = directory / "python3"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return directory


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


def test_an_unreachable_index_is_tried_three_times(tmp_path: Path) -> None:
    real = sys.executable
    failing = script(
        tmp_path,
        # One pinned package is missing; pip never reaches its index; sleep is not waited for.
        f'if [ "$1" = -m ]; then echo "$@" >>"{tmp_path}/calls"; exit 1; fi\n'
        f'if [ "$1" = - ]; then echo peft==0.0.1; exit 0; fi\nexec "{real}" "$@"',
    )
    sleep = tmp_path / "sleep"
    sleep.write_text("#!/bin/sh\n")
    sleep.chmod(0o755)
    done = source(failing)
    assert done.returncode == 1
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 3 and all("--constraint" in call for call in calls)
    assert "could not install: peft==0.0.1" in done.stderr


@pytest.mark.parametrize("name", ["Dockerfile", "README.md"])
def test_the_same_image_is_named_everywhere(name: str) -> None:
    assert IMAGE in (ROOT / name).read_text()
