"""Pictures show what was reported and answered."""

from __future__ import annotations

import base64
import re

from both_answered import answered

from det_files.local.metrics import Row
from det_files.showing.pictures import show_lengths_and_latencies, show_losses


def pngs(html: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(r'base64,([^"]*)"', html)]


def test_losses_are_one_picture_of_what_there_is() -> None:
    training = [Row(n, "training", n, {"loss": 3 - n / 10}) for n in range(1, 9)]
    one = show_losses(training)
    both = show_losses([*training, Row(9, "validation", 8, {"eval_loss": 2.0})])
    assert len(pngs(one.html)) == len(pngs(both.html)) == 1
    assert pngs(one.html)[0].startswith(b"\x89PNG")
    assert pngs(one.html) != pngs(both.html)


def test_without_metrics_there_is_a_remark() -> None:
    assert "No metrics lie beside this checkpoint" in repr(show_losses([]))


def test_lengths_and_latencies_are_two_pictures() -> None:
    shown = show_lengths_and_latencies(answered(["a", "b"], ["xx", "yyy"], ["a", "b"]))
    assert len(pngs(shown.html)) == 2
    assert "cut off at 20 tokens" in repr(shown)
    assert "2 questions asked at once" in repr(shown)
