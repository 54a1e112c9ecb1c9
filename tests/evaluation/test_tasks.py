"""The section eval_tasks: what it takes, all its faults at once, and what validations carry."""

from pathlib import Path
from typing import Any

import pytest

from det_files.args import RunArgs, RunFacts
from det_files.data.arguments import DataArguments, SourceArguments
from det_files.evaluation.tasks import SECTION, TaskArguments, read_tasks, task_scores
from det_files.faults import ConfigError, Faults
from det_files.models import CAUSAL, PREFERENCE, SEQ2SEQ
from det_files.resolution import resolve_or_raise

ONE = DataArguments(sources=[SourceArguments(path="data/gsm8k")])
TWO = DataArguments(
    sources=[*ONE.sources, SourceArguments(path="data/mail", input_format="Mail: __input__")]
)
EXACT = {"metrics": ["exact_match"]}
ASHA = {
    "name": "adaptive_asha",
    "metric": "eval_gsm8k_final_answer_flexible",
    "smaller_is_better": False,
    "max_trials": 4,
    "max_time": 8,
    "time_metric": "batches",
}


def faults_of(
    tasks: dict[str, Any], data: DataArguments = ONE, kind: str = CAUSAL
) -> dict[str, str]:
    """Place below the section → what is wrong there."""
    faults = Faults()
    read_tasks(SECTION, tasks, data, kind, faults)
    return {fault.path.removeprefix(SECTION).lstrip("."): fault.message for fault in faults.found}


def resolved(
    tasks: dict[str, Any], searcher: dict[str, Any] | None = None, **training: Any
) -> RunArgs:
    hyperparameters = {
        "model_arguments": {"model_name_or_path": "x"},
        "data_arguments": {"sources": [{"path": "data/gsm8k"}]},
        "training_arguments": {"max_steps": 8, "eval_steps": 4} | training,
        "eval_tasks": tasks,
    }
    facts = RunFacts(searcher=searcher or {"name": "single", "metric": "eval_loss"})
    return resolve_or_raise(hyperparameters, [], facts, Path())


def test_what_is_right_is_read_and_written_beside_checkpoints() -> None:
    given = {
        "gsm8k": {"metrics": ["final_answer"], "split": "test", "max_samples": 64},
        "general": {"metrics": ["perplexity"], "path": "general.txt"},
        "gec": {"metrics": ["m2", "length"], "m2": "gold.m2"},
    }
    assert faults_of(given) == {}
    args = resolved(given)
    assert args.tasks["gsm8k"] == TaskArguments(["final_answer"], split="test", max_samples=64)
    written = args.to_dict()["eval_tasks"]
    assert written["gsm8k"]["max_new_tokens"] == 256
    assert "eval_tasks" not in resolved({}).to_dict()


@pytest.mark.parametrize(
    ("tasks", "faults"),
    [
        ({"a.b": EXACT}, {"a.b": "a task's name is part of"}),
        ({"a": 3}, {"a": "expected a mapping such as {metrics: [final_answer]}, got 3"}),
        ({"a": {}}, {"a.metrics": "missing: name some of exact_match"}),
        ({"a": {"metrics": [3]}}, {"a.metrics": "expected names of metrics, got [3]"}),
        ({"a": {"metrics": "bleu"}}, {"a.metrics": 'expected list, got "bleu"'}),
        (
            {"a": EXACT | {"metric": 1, "split": "train", "max_samples": 0, "source": "gsm8"}},
            {
                "a.metric": 'unknown key; did you mean "metrics"?',
                "a.split": 'expected one of val, test, got "train"',
                "a.max_samples": "expected >= 1, got 0",
                "a.source": 'the run has no source "gsm8"; did you mean "gsm8k"?; it has gsm8k',
            },
        ),
        (
            {"a": {"metrics": ["final_anser"]}, "b": {"metrics": ["perplexity", "bleu"]}},
            {
                "a.metrics": 'no metric is called "final_anser"; did you mean "final_answer"?',
                "b.metrics": "perplexity is of texts, the others of answers: make two tasks",
            },
        ),
        (
            {"a": {"metrics": ["perplexity"], "max_new_tokens": 9, "path": "x", "split": "test"}},
            {
                "a.max_new_tokens": "has no effect on perplexity",
                "a.split": "has no effect with path",
            },
        ),
        (
            {"a": {"metrics": ["m2", "bleu"]}, "b": EXACT | {"m2": "x"}},
            {
                "a.m2": "missing: m2 needs a file of gold corrections",
                "a.metrics": "bleu needs references, and the rows are those of a.m2",
                "b.m2": "has no effect without the metrics m2 or errant",
            },
        ),
        (
            {"x": {"metrics": ["perplexity"]}, "x_character": {"metrics": ["perplexity"]}},
            {"x_character": "gives eval_x_character_perplexity, as x does"},
        ),
        (
            {"a": {"metrics": {"type": "categorical", "vals": [["bleu"], ["blew"]]}}},
            {"a.metrics.vals[1]": 'no metric is called "blew"; did you mean "bleu"?'},
        ),
    ],
)
def test_faults_come_all_at_once(tasks: dict[str, Any], faults: dict[str, str]) -> None:
    found = faults_of(tasks)
    assert found.keys() == faults.keys()
    for where, reason in faults.items():
        assert found[where].startswith(reason)


