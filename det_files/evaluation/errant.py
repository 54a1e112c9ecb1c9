"""ERRANT's precision, recall and F of grammatical corrections; an optional extra, for English.

Bryant, Felice and Briscoe 2017, "Automatic Annotation and Evaluation of Error Types for Grammatical
Error Correction". The package aligns a source with a correction by their words' classes, so a
system's edits do not depend on the gold, as those of `maxmatch` do; its gold should be ERRANT's,
too. What counts follows its span-based comparison (`errant_compare`): an edit is right where its
offsets and its words are the gold's; edits of type UNK are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from det_files.evaluation.edit_counts import (
    BETA,
    CorrectionScore,
    EditCounts,
    ScoredSentence,
    SystemEdit,
)
from det_files.evaluation.m2_file import GoldEdit, GoldSentence
from det_files.faults import ConfigError

REQUIREMENT = "pip install errant==3.0.2 && python -m spacy download en_core_web_sm"
_UNKNOWN = "UNK"  # an error that its annotator did not correct
# (start, end, correction) of one of a system's edits, in tokens of the source.
Change = tuple[int, int, str]


def score_with_errant(
    predictions: Sequence[str], gold: Sequence[GoldSentence], *, beta: float = BETA
) -> CorrectionScore:
    """Returns the scores of a system's sentences; prediction `i` is of gold sentence `i`.

    Sentences are tokenized as the gold's sources are, by blanks.

    Raises:
        ConfigError: errant or its spaCy model is missing here.
        ValueError: not as many predictions as gold sentences.
    """
    annotator = load_annotator()
    pairs = zip([sentence.source for sentence in gold], predictions, strict=True)
    return score_changes([changes_of(annotator, *pair) for pair in pairs], gold, beta=beta)


def load_annotator() -> Any:
    """Returns ERRANT's annotator of English.

    Raises:
        ConfigError: errant or its spaCy model is missing here.
    """
    try:
        import errant

        return errant.load("en")
    except (ImportError, OSError) as error:
        reason = f"ERRANT needs packages that are missing ({error}): {REQUIREMENT}"
        raise ConfigError(reason) from error


def changes_of(annotator: Any, source: str, prediction: str) -> list[Change]:
    """Returns the edits that lead from a source to a prediction, both tokenized by blanks."""
    tokens, words = source.split(), prediction.split()
    if tokens == words:
        return []
    if not tokens or not words:  # nothing to align
        return [(0, len(tokens), " ".join(words))]
    parsed = (annotator.parse(" ".join(text)) for text in (tokens, words))
    return [(edit.o_start, edit.o_end, edit.c_str) for edit in annotator.annotate(*parsed)]


def score_changes(
    changes: Sequence[Sequence[Change]], gold: Sequence[GoldSentence], *, beta: float = BETA
) -> CorrectionScore:
    """Returns the scores of edits that are known; those at `i` are of gold sentence `i`.

    Of several annotators each sentence takes the one that makes the F_beta of all sentences up to
    it highest, to four digits; then the one with more correct edits, fewer wrong, fewer missed.

    Raises:
        ValueError: not as many lists of edits as gold sentences.
    """
    if len(changes) != len(gold):
        raise ValueError(f"{len(changes)} predictions for {len(gold)} gold sentences")
    total, scored = EditCounts(), []
    for found, sentence in zip(changes, gold, strict=True):
        choices = [
            _score_sentence(found, sentence, annotator, edits)
            for annotator, edits in sentence.annotators.items()
        ]
        chosen = max(choices, key=lambda choice: _rank(total, choice.counts, beta))
        scored.append(chosen)
        total += chosen.counts
    return CorrectionScore(tuple(scored), beta)


def _rank(total: EditCounts, counts: EditCounts, beta: float) -> tuple[float, int, int, int]:
    wrong, missed = counts.proposed - counts.correct, counts.gold - counts.correct
    return round((total + counts).f_score(beta), 4), counts.correct, -wrong, -missed


def _score_sentence(
    changes: Sequence[Change], sentence: GoldSentence, annotator: int, gold: Sequence[GoldEdit]
) -> ScoredSentence:
    left = [edit for edit in gold if edit.kind != _UNKNOWN]
    count, edits = len(left), []
    for start, end, correction in changes:
        fitting = [
            e for e in left if (e.start, e.end) == (start, end) and correction in e.corrections
        ]
        if fitting:
            left.remove(fitting[0])  # each counts once
        original = " ".join(sentence.tokens[start:end])
        edits.append(SystemEdit(start, end, original, correction, bool(fitting)))
    counts = EditCounts(sum(edit.correct for edit in edits), len(edits), count)
    return ScoredSentence(counts, annotator, tuple(edits))
