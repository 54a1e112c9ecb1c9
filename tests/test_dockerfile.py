"""Dockerfile: its instructions, its shell commands, and what it shares with the other files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import ROOT

INSTRUCTIONS = {"FROM", "ENV", "RUN", "COPY"}


def instructions() -> list[tuple[str, str]]:
    """(instruction, its text) in order, with continued lines joined and comments left out."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(head, rest) for head, _, rest in (line.partition(" ") for line in joined.split("\n"))]


def texts(instruction: str) -> list[str]:
    return [text for name, text in instructions() if name == instruction]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def test_has_instructions_that_docker_knows_only() -> None:
    assert instructions()[0][0] == "FROM"
    assert {name for name, _ in instructions()} <= INSTRUCTIONS
    for text in texts("ENV"):
        assert all(re.fullmatch(r"[A-Z_]+=\S+", word) for word in text.split())


@pytest.mark.parametrize("command", texts("RUN"))
def test_shell_commands_are_valid(command: str) -> None:
    # Docker runs them with sh, which is dash in this image: no more than POSIX.
    for shell in (["bash", "--posix"], ["sh"]):
        done = subprocess.run([*shell, "-n", "-c", command], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    # A failure in the middle must fail the build.
    assert ";" not in re.sub(r"'[^']*'", "", command) and "||" not in command


def test_builds_on_the_experiments_image() -> None:
    images = {
        yaml.safe_load(path.read_text())["environment"]["image"]
        for path in [*(ROOT / "experiments").glob("*.yaml"), ROOT / "notebooks/notebook.yaml"]
    }
    assert texts("FROM") == sorted(images)


def test_copies_files_that_are_there_and_sent() -> None:
    for text in texts("COPY"):
        *sources, _ = text.split()
        assert all((ROOT / source).is_file() for source in sources)
    assert not (ROOT / ".dockerignore").exists()


def test_bakes_in_all_pins_but_torch(tmp_path: Path) -> None:
    """The line that chooses what pip installs is run on the real files."""
    command = next(text for text in texts("RUN") if "wanted.txt" in text)
    choose = re.search(r"grep -hv .*? > wanted.txt", command)
    assert choose is not None
    for source, target in (text.split() for text in texts("COPY")):
        (tmp_path / Path(target).name).write_text((ROOT / source).read_text())
    subprocess.run(["sh", "-c", choose[0]], cwd=tmp_path, check=True)
    lines = (tmp_path / "wanted.txt").read_text().splitlines()
    wanted = dict(line.split("==") for line in lines)
    everything = pins("requirements.txt") | pins("notebooks/requirements.txt")
    del everything["torch"]
    assert wanted == everything
    assert "jupyterlab" in wanted


def test_nothing_is_pinned_twice_with_two_versions() -> None:
    versions = [pins(name) for name in ("requirements-local.txt", "notebooks/requirements.txt")]
    both = versions[0].keys() & versions[1].keys()
    assert all(versions[0][name] == versions[1][name] for name in both)
    commands = " ".join(texts("RUN"))
    assert f"determined=={versions[0]['determined']} " in commands
    # The master brings its own.
    assert "uninstall --yes determined" in commands


def test_has_what_determined_and_deepspeed_start() -> None:
    commands = " ".join(texts("RUN"))
    for package in ("openssh-server", "openssh-client", "pdsh", "git", "libaio-dev", "g++"):
        assert f" {package} " in commands
    assert "mkdir -p /run/sshd" in commands
    assert "PIP_BREAK_SYSTEM_PACKAGES=1" in texts("ENV")
