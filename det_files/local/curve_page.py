"""The report's pictures over steps: which there are, and the curves of all trials in each."""

from collections.abc import Mapping, Sequence
from typing import Any

from det_files.local.canvas import png
from det_files.local.metrics import TRAINING, VALIDATION, Row, series
from det_files.local.page import figure
from det_files.local.pictures import Curve, draw_curves

Entry = dict[str, Any]


def picture_plan(metric: str) -> list[tuple[str, str, str, str]]:
    """Returns the pictures as (title, group, metric, axis label)."""
    plan = [
        ("Training loss", TRAINING, "loss", "loss (nats per token)"),
        ("Evaluation loss", VALIDATION, "eval_loss", "loss (nats per token)"),
        ("Learning rate", TRAINING, "learning_rate", "learning rate"),
        ("Throughput", TRAINING, "tokens_per_second", "tokens per second"),
    ]
    if metric not in {name for _, _, name, _ in plan}:
        plan.insert(2, (metric, VALIDATION, metric, metric))
    return plan


def curve_figures(summary: Entry, rows: Mapping[int, Sequence[Row]]) -> tuple[list[str], list[str]]:
    """Returns (the pictures as HTML, the titles of those that nothing was reported for)."""
    figures, missing = [], []
    for title, group, name, label in picture_plan(summary["searcher"]["metric"]):
        curves = [
            Curve(f"trial {trial}", steps, values, trial == summary["best_trial"])
            for trial, of_trial in rows.items()
            for steps, values in [series(of_trial, group, name)]
            if steps
        ]
        if not curves:
            missing.append(title[0].lower() + title[1:])
            continue
        picture = draw_curves(
            curves,
            label,
            smoothed=name == "loss",
            best_point=_best_point(summary) if name == summary["searcher"]["metric"] else None,
            from_zero=name == "tokens_per_second",
            smaller_is_better=_direction(name, summary["searcher"]),
        )
        figures.append(figure(title, png(picture), f"{title} over steps"))
    return figures, missing


def _direction(name: str, searcher: Entry) -> bool | None:
    """Whether smaller values are better ones; None where neither are."""
    if name == searcher["metric"]:
        return bool(searcher["smaller_is_better"])
    return True if name in ("loss", "eval_loss") else None


def _best_point(summary: Entry) -> tuple[int, float] | None:
    best = {t["trial"]: t["best"] for t in summary["trials"]}.get(summary["best_trial"], {})
    value = best.get(summary["searcher"]["metric"])
    return None if value is None else (best["steps_completed"], value)
