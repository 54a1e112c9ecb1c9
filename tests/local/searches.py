"""A search's summary and its trials' rows, as a runner would have left them."""

from typing import Any

from det_files.local.metrics import VALIDATION, Row

METRIC = "eval_loss"


def entry(
    number: int, value: float | None, params: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """A trial's entry of summary.json; `value` is its best and final metric."""
    params = {"training_arguments.learning_rate": number * 1e-4} if params is None else params
    return {
        "trial": number,
        "hparams": {"training_arguments": {"max_steps": 100}},
        "params": params,
        "state": "COMPLETED",
        "steps_completed": 100,
        "final": {} if value is None else {METRIC: value},
        "best": {} if value is None else {METRIC: value, "steps_completed": 90},
        "best_checkpoint": None,
        "latest_checkpoint": f"checkpoint-{number}",
        "wall_seconds": 65.0,
        "restarts": 0,
    } | fields


def halved(number: int, values: list[float | None], rungs: list[int], **fields) -> dict[str, Any]:
    """The entry of a trial that has met the first `len(values)` of the rungs."""
    met = rungs[: len(values)]
    standings = [
        {"units": units, "value": value, "continues": units != met[-1]}
        for units, value in zip(met, values, strict=True)
    ]
    early = met[-1] != rungs[-1] and values[-1] is not None
    best = min((value for value in values if value is not None), default=None)
    given: dict[str, Any] = {
        "bracket": 0,
        "rungs": standings,
        "stopped_at": met[-1] if early else None,
        "steps_completed": met[-1],
        "state": "ERROR" if values[-1] is None else "COMPLETED",
    }
    return entry(number, best, **(given | fields))


def summary_of(trials: list[dict[str, Any]], smaller: bool = True, **search: Any) -> dict[str, Any]:
    """The summary of a search with these trials."""
    measured = [(t["best"][METRIC], t["trial"]) for t in trials if t["best"].get(METRIC)]
    best = (min if smaller else max)(measured)[1] if measured else None
    return {
        "experiment": "tiny",
        "searcher": {"name": "random", "metric": METRIC, "smaller_is_better": smaller},
        "best_trial": best,
        "trials": trials,
        "slots": 1,
        "device": "cpu",
        "command": "python -m det_files.local tiny.yaml",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": None,
        "wall_seconds": 65.0,
        "search": {"max_trials": len(trials), "seed": 7, "time_metric": "batches"} | search,
    }


def validations(points: dict[int, float]) -> list[Row]:
    """Validation rows from {steps: value}."""
    return [Row(float(s), VALIDATION, s, {METRIC: value}) for s, value in points.items()]
