"""Generation within evaluations: scored as the finished model's own answers would be."""

import json
from pathlib import Path

import pytest
from in_process import last_validation, run_here

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.dataset import load_data
from det_files.evaluation.generation import generate_answers
from det_files.evaluation.text_metrics import text_scores
from det_files.models import SEQ2SEQ, ModelArguments, load_model
from tiny import make_model

LIMIT = 12


def make_rows(directory: Path) -> Path:
    """Most answers are alike, so that a tiny model soon gives some that are right."""
    for split, count in (("train", 24), ("val", 7)):
        (directory / split).mkdir(parents=True)
        rows = [
            {"input": f"cat {i}", "output": "the red cat sees" if i % 4 else "the small dog"}
            for i in range(count)
        ]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (directory / split / "rows.jsonl").write_text(text)
    return directory


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_an_evaluation_scores_what_the_model_then_generates(
    tmp_path: Path, architecture: str
) -> None:
    model = make_model(tmp_path / "model", architecture)
    data = make_rows(tmp_path / "data")
    checkpoint = run_here(
        tmp_path / "trial",
        {
            "model_arguments": {"model_name_or_path": str(model), "dtype": "float32"},
            "data_arguments": {"sources": [{"path": str(data)}], "max_output_tokens": LIMIT},
            "training_arguments": {
                "max_steps": 40,
                "per_device_train_batch_size": 8,
                "per_device_eval_batch_size": 3,
                "learning_rate": 1e-2,
                "use_cpu": True,
                "predict_with_generate": True,
            },
        },
        "det_files.run_seq2seq",
    )
    logged = last_validation(tmp_path / "trial")
    trained, tokenizer = load_model(ModelArguments(str(checkpoint), dtype="float32"), kind=SEQ2SEQ)
    source = SourceArguments(path=str(data))
    args = DataArguments(sources=[source], max_output_tokens=LIMIT)
    rows = list(load_data(args, tokenizer, trained.config, 42).val)
    prompts = [row["input_ids"][row["labels"] == -100].tolist() for row in rows]
    answers = generate_answers(trained, tokenizer, prompts, max_new_tokens=LIMIT)
    references = [
        tokenizer.decode(row["labels"][row["labels"] != -100], skip_special_tokens=True)
        for row in rows
    ]
    expected = text_scores(answers, references)
    assert 0 < expected["rouge1"] < 100
    assert {name: logged[f"eval_{name}"] for name in expected} == pytest.approx(expected)
