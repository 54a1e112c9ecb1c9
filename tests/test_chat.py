"""The command line: all faults at once, before a model is loaded."""

import socket
from pathlib import Path

import pytest

from det_files.chat import main
from det_files.faults import ConfigError


def test_all_faults_of_the_command_line_are_named_at_once(tmp_path: Path) -> None:
    flags = ["--max-new-tokens", "0", "--top-p", "0.5", "--num-beams", "2", "--port", "80000"]
    with pytest.raises(ConfigError) as caught:
        main([str(tmp_path), *flags, "--host", "0.0.0.0"])
    assert [fault.path for fault in caught.value.faults] == [
        "--max-new-tokens",
        "--top-p",
        "--num-beams",
        "--port",
        "--host",
        "--port",
    ]


def test_a_page_needs_its_package_and_its_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            main([str(tmp_path), "--web", "--port", str(port), "--model", "base"])
    found = [str(fault) for fault in caught.value.faults]
    assert any(
        f"127.0.0.1:{port} cannot be had: Address already in use; --port 0" in f for f in found
    )
    assert any(f.startswith("--model: has no effect with --web") for f in found)


def test_gradio_is_asked_for_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    with pytest.raises(ConfigError, match=r"--web: .*: pip install gradio=="):
        main([str(tmp_path), "--web", "--port", "0"])


def test_what_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no checkpoint"):
        main([str(tmp_path)])


def test_a_system_prompt_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--system: is not UTF-8 text"):
        main([str(tmp_path), "--system", "caf\udce9"])  # as the shell's byte E9 comes in


def test_a_checkpoint_may_be_named_by_its_uuid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DET_FILES_CHECKPOINTS", str(tmp_path))
    uuid = "0b6c3f6e-7a6e-4a55-9d4b-2f8f3f0c2a11"
    (tmp_path / uuid).mkdir()  # downloaded before
    with pytest.raises(ConfigError, match=f"{tmp_path}/{uuid}: is no checkpoint"):
        main([uuid])
    with pytest.raises(ConfigError, match="no UUID of a checkpoint"):
        main([str(tmp_path / "nowhere")])
