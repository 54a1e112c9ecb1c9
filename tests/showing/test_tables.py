"""Tables say what was found, and no more than that."""

from __future__ import annotations

from pathlib import Path

from both_answered import answered
from export_checkpoints import Adapters

from det_files.export.check import Difference
from det_files.showing.merged import check_merged, why_not_merged
from det_files.showing.run import find_run
from det_files.showing.scores import compare_scores
from det_files.showing.tables import show_merged, show_run, show_scores, show_verdict
from det_files.trained.checkpoint import open_checkpoint


def test_a_sure_gain_is_called_better_and_a_sure_loss_worse() -> None:
    right, wrong = ['{"a": 1}'] * 12, ["no"] * 12
    gain = compare_scores(answered(right, wrong, right))
    shown = repr(show_verdict(gain))
    assert "is better by 100.0 points [+100.0, +100.0] in “exact match” (p" in shown
    loss = compare_scores(answered(right, right, wrong))
    assert "is worse by 100.0 points [-100.0, -100.0]" in repr(show_verdict(loss))


def test_what_may_be_chance_is_not_called_better() -> None:
    scores = compare_scores(answered(['{"a": 1}'] * 3, ["no"] * 3, ["no", "no", '{"a": 1}']))
    shown = repr(show_verdict(scores))
    assert "cannot be told apart" in shown
    assert "better" not in shown
    table = repr(show_scores(scores)).splitlines()
    cells = table[1].split("\t")
    assert cells[:3] == ["exact match, %", scores[0].base.show(), scores[0].tuned.show()]
    assert table[-1].startswith("3 test rows.")


def test_a_run_is_described(tiny_run: Path, tiny_model: Path) -> None:
    found = find_run(str(tiny_run))
    shown = repr(show_run(found))
    for part in (str(tiny_model), "lora, r 8, lora_alpha 16", "after 5 steps", "training", "→"):
        assert part in shown
    assert found.steps == 5


def test_a_merged_model_that_differs_is_said_to() -> None:
    shown = repr(show_merged(Difference(0.5, 10.0, 1e-4, 4, True)))
    assert "computes something else" in shown
    assert "5 %" in shown


def test_what_cannot_be_merged_is_not(adapters: Adapters) -> None:
    checkpoint = open_checkpoint(adapters("prompt"))
    assert check_merged(checkpoint) is None
    shown = repr(show_merged(None, why_not_merged(checkpoint)))
    assert shown == "Nothing is merged: a prompt stands before the text and is in no weight."
