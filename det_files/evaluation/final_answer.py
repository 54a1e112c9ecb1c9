"""The final number of an answer, and whether it is the reference's, as GSM8K is scored.

Pure: texts in, numbers out. Numbers are compared exactly, by value: 18, 18.0 and 18.00 are the
same, 1/2 is 0.5, 0.33 is not 1/3. Commas may set off thousands; a currency and a per cent sign are
units, which do not count (50 % is 50).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

MARKER = "####"
_UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+"
# "1 1/2", "3/4" (but no date), "-1,234.50". A minus is a sign unless it may take away or lead from
# one number to another ("10-12").
_NUMBER = re.compile(
    r"(?P<minus>(?<![\w)\].-])-)?(?:[$€£¥](?P<behind>-)?)?"
    r"(?:(?:(?P<whole>\d++) )?(?<!/)(?P<over>\d++)\s?/\s?(?P<under>0*[1-9]\d*+)(?!/)"
    rf"|(?P<plain>{_UNSIGNED}))"
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))")
# Thousands in LaTeX, an escaped sign, the minus of typography.
_SPELLINGS = ((r"{,}", ","), (r"\!", ""), (r"\,", ""), (r"\$", "$"), (r"\%", "%"), ("−", "-"))


@dataclass(frozen=True)
class FinalAnswers:
    """Per row, whether the final number is the reference's; and how many rows stated one."""

    strict: tuple[bool, ...]  # as `strict_number`
    flexible: tuple[bool, ...]  # as `final_number`
    stated: int  # answers in which `final_number` finds one

    @property
    def rows(self) -> int:
        return len(self.flexible)


def final_number(text: str) -> Fraction | None:
    r"""The number that a text ends in; None where there is none.

    Behind "####", where it has it (Cobbe et al. 2021, arXiv:2110.14168), only what follows the last
    one counts; else what stands in the last \boxed{…}, else all of it. Of that, the last number.
    """
    matches = list(_NUMBER.finditer(_tidy(_declared(text, otherwise=text))))
    return _value(matches[-1]) if matches else None


def strict_number(text: str) -> Fraction | None:
    r"""The number that a text declares: the first thing behind its last "####" or in its \boxed{…}.

    None where it declares none, whatever numbers it has.
    """
    declared = _tidy(_declared(text, otherwise="")).lstrip(" \t*:")
    match = _NUMBER.match(declared)
    return None if match is None else _value(match)


def same_final_answer(answer: str, reference: str) -> bool:
    """Whether both end in the same number (`final_number`)."""
    found, expected = final_number(answer), final_number(reference)
    return found is not None and found == expected


def score_final_answers(answers: Sequence[str], references: Sequence[str]) -> FinalAnswers:
    """Returns which answers are right; answer `i` belongs to reference `i`.

    Raises:
        ValueError: no rows, not as many answers as references, or a reference without a number.
    """
    if len(answers) != len(references) or not answers:
        raise ValueError(f"{len(answers)} answers for {len(references)} references")
    expected = [final_number(reference) for reference in references]
    if None in expected:
        row = expected.index(None)
        raise ValueError(f"the reference of row {row} has no number: {references[row][-80:]!r}")
    found = [final_number(answer) for answer in answers]
    declared = [strict_number(answer) for answer in answers]
    return FinalAnswers(
        strict=tuple(left == right for left, right in zip(declared, expected, strict=True)),
        flexible=tuple(left == right for left, right in zip(found, expected, strict=True)),
        stated=sum(number is not None for number in found),
    )


def _declared(text: str, otherwise: str) -> str:
    if MARKER in text:
        return text.rpartition(MARKER)[2]
    boxes = _BOXED.findall(text)
    return str(boxes[-1]) if boxes else otherwise


def _tidy(text: str) -> str:
    for written, meant in _SPELLINGS:
        text = text.replace(written, meant)
    return _LATEX_FRACTION.sub(_plain_fraction, text)


def _plain_fraction(match: re.Match[str]) -> str:
    mixed = match.string[: match.start()][-1:].isdigit()
    return f"{' ' if mixed else ''}{match[1] or match[2]}/{match[3] or match[4]}"


def _value(match: re.Match[str]) -> Fraction | None:
    """None of a number with more digits than Python turns into one."""
    try:
        if match["over"]:
            value = Fraction(int(match["over"]), int(match["under"])) + int(match["whole"] or 0)
        else:
            value = Fraction(match["plain"].replace(",", ""))
    except ValueError:
        return None
    return -value if match["minus"] or match["behind"] else value
