"""report.html as a browser would read it."""

import base64
import io
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import matplotlib.image
import pytest

from det_files.local.metrics import Row, best_row, final_metrics
from det_files.local.page import number, setting
from det_files.local.pictures import smooth
from det_files.local.report import flatten, render_report, varied_hyperparameters


class Page(HTMLParser):
    """The texts of a page by element, its pictures, and what it would load from elsewhere."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str):
        super().__init__()
        self.pictures: dict[str, bytes] = {}
        self.tables: list[list[list[str]]] = []
        self.marked: list[str] = []
        self.foreign: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], "elements are not closed"

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag not in self.VOID:
            self._open.append(tag)
        for name in ("src", "href"):
            value = given.get(name) or ""
            prefix = "data:image/png;base64,"
            if value.startswith(prefix):
                title = (given.get("alt") or "").removesuffix(" over steps")
                self.pictures[title] = base64.b64decode(value[len(prefix) :], validate=True)
            elif value:
                self.foreign.append(value)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
            self._is_marked = given.get("class") == "on"
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "tr" and self._is_marked:
            self.marked.append(self.tables[-1][-1][0])

    def handle_data(self, data: str) -> None:
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data
        if "style" not in self._open and data.strip():
            self.texts.append(data.strip())


def rows_of(evaluations: dict[int, float], metric: str = "eval_loss") -> list[Row]:
    rows = [
        Row(
            float(s),
            "training",
            s,
            {"loss": 9.0 / s, "learning_rate": 1e-4, "tokens_per_second": 90.0},
        )
        for s in range(1, 101)
    ]
    return rows + [Row(1.0, "validation", s, {metric: v}) for s, v in evaluations.items()]


def summary_of(
    rows: dict[int, list[Row]], smaller: bool = True, metric: str = "eval_loss"
) -> dict[str, Any]:
    trials = []
    for number_, of_trial in rows.items():
        best = best_row(of_trial, metric, smaller)
        trials.append(
            {
                "trial": number_,
                "hparams": {
                    "training_arguments": {"learning_rate": number_ * 1e-4, "max_steps": 100}
                },
                "state": "COMPLETED",
                "steps_completed": 100,
                "final": final_metrics(of_trial),
                "best": dict(best.metrics) | {"steps_completed": best.steps} if best else {},
                "latest_checkpoint": None,
                "wall_seconds": 65.0,
                "restarts": 0,
            }
        )
    measured = [t for t in trials if t["best"]] or trials[:1]
    best_one = sorted(measured, key=lambda t: t["best"].get(metric, 0.0), reverse=not smaller)[0]
    return {
        "experiment": "a <b> & $c",
        "searcher": {"name": "single", "metric": metric, "smaller_is_better": smaller},
        "best_trial": best_one["trial"],
        "trials": trials,
        "slots": 2,
        "device": "cpu",
        "command": "python -m det_files.local 'a <b>.yaml'",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": None,
        "wall_seconds": 65.0,
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }


def test_one_trial_has_four_pictures_and_all_its_facts() -> None:
    rows = {1: rows_of({50: 0.5, 100: 0.75})}
    page = Page(render_report(summary_of(rows), rows, "/runs/a/1"))
    assert list(page.pictures) == [
        "Training loss",
        "Evaluation loss",
        "Learning rate",
        "Throughput",
    ]
    for picture in page.pictures.values():
        pixels = matplotlib.image.imread(io.BytesIO(picture), format="png")
        assert pixels.shape[0] > 300 and pixels.shape[1] > 600
        assert pixels[..., :3].std() > 0.02  # not empty
    assert page.foreign == []
    assert "a <b> & $c" in page.texts
    assert "completed" in page.texts
    metrics, hyperparameters, run = page.tables
    assert metrics[0] == ["Metric", "Final", "At step 50 (best)"]
    assert metrics[1] == ["eval_loss", "0.7500", "0.5000"]
    assert ["loss", "0.0900", "–"] in metrics
    assert hyperparameters[0] == ["training_arguments.learning_rate", "0.0001"]
    assert ["Command", "python -m det_files.local 'a <b>.yaml'"] in run
    assert ["Slots", "2 on the CPU"] in run
    assert ["Versions", "python 3.11.7, torch 2.13.0"] in run


def test_a_run_without_validation_says_so() -> None:
    rows = {1: rows_of({})}
    page = Page(render_report(summary_of(rows), rows, "/runs/a/1"))
    assert list(page.pictures) == ["Training loss", "Learning rate", "Throughput"]
    assert "Not reported in this run: evaluation loss." in page.texts
    assert page.tables[0][0] == ["Metric", "Final"]


def test_a_run_without_any_row_is_a_page_too() -> None:
    rows: dict[int, list[Row]] = {1: []}
    page = Page(render_report(summary_of(rows), rows, "/runs/a/1"))
    assert page.pictures == {}
    assert "No metrics were reported." in page.texts


@pytest.mark.parametrize(("smaller", "order"), [(True, ["2", "1", "3"]), (False, ["1", "2", "3"])])
def test_trials_are_listed_best_first_by_the_searchers_direction(
    smaller: bool, order: list[str]
) -> None:
    rows = {1: rows_of({50: 0.8}, "score"), 2: rows_of({50: 0.3}, "score"), 3: rows_of({}, "score")}
    page = Page(render_report(summary_of(rows, smaller, "score"), rows, "/runs/a/1"))
    head, *body = page.tables[0]
    assert head[:4] == ["Trial", "State", "learning_rate", "Best score"]
    assert [line[0] for line in body] == order
    assert page.marked[0] == order[0]
    assert body[-1][3] == "–"
    assert "score" in page.pictures
    direction = "smaller" if smaller else "larger"
    assert f"score: {direction} is better." in page.texts


def test_many_trials_and_many_steps_render() -> None:
    rows = {n: rows_of({50: n / 10}) for n in range(1, 13)}
    page = Page(render_report(summary_of(rows), rows, "/runs/a/1"))
    assert len(page.pictures) == 4
    assert len(page.tables[0]) == 13


def test_only_what_differs_is_varied() -> None:
    first = {"hparams": {"a": {"b": 1, "c": [1]}, "d": {}}}
    second = {"hparams": {"a": {"b": 2, "c": [1]}, "d": {}, "e": "x"}}
    assert flatten(first["hparams"]) == {"a.b": 1, "a.c": [1], "d": {}}
    assert varied_hyperparameters([first, second]) == ["a.b", "e"]
    assert varied_hyperparameters([first]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (12345678.0, "12,345,678"),
        (0.12345, "0.1235"),
        (2.0e-5, "2e-05"),
        (85.123, "85.12"),
        (845.86, "845.9"),
        (12345.6, "12,346"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_setting() -> None:
    assert setting(0.00030000000000000003) == "0.0003"
    assert setting("a b") == "a b"
    assert setting([1, {"x": None}]) == '[1, {"x": null}]'


def test_smoothing_keeps_ends_and_straight_lines() -> None:
    line = [float(n) for n in range(10)]
    assert smooth(line, 3) == pytest.approx(line)
    assert smooth([0.0, 3.0, 0.0], 1) == pytest.approx([0.0, 1.0, 0.0])
    assert smooth([], 3) == []
