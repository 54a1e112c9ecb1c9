"""Progress is one line; the closing one counts the whole output."""

from __future__ import annotations

import io

from det_files.generation.answers import Answer
from det_files.generation.progress import Progress, Totals
from det_files.local.terminal import Terminal


def test_the_line_has_rates_and_the_time_that_is_left() -> None:
    shown = io.StringIO()
    progress = Progress(Terminal(shown, io.StringIO()), 10, ranks=2)
    for number in range(4):
        progress.add(Answer(number, 0, [1] * 50, "", "stop", 50))
    line = progress.line(progress._started + 8)
    assert line == "4/10 answers  0.5/s  25 tokens/s  ETA 12s  (rank 0 of 2)"
    assert shown.getvalue() == ""  # no terminal: nothing so soon
    progress.finish()
    assert shown.getvalue().startswith("4/10 answers")


def test_totals_count_answers_and_prompts_apart() -> None:
    records = [
        {"sequence": sequence, "num_generated_tokens": 3, "finish_reason": end, "prompt_cut": 2}
        for sequence, end in ((0, "stop"), (1, "length"))
    ]
    line = Totals.of(records).line(1)
    assert (
        line == "2 answers to 1 rows, 6 tokens; 1 answers cut off at their longest; 1 prompts cut"
    )
