"""The `searcher` section of an experiment: known keys, a metric that exists, a length that fits."""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any

from det_files.autotune.metrics import MEASURED, THROUGHPUT, is_measured
from det_files.evaluation.metrics import HIGHER, Score
from det_files.faults import Faults, did_you_mean
from det_files.preference.arguments import PreferenceArguments
from det_files.preference.metrics import grows, validation_metrics
from det_files.rungs import HALVING, brackets, decision_points
from det_files.schema import Field, check_value, show
from det_files.trial_lengths import TIME_METRICS, check_length

_COMMON = {"name", "metric", "smaller_is_better", "source_trial_id", "source_checkpoint_uuid"}
# Those of evaluation/text_metrics.py.
_GENERATED = tuple(
    f"eval_{name}" for name in ("rouge1", "rouge2", "rougeL", "bleu", "chrf", "exact_match")
)
_NO_TASKS: Mapping[str, Score] = MappingProxyType({})
_GROWING = ("eval_token_accuracy", THROUGHPUT, *_GENERATED)
_HALVING = {"max_trials", "max_time", "time_metric", "max_length", "divisor", "stop_once"}
# name -> (keys it may have, keys it must have), as in Determined's published schemas (0.38).
SEARCHERS: dict[str, tuple[set[str], set[str]]] = {
    "single": (_COMMON | {"max_length"}, set()),
    "random": (_COMMON | {"max_length", "max_trials", "max_concurrent_trials"}, {"max_trials"}),
    "grid": (_COMMON | {"max_length", "max_concurrent_trials"}, set()),
    "adaptive_asha": (
        _COMMON | _HALVING | {"mode", "max_rungs", "bracket_rungs", "max_concurrent_trials"},
        {"max_trials"},
    ),
    "async_halving": (
        _COMMON | _HALVING | {"num_rungs", "max_concurrent_trials"},
        {"max_trials", "num_rungs"},
    ),
}
_WHOLE = Field("number", frozenset({"int"}), minimum=1)
_FIELDS = {
    "max_trials": _WHOLE,
    "max_time": _WHOLE,
    "num_rungs": _WHOLE,
    "max_rungs": _WHOLE,
    "max_concurrent_trials": Field("max_concurrent_trials", frozenset({"int"}), minimum=0),
    "divisor": Field("divisor", frozenset({"float"}), exclusive_minimum=1),
    "smaller_is_better": Field("smaller_is_better", frozenset({"bool"})),
    "mode": Field("mode", frozenset({"str"}), ("aggressive", "standard", "conservative")),
    "metric": Field("metric", frozenset({"str"})),
    "time_metric": Field("time_metric", frozenset({"str"})),
    "bracket_rungs": Field("bracket_rungs", frozenset({"list"})),
}


def reported_metrics(
    training: Mapping[str, Any],
    preference: PreferenceArguments | None = None,
    tasks: Mapping[str, Score] = _NO_TASKS,
) -> list[str]:
    """Names that validations will carry under these arguments; none without evaluation.

    `tasks` are those of `eval_tasks`, as `task_scores` has them.
    """
    if training.get("eval_strategy", "no") == "no":
        return []
    if preference is not None:
        return [*validation_metrics(preference), *TIME_METRICS]
    generated = _GENERATED if training.get("predict_with_generate") else ()
    own = ("eval_loss", "eval_perplexity", "eval_token_accuracy")
    return [*own, *generated, *tasks, *TIME_METRICS]


