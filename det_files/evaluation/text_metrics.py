"""Scores of texts against references, as modules of `evaluate` (whose own need a hub to load).

All are per cent of their best, over all texts: ROUGE-1, -2 and -L (Lin 2004, F-measures, by
rouge-score), BLEU (Papineni et al. 2002, of the corpus, by sacrebleu), and exact match, in which
white space at the ends does not count.

Words are counted, and where a script has no spaces between them (Japanese, Chinese, Thai and the
like) characters: rouge-score would see nothing in such texts, and sacrebleu one word a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from statistics import mean
from typing import Any

import datasets
import evaluate

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


class Rouge(_Metric):
    """{"rouge1", "rouge2", "rougeL"}: means of the rows' F-measures, in per cent."""

    NAMES = ("rouge1", "rouge2", "rougeL")

    def _info(self) -> evaluate.MetricInfo:
        return _info("ROUGE, by rouge-score, with stemming")

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(list(self.NAMES), tokenizer=_Words())
        rows = [scorer.score(r, p) for p, r in zip(predictions, references, strict=True)]
        return {name: 100 * mean(row[name].fmeasure for row in rows) for name in self.NAMES}


class Bleu(_Metric):
    """{"bleu"}: BLEU of the corpus, in per cent."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("BLEU, by sacrebleu, of its words (13a), or of characters (char)")

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        import sacrebleu

        tokens = "char" if is_unspaced(references) else "13a"
        found = sacrebleu.corpus_bleu(list(predictions), [list(references)], tokenize=tokens)
        return {"bleu": float(found.score)}


class ExactMatch(_Metric):
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
        metric = kind()
        scores |= metric.compute(predictions=list(predictions), references=list(references))
    return scores
