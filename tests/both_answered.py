"""Answers of both models as a test says them, without models."""

from __future__ import annotations

from collections.abc import Sequence

from det_files.generation.answers import Answer
from det_files.showing.asking import Asked, BothAnswered, Given
from det_files.trained.model import BASE, TUNED


def answered(
    references: Sequence[str | None], base: Sequence[str], tuned: Sequence[str]
) -> BothAnswered:
    """Answers of as many tokens as they have characters; those with "…" were cut off."""
    questions = [Asked(f"question {n}", [1], r, 3) for n, r in enumerate(references)]
    given = {
        which: [
            Given(Answer(n, 0, [0] * len(t), t, "length" if "…" in t else "stop", len(t)), 0.5 + n)
            for n, t in enumerate(texts)
        ]
        for which, texts in ((BASE, base), (TUNED, tuned))
    }
    return BothAnswered(questions, given, 20)
