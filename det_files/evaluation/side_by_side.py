"""Two models' scores and answers as text, side by side, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from det_files.evaluation.exact_match import ExactMatch, same_object

WIDTH = 100  # columns
COLUMN = 48  # columns of either answer
GAP = "  | "
MAX_LINES = 8  # of an answer; a base model rambles


def render_examples(examples: Sequence[Mapping[str, str]]) -> str:
    """Returns examples, each with its input, its reference, and both answers in two columns.

    Args:
        examples: `{input, reference, base, finetuned}`; answers are marked right or wrong by
            their values, as `exact_match` counts them.
    """
    return "\n".join(_render_example(n, example) for n, example in enumerate(examples, 1))


def _render_example(number: int, example: Mapping[str, str]) -> str:
    columns = [
        _answer(title, example[key], example["reference"])
        for title, key in (("base", "base"), ("fine-tuned", "finetuned"))
    ]
    return "\n".join(
        [
            f"--- {number} ".ljust(WIDTH, "-"),
            *_labelled("input", example["input"]),
            *_labelled("expected", example["reference"]),
            *(
                f"{left:<{COLUMN}}{GAP}{right}".rstrip()
                for left, right in zip_longest(*columns, fillvalue="")
            ),
        ]
    )


def _labelled(label: str, text: str) -> list[str]:
    lead = f"{label:<10}"
    return textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead)
    ) or [lead.rstrip()]


def _answer(title: str, answer: str, reference: str) -> list[str]:
    verdict = "right" if same_object(answer, reference) else "wrong"
    text = " ".join(answer.split()) or "(nothing)"
    lines = textwrap.wrap(text, COLUMN, max_lines=MAX_LINES, placeholder=" …")
    return [f"{title}: {verdict}", *lines]


def render_scores(base: ExactMatch, finetuned: ExactMatch) -> str:
    """Returns a table of both models' exact matches."""
    rows = [
        ("exact match (parsed object)", base.objects_matched, finetuned.objects_matched),
        ("exact match (string)", base.strings_matched, finetuned.strings_matched),
        ("answer is JSON", base.json_answers, finetuned.json_answers),
    ]
    head = f"{base.rows} test rows"
    lines = [f"{head:<30}{'base':>16}{'fine-tuned':>16}"]
    for title, *counts in rows:
        cells = "".join(f"{f'{n}  {100 * n / base.rows:5.1f} %':>16}" for n in counts)
        lines.append(f"{title:<30}{cells}")
    return "\n".join(["-" * WIDTH, *lines])
