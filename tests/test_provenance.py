"""Versions and commit of what made a checkpoint."""

from __future__ import annotations

import subprocess
from importlib.metadata import version

import pytest

from conftest import ROOT
from det_files.provenance import COMMIT_VARIABLE, git_commit, versions


@pytest.fixture(autouse=True)
def uncached() -> None:
    git_commit.cache_clear()


def test_versions_are_the_installed_ones() -> None:
    found = versions()
    assert found["torch"] == version("torch")
    expected = "torch transformers deepspeed accelerate peft bitsandbytes determined"
    assert set(found) == set(expected.split())


def test_the_variable_says_the_commit_where_there_is_no_git(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "0123abc")
    assert git_commit() == "0123abc"


def test_a_checkout_knows_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)
    if not (ROOT / ".git").exists():
        assert git_commit() is None
        return
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    expected = subprocess.run(command, capture_output=True, text=True)
    if expected.returncode != 0:
        pytest.skip("git does not read this checkout")
    assert git_commit() == expected.stdout.strip()


def test_without_git_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None
