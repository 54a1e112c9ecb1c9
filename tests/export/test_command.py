"""`python -m det_files.export`: every fault at once, exit codes, and nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from export_checkpoints import Adapters, contents, export

from conftest import ROOT, rank_environment
from det_files.export.__main__ import main
from det_files.faults import ConfigError


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "det_files.export", *words]
    return subprocess.run(command, cwd=ROOT, env=rank_environment(), capture_output=True, text=True)


def test_a_fault_ends_with_2_and_one_sentence(tmp_path: Path) -> None:
    done = run(str(tmp_path / "absent"), "--to", "hf", "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr == f"ConfigError: {tmp_path}/absent: no such directory\n"


def test_all_faults_come_at_once_and_the_output_is_left_alone(
    adapters: Adapters, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    words = [str(adapters("lora")), "--to", "hf", "--output", str(tmp_path)]
    with pytest.raises(ConfigError) as caught:
        main([*words, "--max-shard-size", "5 apples", "--push", "a/b/c"])
    paths = [fault.path for fault in caught.value.faults]
    assert paths == ["--to", "--output", "--max-shard-size", "--push", "--push"]
    assert contents(tmp_path) == {"mine.txt": b"precious"}


def test_a_dtype_for_an_adapter_is_refused(adapters: Adapters, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--dtype: an adapter is copied"):
        export(adapters("lora"), "adapter", tmp_path / "out", "--dtype", "float16")


def test_an_output_in_the_checkpoint_is_refused(adapters: Adapters) -> None:
    with pytest.raises(ConfigError, match="lies in the checkpoint"):
        export(adapters("lora"), "adapter", adapters("lora") / "out")


def test_a_size_that_has_no_effect_is_refused(adapters: Adapters, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--max-shard-size: has no effect with --to adapter"):
        export(adapters("lora"), "adapter", tmp_path / "out", "--max-shard-size", "1GB")


def test_what_cannot_be_renamed_onto_is_refused_before_the_work(
    adapters: Adapters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"--output: \. is the current directory"):
        export(adapters("lora"), "adapter", Path())
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    empty = (Path(m) for m in mounts if Path(m).is_dir() and not any(Path(m).iterdir()))
    mounted = next(empty, None)
    if mounted is None:
        pytest.skip("nothing empty is mounted here")
    with pytest.raises(ConfigError, match="is a mount point: name a directory in it"):
        export(adapters("lora"), "adapter", mounted)


def test_an_empty_directory_is_filled(adapters: Adapters, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    output = export(adapters("lora"), "adapter", tmp_path / "out")
    assert "adapter_model.safetensors" in contents(output)
    assert output.stat().st_mode & 0o777 == 0o755


def test_the_last_line_is_the_output(
    adapters: Adapters, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = export(adapters("lora"), "adapter", tmp_path / "out", "--check")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(output)
    assert lines[-2].startswith("check: greatest difference of logits 0 ")