def test_rows_of_a_file_need_one_format() -> None:
    assert faults_of({"a": EXACT}, TWO) == {}
    found = faults_of({"a": EXACT | {"path": "x.jsonl"}}, TWO)["a.source"]
    assert found.endswith("rows are asked by one of gsm8k, mail")
    assert faults_of({"a": EXACT | {"path": "x.jsonl", "source": "mail"}}, TWO) == {}
    assert faults_of({"a": {"metrics": ["perplexity"], "path": "x.txt"}}, TWO) == {}


def test_what_a_kind_of_model_cannot_have() -> None:
    texts = {"a": {"metrics": ["perplexity"]}}
    assert "an encoder-decoder has none" in faults_of(texts, kind=SEQ2SEQ)["a.metrics"]
    assert faults_of({"a": EXACT}, kind=SEQ2SEQ) == {}
    assert "run_preference" in faults_of({"a": EXACT}, kind=PREFERENCE)[""]


def test_scores_are_named_by_task() -> None:
    tasks = {"g": TaskArguments(["final_answer", "tokens"]), "t": TaskArguments(["perplexity"])}
    assert list(task_scores(tasks)) == [
        "eval_g_final_answer_strict",
        "eval_g_final_answer_flexible",
        "eval_g_answer_tokens",
        "eval_g_cut_off",
        "eval_t_perplexity",
        "eval_t_character_perplexity",
        "eval_t_bits_per_byte",
        "eval_t_token_accuracy",
    ]


def test_a_searcher_goes_by_a_score() -> None:
    tasks = {"gsm8k": {"metrics": ["final_answer"]}}
    resolved(tasks, ASHA)
    for change, fault in (
        (
            {"metric": "eval_gsm8k_final_answer"},
            r'eval_gsm8k_final_answer is not among .*; did you mean "eval_gsm8k_final_answer_',
        ),
        ({"smaller_is_better": None}, "final_answer_flexible grows as the model gets better"),
    ):
        with pytest.raises(ConfigError, match=fault):
            resolved(tasks, ASHA | change)
    with pytest.raises(ConfigError, match="eval_gsm8k_final_answer_flexible is not among"):
        resolved({}, ASHA)


def test_checkpoints_are_kept_by_a_score() -> None:
    tasks = {"t": {"metrics": ["perplexity"], "path": "t.txt"}, "g": EXACT}
    best = {"save_strategy": "best", "metric_for_best_model": "eval_g_exact_match"}
    assert resolved(tasks, **best).training["metric_for_best_model"] == "eval_g_exact_match"
    falling = best | {"metric_for_best_model": "t_perplexity"}
    resolved(tasks, **falling, greater_is_better=False)
    with pytest.raises(ConfigError, match="t_perplexity falls as the model gets better"):
        resolved(tasks, **falling)
    with pytest.raises(ConfigError, match=r'did you mean "eval_g_exact_match"\?'):
        resolved(tasks, **best | {"metric_for_best_model": "eval_g_exact_mach"})


def test_tasks_need_validations() -> None:
    with pytest.raises(ConfigError, match=r'eval_tasks: have no effect: .*eval_strategy is "no"'):
        resolved({"a": EXACT}, eval_strategy="no")


def test_a_malformed_range_is_a_fault_and_no_crash() -> None:
    with pytest.raises(ConfigError, match=r"eval_tasks\.a\.metrics\.vals: missing"):
        resolved({"a": {"metrics": {"type": "categorical"}}})
