"""Answers of both models side by side, as HTML."""

from __future__ import annotations

from html import escape

from det_files.showing.asking import Asked, BothAnswered, Given
from det_files.showing.fragment import Fragment
from det_files.showing.scores import right_or_wrong
from det_files.trained.pair import NAMES

_LONGEST = 900  # characters of a text; a base model rambles


def show_answers(answered: BothAnswered, first: int | None = None) -> Fragment:
    """The (`first` so many) questions, each with its right answer and both models' answers.

    Where the task has right and wrong answers, each is marked so, as its score counts it.
    """
    marks = {which: right_or_wrong(answered, which) for which in NAMES}
    blocks = [
        _question(asked, {which: (answered.given[which][n], marks[which][n]) for which in NAMES})
        for n, asked in enumerate(answered.questions[:first])
    ]
    return Fragment("".join(blocks) or '<p class="note">Nothing was asked.</p>')


def _question(asked: Asked, answers: dict[str, tuple[Given, bool | None]]) -> str:
    lines = [("question", asked.shown)]
    if asked.reference is not None:
        lines.append(("expected", asked.reference))
    head = "".join(f"<dt>{label}</dt><dd>{escape(_cut(text))}</dd>" for label, text in lines)
    both = "".join(_answer(NAMES[which], *answers[which]) for which in NAMES)
    return f'<div class="asked"><dl>{head}</dl><div class="both">{both}</div></div>'


def _answer(name: str, given: Given, right: bool | None) -> str:
    verdict = "" if right is None else "right" if right else "wrong"
    chip = f'<span class="chip {verdict}">{verdict}</span>' if verdict else ""
    count = given.answer.num_generated_tokens
    tokens = f"{count} token{'s' * (count != 1)}"
    return (
        f"<div><b>{escape(name)}</b>{chip}<p>{escape(_cut(given.answer.text)) or '(nothing)'}</p>"
        f"<small>{tokens}{'' if given.ended else ', cut off'}</small></div>"
    )


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} …"
