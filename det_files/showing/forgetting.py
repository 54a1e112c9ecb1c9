"""What fine-tuning has cost: perplexity of both models on general text that ships with the package.

The texts were written for this package, in English and Japanese, and are under its licence; one
document a paragraph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from det_files.evaluation.bootstrap import compare, estimate
from det_files.evaluation.estimates import Difference, Estimate
from det_files.evaluation.perplexity import TextLosses, score_texts
from det_files.trained.model import BASE, TUNED
from det_files.trained.pair import Pair

LANGUAGES = ("English", "Japanese")


@dataclass(frozen=True)
class Forgetting:
    """Perplexities per token of one language's texts."""

    language: str
    tokens: int
    base: Estimate
    tuned: Estimate
    difference: Difference  # fine-tuned less base: above 0, something was forgotten

    @property
    def growth(self) -> float:
        """By which share the perplexity has grown, in per cent."""
        return 100 * (self.tuned.value / self.base.value - 1)


def general_texts(language: str) -> list[str]:
    """The documents of a language, shipped with the package.

    Raises:
        ValueError: there are none in that language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"there are texts in {' and '.join(LANGUAGES)}, none in {language}")
    file = files("det_files.showing") / "general_text" / f"{language.lower()}.txt"
    paragraphs = file.read_text(encoding="utf-8").split("\n\n")
    return [paragraph.strip() for paragraph in paragraphs if paragraph.strip()]


def probe_forgetting(
    pair: Pair, languages: Sequence[str] = LANGUAGES, seed: int = 0
) -> list[Forgetting]:
    """Returns the perplexities of both models, by language; none of an encoder-decoder, which
    has no perplexity of a text.
    """
    if pair.is_seq2seq:
        return []

    def read(_: str, model: Any) -> dict[str, TextLosses]:
        return {
            language: score_texts(model, pair.tokenizer, general_texts(language))
            for language in languages
        }

    losses = pair.each(read)
    return [_forgetting(name, losses[BASE][name], losses[TUNED][name], seed) for name in languages]


def _forgetting(language: str, base: TextLosses, tuned: TextLosses, seed: int) -> Forgetting:
    before, after = base.perplexity(), tuned.perplexity()
    return Forgetting(
        language,
        sum(document.tokens for document in base.documents),
        estimate(before, seed=seed),
        estimate(after, seed=seed),
        compare(before, after, seed=seed),
    )
