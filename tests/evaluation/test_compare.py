"""A run's directory is found, answered before and after, and its summary extended."""

import json
import os
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from det_files.cluster.manifest import write_manifest
from det_files.evaluation import compare as compare_module
from det_files.evaluation.compare import compare, main
from det_files.evaluation.side_by_side import WIDTH, render_examples
from det_files.faults import ConfigError
from det_files.generation.decoding import generate_answers
from det_files.quantization import is_quantized

RUN_ARGS = """
model_arguments: {{model_name_or_path: {model}, dtype: float32}}
data_arguments: {{sources: [{{path: {data}}}]}}
tuning_arguments: {{method: lora}}
training_arguments: {{max_steps: 1}}
"""


def publish(checkpoint: Path, steps: int) -> Path:
    checkpoint.mkdir(parents=True, exist_ok=True)
    write_manifest(checkpoint, {})
    (checkpoint / "metadata.json").write_text(json.dumps({"steps_completed": steps}))
    return checkpoint


def save_adapter(model_directory: Path, checkpoint: Path) -> None:
    """A LoRA adapter with random values, as if it had been trained."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(model_directory, dtype=torch.float32)
    config = peft.LoraConfig(r=8, init_lora_weights=False, target_modules="all-linear")
    peft.get_peft_model(model, config).save_pretrained(checkpoint)


@pytest.fixture
def run_dir(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> Path:
    """A run of two trials, of which the second is the best, with two checkpoints."""
    run = tmp_path / "runs" / "tiny" / "1"
    trial = run / "trials" / "2"
    save_adapter(tiny_model, publish(trial / "checkpoints" / "best", 1))
    publish(trial / "checkpoints" / "last", 2)
    relative = {"model": os.path.relpath(tiny_model, tmp_path), "data": str(tiny_data)}
    (trial / "checkpoints" / "best" / "run_args.yaml").write_text(RUN_ARGS.format(**relative))
    summary = {
        "experiment": "tiny",
        "directory": str(tmp_path),
        "slots": 1,
        "best_trial": 2,
        "trials": [{"trial": 1}, {"trial": 2, "best_checkpoint": "best"}],
        "notes": "mine",
    }
    (run / "summary.json").write_text(json.dumps(summary))
    return run


def read_summary(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


def test_scores_and_examples_come_into_the_summary_and_the_rest_stays(
    run_dir: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_summary(run_dir)
    assert main([str(run_dir), "--examples", "2"]) == 0
    summary = read_summary(run_dir)
    evaluation = summary.pop("evaluation")
    assert summary == before
    assert evaluation["checkpoint"] == "best"
    assert evaluation["trial"] == 2
    for side in ("base", "finetuned"):
        assert evaluation[side]["rows"] == 5
        assert 0 <= evaluation[side]["exact_match"] <= 1
        assert 0 <= evaluation[side]["exact_string_match"] <= 1
    rows = [json.loads(line) for line in (tiny_data / "test" / "rows.jsonl").open()]
    assert [e["input"] for e in evaluation["examples"]] == [row["input"] for row in rows[:2]]
    assert [e["reference"] for e in evaluation["examples"]] == [r["output"] for r in rows[:2]]
    assert any(e["base"] != e["finetuned"] for e in evaluation["examples"])
    shown = capsys.readouterr().out
    assert "fine-tuned" in shown
    assert "exact match (parsed object)" in shown
    # All but the lines with the directory, which is as long as pytest likes.
    lines = shown.partition("answering")[2].partition("report: ")[0].splitlines()
    assert max(map(len, lines)) <= WIDTH


def test_a_base_in_4_bits_answers_as_it_was_trained(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = run_dir / "trials" / "2" / "checkpoints" / "best" / "run_args.yaml"
    file.write_text(file.read_text().replace("dtype: float32", "dtype: float32, quantization: nf4"))
    in_4_bits: list[bool] = []

    def answer(model: Any, tokenizer: Any, asked: list[list[int]], **_: Any) -> list[str]:
        in_4_bits.append(any(is_quantized(parameter) for parameter in model.parameters()))
        return generate_answers(model, tokenizer, asked, max_new_tokens=3)

    monkeypatch.setattr(compare_module, "generate_answers", answer)
    evaluation = compare(run_dir)
    assert in_4_bits == [True, True]
    assert any(e["base"] != e["finetuned"] for e in evaluation["examples"])


def test_answers_that_are_the_references_score_1(
    run_dir: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in (tiny_data / "test" / "rows.jsonl").open()]
    given = iter([["wrong"] * 5, [row["output"] for row in rows]])
    prompts: list[list[list[int]]] = []

    def answer(model: Any, tokenizer: Any, asked: list[list[int]], **_: Any) -> list[str]:
        prompts.append(asked)
        assert tokenizer.decode(asked[0]) == (
            f"<|im_start|>user\n{rows[0]['input']}<|im_end|>\n<|im_start|>assistant\n"
        )
        return next(given)

    monkeypatch.setattr(compare_module, "generate_answers", answer)
    evaluation = compare(run_dir)
    assert (evaluation["base"]["exact_match"], evaluation["finetuned"]["exact_match"]) == (0, 1)
    longest = max(len(row["output"]) for row in rows)
    assert evaluation["base"]["max_new_tokens"] <= 1.5 * longest + 1  # a token has a character
    assert prompts[0] == prompts[1]


def test_a_fully_tuned_model_is_loaded_whole(run_dir: Path, tiny_model: Path) -> None:
    checkpoint = run_dir / "trials" / "2" / "checkpoints" / "best"
    file = checkpoint / "run_args.yaml"
    file.write_text(file.read_text().replace("lora", "full"))
    (checkpoint / "adapter_config.json").unlink()
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.load_state_dict({name: value.flip(0) for name, value in model.state_dict().items()})
    model.save_pretrained(checkpoint)
    examples = compare(run_dir)["examples"]
    assert any(example["base"] != example["finetuned"] for example in examples)


def test_references_are_rendered_as_in_training(
    run_dir: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_dir / "trials" / "2" / "checkpoints" / "best" / "run_args.yaml"
    text = path.read_text().replace(
        "data_arguments: {", 'data_arguments: {output_format: "=__output__",'
    )
    path.write_text(text)
    rows = [json.loads(line) for line in (tiny_data / "test" / "rows.jsonl").open()]
    right = [f"={row['output']}" for row in rows]
    monkeypatch.setattr(compare_module, "generate_answers", lambda *_, **__: right)
    evaluation = compare(run_dir)
    assert evaluation["finetuned"]["exact_string_match"] == 1
    assert [example["reference"] for example in evaluation["examples"]] == right


def test_limit_takes_the_first_rows(run_dir: Path) -> None:
    assert compare(run_dir, limit=2)["base"]["rows"] == 2


def test_prompts_longer_than_the_context_are_counted(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        (tmp_path / "long" / split).mkdir(parents=True)
        lines = [json.dumps({"input": text, "output": "a"}) for text in ("one", "two " * 2000)]
        (tmp_path / "long" / split / "a.jsonl").write_text("\n".join(lines) + "\n")
    file = run_dir / "trials" / "2" / "checkpoints" / "best" / "run_args.yaml"
    run_args = yaml.safe_load(file.read_text())
    run_args["data_arguments"]["sources"] = [{"path": str(tmp_path / "long")}]
    file.write_text(yaml.safe_dump(run_args))
    compare(run_dir)
    shown = capsys.readouterr().out
    for name in ("base", "fine-tuned"):
        assert f"{name}: 1 prompts leave no room in the model's context" in shown


def test_numbers_out_of_range_are_all_named(run_dir: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        main([str(run_dir), "--limit", "0", "--examples", "-1", "--batch-size", "0"])
    assert [str(fault) for fault in caught.value.faults] == [
        "--limit: expected at least 1, got 0",
        "--examples: expected at least 0, got -1",
        "--batch-size: expected at least 1, got 0",
    ]


def test_a_run_without_a_best_trial_is_refused(run_dir: Path) -> None:
    (run_dir / "summary.json").write_text(json.dumps({"best_trial": None, "trials": []}))
    with pytest.raises(ConfigError, match="no best trial"):
        compare(run_dir)


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run directory"):
        compare(tmp_path)


def test_examples_are_aligned_and_marked() -> None:
    example = {
        "input": "word " * 50,
        "reference": '{"a": 1}',
        "base": "I would say\n\n" + "so " * 300,
        "finetuned": '{"a":1}',
    }
    lines = render_examples([example]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    bars = [line.index("|") for line in lines if "|" in line]
    assert len(set(bars)) == 1
    assert any("base: wrong" in line and "fine-tuned: right" in line for line in lines)
    assert "…" in lines[-1]  # the rambling answer is cut
