"""ZeRO shards of real two-rank trials become the weights that the Trainer gathered itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from export_checkpoints import write_stage_3
from safetensors.torch import load_file

from conftest import ROOT, rank_environment
from det_files.faults import ConfigError
from det_files.trained.zero_shards import read_zero_shards

MEBIBYTE = 1024 * 1024


def shards_of(checkpoint: Path) -> Path:
    return checkpoint / (checkpoint / "latest").read_text().strip()


@pytest.fixture
def copied(zero_checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(zero_checkpoints["scattered"], tmp_path / "copy"))


@pytest.mark.parametrize("name", ["gathered", "stage_2"])
def test_shards_give_the_gathered_weights(zero_checkpoints: dict[str, Path], name: str) -> None:
    checkpoint = zero_checkpoints[name]
    gathered = load_file(checkpoint / "model.safetensors")
    found = read_zero_shards(checkpoint)
    tied = {"lm_head.weight"} if name == "gathered" else set()
    assert found.keys() - tied == gathered.keys()
    for key, expected in gathered.items():
        assert found[key].shape == tuple(expected.shape)
        assert torch.equal(found[key].read_as(expected.dtype), expected), key


def test_a_tied_weight_is_found_under_both_names(zero_checkpoints: dict[str, Path]) -> None:
    found = read_zero_shards(zero_checkpoints["scattered"])
    embedding = found["model.embed_tokens.weight"].read()
    assert torch.equal(found["lm_head.weight"].read(), embedding)


def test_synthetic_shards_are_laid_out_as_the_real_ones(
    zero_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    state = load_file(zero_checkpoints["gathered"] / "model.safetensors")
    found = read_zero_shards(write_stage_3(state, tmp_path, 3))
    assert all(torch.equal(found[name].read(), tensor) for name, tensor in state.items())


def test_a_missing_rank_is_refused(copied: Path) -> None:
    (shards_of(copied) / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(ConfigError, match="Expected 2"):
        read_zero_shards(copied)


def test_a_torn_shard_is_refused_by_name(copied: Path) -> None:
    torn = shards_of(copied) / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    torn.write_bytes(torn.read_bytes()[:5000])
    with pytest.raises(ConfigError, match=r"rank_1_mp_rank_00_optim_states\.pt: cannot be read"):
        read_zero_shards(copied)


class Rogue:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self.command,)


def test_a_shard_with_code_in_it_is_refused_and_not_run(copied: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    file = shards_of(copied) / "zero_pp_rank_0_mp_rank_00_model_states.pt"
    torch.save({"module": Rogue(f"touch {ran}")}, file)
    with pytest.raises(ConfigError, match=r"names posix\.system"):
        read_zero_shards(copied)
    assert not ran.exists()


def test_shards_of_tensor_parallel_ranks_are_refused(copied: Path) -> None:
    file = shards_of(copied) / "zero_pp_rank_0_mp_rank_00_model_states.pt"
    shutil.copy(file, file.with_name("zero_pp_rank_0_mp_rank_01_model_states.pt"))
    with pytest.raises(ConfigError, match="tensor or pipeline parallel"):
        read_zero_shards(copied)


MEASURE = """
import sys, threading, time
from pathlib import Path
import deepspeed, torch, transformers, huggingface_hub, safetensors, numpy
from deepspeed.utils import zero_to_fp32
from det_files.trained.stored_tensors import write_safetensors
from det_files.trained.zero_shards import read_zero_shards

def anonymous_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

before = peak = anonymous_bytes()
done = False
def watch():
    global peak
    while not done:
        peak = max(peak, anonymous_bytes())
        time.sleep(0.001)
thread = threading.Thread(target=watch)
thread.start()
tensors = read_zero_shards(Path(sys.argv[1]))
if sys.argv[3] == "eager":
    tensors = {n: t.read_as(torch.bfloat16) for n, t in tensors.items()}
else:
    write_safetensors(tensors, Path(sys.argv[2]), torch.bfloat16, "64MB")
done = True
thread.join()
print("GROWN", peak - before)
"""


def grown_bytes(shards: Path, output: Path, how: str) -> int:
    """Growth of a fresh process's anonymous memory (mapped files are the kernel's to drop)."""
    command = [sys.executable, "-c", MEASURE, str(shards), str(output), how]
    done = subprocess.run(
        command, cwd=ROOT, env=rank_environment(), capture_output=True, text=True, check=True
    )
    return int(done.stdout.split("GROWN")[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_is_bounded_by_the_largest_tensor(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    state = {f"layers.{i}.weight": torch.randn(2048, 1024, generator=draw) for i in range(32)}
    state["embedding"] = torch.randn(6144, 1024, generator=draw)
    largest = state["embedding"].nbytes
    total = sum(tensor.nbytes for tensor in state.values())
    assert total > 250 * MEBIBYTE
    write_stage_3(state, tmp_path / "shards", 2)
    (tmp_path / "out").mkdir()
    grown = grown_bytes(tmp_path / "shards", tmp_path / "out", "streaming")
    # The tensor in float32, once more in bfloat16, and what the libraries and the allocator keep.
    assert grown < 2 * largest + 48 * MEBIBYTE
    # The measure is one: the whole model in bfloat16 is seen by it.
    whole = grown_bytes(tmp_path / "shards", tmp_path / "out", "eager")
    assert whole > total / 2
    print(*(f"{size / MEBIBYTE:.0f} MiB" for size in (total, largest, grown, whole)), sep=", ")
    written = {}
    for file in (tmp_path / "out").glob("*.safetensors"):
        written |= load_file(file)
    assert all(torch.equal(written[name], tensor.bfloat16()) for name, tensor in state.items())
