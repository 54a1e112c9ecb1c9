"""Answers stand side by side, marked, cut and escaped."""

from __future__ import annotations

from both_answered import answered

from det_files.showing.answers import show_answers


def test_both_answers_stand_below_the_question() -> None:
    both = answered(['{"a": 1}'] * 3, ["<script>x</script>…"] * 3, ['{"a": 1}'] * 3)
    shown = show_answers(both, 2)
    assert shown.html.count('class="asked"') == 2
    assert "<script>" not in shown.html
    assert "&lt;script&gt;x" in shown.html
    assert shown.html.index("question 0") < shown.html.index("question 1")
    assert shown.html.count(">wrong<") == shown.html.count(">right<") == 2
    assert "20 tokens, cut off" not in shown.html
    assert "19 tokens, cut off" in repr(shown).replace("\n", " ")


def test_a_long_answer_is_cut() -> None:
    shown = show_answers(answered([None], ["so " * 1000], [""])).html
    assert len(shown) < 2000
    assert "so so …" in shown
    assert "(nothing)" in shown
    assert "chip" not in shown


def test_nothing_asked_is_said() -> None:
    assert "Nothing was asked" in repr(show_answers(answered([], [], [])))
