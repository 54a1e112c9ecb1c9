"""`python -m det_files.generate`: rows in, the same rows out with answers, whatever happens."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from export_checkpoints import Adapters, seq2seq_adapters

from conftest import launch, start
from det_files.experiment import parse_yaml, to_yaml
from det_files.faults import ConfigError
from det_files.generate import main
from det_files.generation.decoding import generate_answers
from det_files.generation.job import prepare
from det_files.generation.options import parse
from det_files.generation.ranks import Ranks
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import load_trained
from tiny import make_model

SAMPLED = ("--temperature", "1.2", "--max-new-tokens", "120", "--batch-size", "2")
ROWS = [{"input": " ".join(["a red cat"] * (1 + n % 7)) + f" {n}", "id": n} for n in range(16)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of rows of unlike lengths."""
    return write(tmp_path / "in.jsonl", ROWS)


@pytest.fixture(scope="module")
def sampled(adapters: Adapters, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What comes of the rows, at random, when nothing stops it."""
    directory = tmp_path_factory.mktemp("sampled")
    write(directory / "in.jsonl", ROWS)
    generate(adapters("lora"), directory / "in.jsonl", *SAMPLED, directory / "out.jsonl")
    return (directory / "out.jsonl").read_bytes()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def generate(checkpoint: Path, *more: str | Path) -> list[dict[str, Any]]:
    """Runs the command in this process; returns the lines of the output, the last argument."""
    arguments = [str(checkpoint), *map(str, more[:-1]), "--output", str(more[-1])]
    assert main(arguments) == 0
    return read(Path(more[-1]))


def test_rows_come_back_in_their_order_with_answers(
    adapters: Adapters, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    found = generate(adapters("lora"), rows, "--max-new-tokens", "9", "--batch-size", "4", out)
    assert [(line["row"], line["id"]) for line in found] == [(n + 1, n) for n in range(16)]
    trained = load_trained(open_checkpoint(adapters("lora")))
    prompts = [trained.prompts().tokens({"input": row["input"]}) for row in ROWS]
    wanted = generate_answers(trained.model, trained.tokenizer, prompts, max_new_tokens=9)
    assert [line["answer"] for line in found] == wanted
    assert {line["finish_reason"] for line in found} <= {"stop", "length"}
    assert all(0 < line["num_generated_tokens"] <= 9 for line in found)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(out)
    assert "16 rows" in printed.err
    assert not (tmp_path / "out.jsonl.partial").exists()


def test_base_and_tuned_answer_differently(adapters: Adapters, rows: Path, tmp_path: Path) -> None:
    few = ("--limit", "3", "--max-new-tokens", "5")
    base = generate(adapters("lora"), rows, *few, "--model", "base", tmp_path / "base.jsonl")
    tuned = generate(adapters("lora"), rows, *few, tmp_path / "tuned.jsonl")
    assert [line["answer"] for line in base] != [line["answer"] for line in tuned]


@pytest.mark.parametrize("method", ["prompt", "prefix", "full"])
def test_other_methods_and_the_runs_own_test_split(
    adapters: Adapters, tmp_path: Path, method: str
) -> None:
    more = ("--split", "test", "--max-new-tokens", "5", "--num-beams", "2")
    found = generate(adapters(method), *more, tmp_path / "out.jsonl")
    assert len(found) == 5
    assert all(line["output"] and line["input"] for line in found)  # the right one, untouched


def test_zero_shards(zero_checkpoints: dict[str, Path], rows: Path, tmp_path: Path) -> None:
    few = (rows, "--limit", "2", "--max-new-tokens", "5")
    whole = generate(zero_checkpoints["gathered"], *few, tmp_path / "whole.jsonl")
    assert whole == generate(zero_checkpoints["scattered"], *few, tmp_path / "shards.jsonl")


def test_encoder_decoders(tiny_data: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "t5")
    checkpoint = seq2seq_adapters(tmp_path / "runs", model, tiny_data)("full")
    more = ("--split", "test", "--max-new-tokens", "5", "--num-beams", "2")
    found = generate(checkpoint, *more, "--num-return-sequences", "2", tmp_path / "out.jsonl")
    assert [(line["row"], line["sequence"]) for line in found[:3]] == [(1, 0), (1, 1), (2, 0)]
    assert len(found) == 10


def test_prompts_beyond_the_context(adapters: Adapters, tmp_path: Path) -> None:
    long = write(tmp_path / "in.jsonl", [{"input": "cat"}, {"input": "red cat " * 300}])
    out, more = tmp_path / "out.jsonl", ["--max-new-tokens", "6"]
    with pytest.raises(ConfigError, match=r"in.jsonl, line 2: its prompt has \d+ tokens"):
        main([str(adapters("lora")), str(long), "--output", str(out), *more])
    assert not out.with_name("out.jsonl.partial").exists()
    first, second = generate(adapters("lora"), long, *more, "--too-long", "cut", out)
    assert first["prompt_cut"] == 0 < second["prompt_cut"]
    assert second["num_generated_tokens"] == 6 or second["finish_reason"] == "stop"


def test_all_faults_at_once_and_nothing_is_written(adapters: Adapters, tmp_path: Path) -> None:
    bad = write(tmp_path / "in.jsonl", [{"input": 3}])
    out = tmp_path / "out.jsonl"
    out.write_text("kept")
    flags = ["--top-k", "3", "--batch-size", "0", "--engine", "vllm"]
    with pytest.raises(ConfigError) as raised:
        main([str(adapters("prompt")), str(bad), "--output", str(out), *flags])
    places = [fault.path for fault in raised.value.faults]
    assert places[:2] == ["--batch-size", "--top-k"]
    assert {"--output", "INPUT", "--engine"} <= set(places)
    assert out.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_an_adapter_on_another_architecture(adapters: Adapters, rows: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(adapters("lora"), tmp_path / "checkpoint"))
    (checkpoint / "manifest.json").unlink()
    file = checkpoint / "run_args.yaml"
    run = parse_yaml(file.read_text(), "run")
    other = make_model(tmp_path / "other", "gpt2")
    run["model_arguments"]["model_name_or_path"] = str(other)
    file.write_text(to_yaml(run))
    with pytest.raises(ConfigError, match="checkpoint"):
        main([str(checkpoint), str(rows), "--output", str(tmp_path / "out.jsonl")])


def test_a_pipelines_layers_are_refused(
    zero_checkpoints: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(zero_checkpoints["scattered"], tmp_path / "checkpoint"))
    (checkpoint / "manifest.json").unlink()
    tag = checkpoint / (checkpoint / "latest").read_text().strip()
    (tag / "layer_00-model_states.pt").write_bytes(b"")
    with pytest.raises(ConfigError, match="a pipeline's layers") as raised:
        main([str(checkpoint), str(rows), "--output", str(tmp_path / "out.jsonl")])
    assert len(raised.value.faults) == 1


def test_a_resume_of_another_request_is_refused(
    adapters: Adapters, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    common = [str(adapters("lora")), str(rows), "--output", str(out)]
    prepare(parse(common, "", ""), Ranks()).begin(Ranks())
    with pytest.raises(ConfigError, match="--resume goes on with it"):
        main(common)
    write(rows, ROWS[1:])
    with pytest.raises(ConfigError) as raised:
        main([*common, "--resume", "--seed", "3", "--model", "base"])
    named = [fault.message.split(":")[0] for fault in raised.value.faults]
    assert named == ["--model", "--seed", "INPUT"]


def stop_at(lines: int, with_: signal.Signals, out: Path, arguments: list[str]) -> tuple[int, str]:
    """Runs the command in a process, and sends a signal when so many answers are in its journal."""
    process = start([sys.executable, "-m", "det_files.generate", *arguments])
    part = out.with_name(f"{out.name}.partial") / "rank_0.jsonl"
    while process.poll() is None and (not part.exists() or _lines(part) < lines):
        time.sleep(0.01)
    process.send_signal(with_)
    output, _ = process.communicate(timeout=120)
    assert not out.exists(), "it had ended before the signal"
    assert _lines(part) >= lines, output
    return process.returncode, output


def _lines(part: Path) -> int:
    return part.read_bytes().count(b"\n")


def test_killed_and_resumed_on_two_ranks_it_is_as_if_never_stopped(
    adapters: Adapters, rows: Path, sampled: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = [str(adapters("lora")), str(rows), *SAMPLED, "--output", str(out)]
    code, _ = stop_at(3, signal.SIGKILL, out, arguments)
    assert code == -signal.SIGKILL
    part = out.with_name("out.jsonl.partial") / "rank_0.jsonl"
    before = part.read_bytes()
    kept = before[: before.rfind(b"\n") + 1].count(b"\n")
    assert kept < len(ROWS)
    done = launch(2, ["-m", "det_files.generate", *arguments, "--resume"], 240)
    assert done.returncode == 0, done.stdout
    assert "(rank 0 of 2)" in done.stdout
    assert out.read_bytes() == sampled
    assert not part.parent.exists()


def test_interrupted_it_tells_how_to_go_on(
    adapters: Adapters, rows: Path, sampled: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = [str(adapters("lora")), str(rows), *SAMPLED, "--output", str(out)]
    code, output = stop_at(3, signal.SIGINT, out, arguments)
    assert code == 1
    assert "Traceback" not in output
    command = output.strip().splitlines()[-1].strip()
    assert command.endswith("--resume")
    words = [sys.executable, *shlex.split(command)[1:]]
    subprocess.run(words, check=True, timeout=240)
    assert out.read_bytes() == sampled


def test_two_ranks_refuse_once(adapters: Adapters, rows: Path, tmp_path: Path) -> None:
    arguments = [str(adapters("lora")), str(rows), "--output", str(tmp_path / "out.jsonl")]
    done = launch(2, ["-m", "det_files.generate", *arguments, "--top-p", "2"], 120)
    assert done.returncode != 0
    assert done.stdout.count("ConfigError:") == 1, done.stdout
