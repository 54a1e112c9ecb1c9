"""lm-evaluation-harness by name: what it is told of a checkpoint, and what is made of its results.

The harness itself is optional: the last test compares with it where it is installed.
"""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest
from export_checkpoints import Adapters

from det_files.evaluate import main
from det_files.evaluation.harness import (
    find_loading_faults,
    find_unknown_tasks,
    model_arguments,
    records_of,
    scores_of_tasks,
    statistics_of,
)
from det_files.faults import ConfigError, Faults
from det_files.trained.checkpoint import open_checkpoint

INSTALLED = importlib.util.find_spec("lm_eval") is not None


def sample(number: int, **scores: Any) -> dict[str, Any]:
    return {
        "doc_id": number,
        "target": number,
        "filtered_resps": [(-1.5, True)],
        "filter": "none",
        "metrics": list(scores),
        **scores,
    }


# As `simple_evaluate` of 0.4.13 returns it (lm_eval/result_schema.py), the questions out of order.
FOUND: dict[str, Any] = {
    "results": {
        "arc": {
            "name": "arc",
            "alias": "arc",
            "sample_len": 3,
            "acc,none": 2 / 3,
            "acc_stderr,none": "N/A",
            "bits,none": 2.0,
            "word_perplexity,none": 9.7,
        }
    },
    "higher_is_better": {"arc": {"acc": True, "bits": False, "word_perplexity": False}},
    "samples": {
        "arc": [
            sample(1, acc=0.0, bits=2.5, word_perplexity=(-4.0, 2)),
            sample(0, acc=1.0, bits=1.5, word_perplexity=(-3.0, 2)),
            sample(2, acc=1.0, bits=2.0, word_perplexity=(-2.0, 2)),
        ]
    },
}


def test_means_of_questions_become_statistics_of_rows() -> None:
    found = statistics_of(FOUND)
    assert list(found) == ["arc/acc", "arc/bits"]
    assert found["arc/acc"].rows[:, 0].tolist() == [1, 0, 1]
    assert found["arc/acc"].share_of == 1
    assert found["arc/bits"].rows[:, 0].tolist() == [1.5, 2.5, 2.0]
    assert found["arc/bits"].value == pytest.approx(2.0)


def test_scores_know_which_direction_is_better() -> None:
    scores = scores_of_tasks(FOUND)
    assert {name: score.better for name, score in scores.items()} == {
        "arc/acc": "higher",
        "arc/acc_stderr": "",
        "arc/bits": "lower",
        "arc/word_perplexity": "lower",
    }


def test_answers_become_lines_of_a_file() -> None:
    record = records_of(FOUND["samples"])[0]
    assert record["task"] == "arc"
    assert record["row"] == 1
    assert record["scores"]["word_perplexity"] == [-4.0, 2]


def test_an_adapter_is_told_as_peft(adapters: Adapters, tiny_model: Path) -> None:
    checkpoint = open_checkpoint(adapters("lora"))
    base = model_arguments(checkpoint, "base")
    assert base["pretrained"] == str(tiny_model)
    assert base["dtype"] == "float32"
    assert "peft" not in base
    tuned = model_arguments(checkpoint, "tuned", "bfloat16")
    assert tuned == base | {"peft": str(checkpoint.path), "dtype": "bfloat16"}


def test_a_whole_model_is_told_by_its_directory(zero_checkpoints: dict[str, Path]) -> None:
    checkpoint = open_checkpoint(zero_checkpoints["gathered"])
    assert model_arguments(checkpoint, "tuned")["pretrained"] == str(checkpoint.path)
    assert model_arguments(checkpoint, "base")["pretrained"] == checkpoint.model.source
    faults = Faults()
    find_loading_faults(checkpoint, ["base", "tuned"], faults)
    assert not faults.found
    scattered = open_checkpoint(zero_checkpoints["scattered"])
    find_loading_faults(scattered, ["tuned"], faults)
    assert "ZeRO shards alone: export it with --to hf" in str(faults.found[0])


def test_unknown_tasks_are_met_by_the_nearest() -> None:
    faults = Faults()
    find_unknown_tasks(["hellaswog", "arc"], ["hellaswag", "arc"], faults)
    assert [str(fault) for fault in faults.found] == [
        '--tasks: lm-evaluation-harness has no task "hellaswog"; did you mean "hellaswag"?'
    ]


@pytest.mark.skipif(INSTALLED, reason="lm_eval is installed")
def test_what_is_missing_is_said_with_every_other_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        main([str(tmp_path / "absent"), "--engine", "lm-eval", "--tasks", "arc_easy"])
    text = str(caught.value)
    assert 'pip install "lm_eval[hf]==0.4.13"' in text
    assert "absent: no such directory" in text


@pytest.mark.skipif(not INSTALLED, reason="lm_eval, an optional package, is not installed")
def test_the_harness_takes_what_it_is_told() -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    given = {"model", "model_args", "tasks", "num_fewshot", "batch_size", "device", "limit"}
    given |= {"bootstrap_iters", "log_samples"}
    assert given <= set(inspect.signature(simple_evaluate).parameters)
    loading = {"pretrained", "tokenizer", "dtype", "trust_remote_code", "revision", "peft"}
    assert loading <= set(inspect.signature(HFLM.__init__).parameters)
    assert "hellaswag" in TaskManager().all_tasks