def check_searcher(
    searcher: Mapping[str, Any],
    training: Mapping[str, Any],
    faults: Faults,
    preference: PreferenceArguments | None = None,
    ranges: Mapping[str, Any] | None = None,
    tasks: Mapping[str, Score] = _NO_TASKS,
) -> None:
    """Notes every fault of the section, alone and against the resolved training arguments.

    `ranges` are those with what is searched as the file has it: every draw must fit.
    """
    name = searcher.get("name")
    reported = reported_metrics(training, preference, tasks)
    growing = {*_GROWING, *(name for name, said in tasks.items() if said.better == HIGHER)}
    if is_measured(searcher) and preference is None:
        reported = [*MEASURED]
    if not isinstance(name, str) or name not in SEARCHERS:
        hint = did_you_mean(str(name), SEARCHERS)
        expected = f"expected one of {', '.join(SEARCHERS)}"
        faults.add("searcher.name", f"{expected}, got {show(name)}{hint}")
        # Whatever searches: what is said of metric and length must hold.
        _check_metric(searcher, reported, growing, faults)
        check_length(searcher, ranges or training, faults)
        return
    allowed, required = SEARCHERS[name]
    for key in searcher:
        if key not in allowed:
            _note_unknown(str(key), str(name), faults)
        elif key in _FIELDS and searcher[key] is not None:
            check_value(f"searcher.{key}", searcher[key], _FIELDS[key], faults)
    for key in sorted(required | {"metric"}):
        if searcher.get(key) is None:
            faults.add(f"searcher.{key}", f"missing; {name} needs it")
    if name in HALVING:
        _check_halving(searcher, faults)
        if is_measured(searcher):
            reason = f"{searcher['metric']} is reported once, at a trial's end: say random or grid"
            faults.add("searcher.name", reason)
    _check_metric(searcher, reported, growing, faults)
    check_length(searcher, ranges or training, faults)


def _note_unknown(key: str, name: str, faults: Faults) -> None:
    """Notes a key that this searcher has not; one of another's is no slip of the pen."""
    owners = [other for other, (allowed, _) in SEARCHERS.items() if key in allowed]
    if owners:
        faults.add(f"searcher.{key}", f"belongs to {' and '.join(owners)}; {name} has no such key")
    else:
        faults.unknown("searcher", key, SEARCHERS[name][0])


def describe_rungs(searcher: Mapping[str, Any]) -> str:
    """One line on how a halving search divides its trials; empty for the other searchers.

    The section must be right.
    """
    if searcher.get("name") not in HALVING:
        return ""
    parts = [f"{b.trials} with rungs {', '.join(map(str, b.rungs))}" for b in brackets(searcher)]
    points = ", ".join(map(str, decision_points(searcher)))
    metric = searcher.get("time_metric") or "units of max_length"
    return f"trials: {'; '.join(parts)}. Every trial is validated at {points} {metric}, too"


def _check_halving(searcher: Mapping[str, Any], faults: Faults) -> None:
    given = {key for key in ("max_time", "time_metric") if searcher.get(key) is not None}
    if not given and searcher.get("max_length") is not None:
        return  # the form of 0.37
    for key in sorted({"max_time", "time_metric"} - given):
        faults.add(f"searcher.{key}", "missing; Determined 0.38 needs max_time and time_metric")
    if "time_metric" in given and searcher["time_metric"] not in TIME_METRICS:
        faults.add(
            "searcher.time_metric",
            f"expected one of {', '.join(TIME_METRICS)}, got {show(searcher['time_metric'])}",
        )
    counts = searcher.get("bracket_rungs") or []
    if isinstance(counts, list) and not all(type(n) is int and n > 0 for n in counts):
        faults.add("searcher.bracket_rungs", f"expected whole numbers >= 1, got {show(counts)}")


def _check_metric(
    searcher: Mapping[str, Any], reported: list[str], growing: Container[str], faults: Faults
) -> None:
    metric = searcher.get("metric")
    if not isinstance(metric, str):
        return
    if not reported and searcher.get("name") == "single":
        return  # Determined asks for a metric, but nothing is decided by it
    if not reported:
        faults.add("searcher.metric", f'{metric} is never reported: eval_strategy is "no"')
    elif metric not in reported:
        hint = did_you_mean(metric, reported)
        faults.add("searcher.metric", f"{metric} is not among {', '.join(reported)}{hint}")
    elif (metric in growing or grows(metric)) and searcher.get("smaller_is_better") is None:
        # Determined's default is true: the worst trial, or checkpoint, would be the best.
        reason = f"{metric} grows as the model gets better: say smaller_is_better: false"
        faults.add("searcher.smaller_is_better", reason)
