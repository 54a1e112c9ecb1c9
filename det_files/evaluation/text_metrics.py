"""Scores of texts against references, as modules of `evaluate` (whose own need a hub to load).

All are per cent of their best, over all texts: ROUGE-1, -2 and -L (Lin 2004, F-measures, by
rouge-score), BLEU (Papineni et al. 2002, of the corpus, by sacrebleu), and exact match, in which
white space at the ends does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import datasets
import evaluate

_TEXTS = datasets.Features(
    {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
)


def _info(description: str) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description, citation="", inputs_description="", features=_TEXTS
    )


class Rouge(evaluate.Metric):  # type: ignore[misc]
    """{"rouge1", "rouge2", "rougeL"}: means of the rows' F-measures, in per cent."""

    NAMES = ("rouge1", "rouge2", "rougeL")

    def _info(self) -> evaluate.MetricInfo:
        return _info("ROUGE, by rouge-score, with stemming")

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(list(self.NAMES), use_stemmer=True)
        rows = [scorer.score(r, p) for p, r in zip(predictions, references, strict=True)]
        return {name: 100 * mean(row[name].fmeasure for row in rows) for name in self.NAMES}


class Bleu(evaluate.Metric):  # type: ignore[misc]
    """{"bleu"}: BLEU of the corpus, in per cent."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("BLEU, by sacrebleu, with its default tokenizer (13a)")

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        import sacrebleu

        return {"bleu": float(sacrebleu.corpus_bleu(list(predictions), [list(references)]).score)}


class ExactMatch(evaluate.Metric):  # type: ignore[misc]
    """{"exact_match"}: per cent of rows whose text is the reference."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("equality of texts, but for white space at their ends")

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        return {"exact_match": 100 * mean(p.strip() == r.strip() for p, r in pairs)}


def text_scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """All of them; nothing is written to disk."""
    scores: dict[str, Any] = {}
    for kind in (Rouge, Bleu, ExactMatch):
        metric = kind(keep_in_memory=True)
        scores |= metric.compute(predictions=list(predictions), references=list(references))
    return scores
