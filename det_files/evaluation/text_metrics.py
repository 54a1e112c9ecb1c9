"""Scores of texts against references, as modules of `evaluate` (whose own need a hub to load).

All are per cent of their best, over all texts: ROUGE-1, -2 and -L (Lin 2004, F-measures, by
rouge-score), BLEU (Papineni et al. 2002) and chrF (Popović 2015), of the corpus, by sacrebleu, and
exact match, in which white space at the ends does not count.

Words are counted, and where a script has no spaces between them (Japanese, Chinese, Thai and the
like) characters: rouge-score would see nothing in such texts, and sacrebleu one word a sentence.
chrF counts characters in any script.

Each metric makes statistics of rows first (`text_statistics`), so that a score and the interval of
it (`bootstrap`) are of the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import datasets
import evaluate
import numpy as np

from det_files.evaluation.row_statistics import RowStatistics, means, shares

_TEXTS = datasets.Features(
    {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
)


# Scripts without spaces: Thai, Lao, Burmese, Khmer, kana, bopomofo, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_LETTER = re.compile(rf"(?P<unspaced>[{_UNSPACED}])|[^\W\d_]")


def is_unspaced(texts: Iterable[str]) -> bool:
    """Whether most letters of the texts are of scripts without spaces between words."""
    letters = [match["unspaced"] for text in texts for match in _LETTER.finditer(text)]
    return 2 * sum(letter is not None for letter in letters) > len(letters)


class _Words:
    """A tokenizer for rouge-score: its own words and stems, of letters of every script."""

    @cached_property
    def _stemmer(self) -> Any:
        from nltk.stem.porter import PorterStemmer

        return PorterStemmer()

    def tokenize(self, text: str) -> list[str]:
        """Words, those of ASCII without their endings; of scripts without spaces, characters."""
        return [self._stem(token) for token in _TOKEN.findall(text.lower())]

    def _stem(self, word: str) -> str:
        # As rouge-score: short words stay as they are.
        return str(self._stemmer.stem(word)) if len(word) > 3 and word.isascii() else word


def _info(description: str) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description, citation="", inputs_description="", features=_TEXTS
    )


class _Metric(evaluate.Metric):  # type: ignore[misc]
    """A metric that is kept in memory; `evaluate` would make a directory for it all the same."""

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _build_data_dir(self) -> str:
        return ""

    def statistics(
        self, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, RowStatistics]:
        """By the name of each score; row `i` is of prediction and reference `i`."""
        raise NotImplementedError

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        found = self.statistics(predictions, references)
        return {name: statistics.value for name, statistics in found.items()}


class Rouge(_Metric):
    """{"rouge1", "rouge2", "rougeL"}: means of the rows' F-measures, in per cent."""

    NAMES = ("rouge1", "rouge2", "rougeL")

    def _info(self) -> evaluate.MetricInfo:
        return _info("ROUGE, by rouge-score, with stemming")

    def statistics(
        self, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, RowStatistics]:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(list(self.NAMES), tokenizer=_Words())
        rows = [scorer.score(r, p) for p, r in zip(predictions, references, strict=True)]
        return {name: means([row[name].fmeasure for row in rows], 100) for name in self.NAMES}


class Bleu(_Metric):
    """{"bleu"}: BLEU of the corpus, in per cent."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("BLEU, by sacrebleu, of its words (13a), or of characters (char)")

    def statistics(
        self, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, RowStatistics]:
        from sacrebleu.metrics.bleu import BLEU

        tokens = "char" if is_unspaced(references) else "13a"
        return {"bleu": _of_corpus(BLEU(tokenize=tokens), predictions, references)}


class Chrf(_Metric):
    """{"chrf"}: chrF2 of the corpus, of 1 to 6 characters and no words, in per cent."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("chrF2, by sacrebleu")

    def statistics(
        self, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, RowStatistics]:
        from sacrebleu.metrics.chrf import CHRF

        return {"chrf": _of_corpus(CHRF(), predictions, references)}


def _of_corpus(metric: Any, predictions: Sequence[str], references: Sequence[str]) -> RowStatistics:
    """What sacrebleu counts in each row, and its score of sums, by what its own bootstrap calls."""
    rows = metric._extract_corpus_statistics(list(predictions), [list(references)])

    def score(sums: np.ndarray) -> np.ndarray:
        counts = sums.round().astype(np.int64)
        flat = [
            metric._compute_score_from_stats(row).score
            for row in counts.reshape(-1, counts.shape[-1]).tolist()
        ]
        return np.array(flat).reshape(counts.shape[:-1])

    return RowStatistics(np.array(rows, dtype=np.float64), score)


class ExactMatch(_Metric):
    """{"exact_match"}: per cent of rows whose text is the reference."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("equality of texts, but for white space at their ends")

    def statistics(
        self, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, RowStatistics]:
        pairs = zip(predictions, references, strict=True)
        return {"exact_match": shares([p.strip() == r.strip() for p, r in pairs], 100)}


_METRICS = (Rouge, Bleu, Chrf, ExactMatch)


def text_scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """All of them; nothing is written to disk."""
    scores: dict[str, Any] = {}
    for kind in _METRICS:
        metric = kind()
        scores |= metric.compute(predictions=list(predictions), references=list(references))
    return scores


def text_statistics(
    predictions: Sequence[str], references: Sequence[str]
) -> dict[str, RowStatistics]:
    """The statistics of the same scores, for their intervals and for comparisons."""
    found: dict[str, RowStatistics] = {}
    for kind in _METRICS:
        found |= kind().statistics(predictions, references)
    return found
