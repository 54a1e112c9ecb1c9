"""The metrics by name: what each needs, and the scores that it gives of the rows of a test set.

    exact_match   exact_match (JSON values, else texts), exact_string_match
    valid_json    valid_json
    final_answer  final_answer_strict, final_answer_flexible
    rouge         rouge1, rouge2, rougeL
    bleu, chrf    bleu; chrf
    m2, errant    …_precision, …_recall, …_f0.5, against gold corrections
    length        answer_characters
    tokens        answer_tokens, cut_off
    perplexity    perplexity, character_perplexity, bits_per_byte, token_accuracy, of the model

Pure: texts in, statistics of rows out, of which `bootstrap` makes intervals and comparisons. Shares
and all scores that have a best are in per cent of it. Packages are imported by the metric that
needs them, so that names can be checked within milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from det_files.evaluation.row_statistics import (
    RowStatistics,
    f_scores,
    means,
    per_cent,
    precisions,
    recalls,
    shares,
)
from det_files.faults import Faults, did_you_mean

if TYPE_CHECKING:
    from det_files.evaluation.edit_counts import CorrectionScore
    from det_files.evaluation.m2_file import GoldSentence
    from det_files.evaluation.perplexity import TextLosses

# What a metric reads besides the answers.
REFERENCE, GOLD, TOKENS, TEXTS = "references", "gold corrections", "token counts", "texts"
HIGHER, LOWER = "higher", "lower"
PER_CENT = "%"
PERPLEXITY = "perplexity"  # the metric that is of texts, and not of answers


@dataclass(frozen=True)
class Scored:
    """An answer, and what it is scored by.

    Attributes:
        input: what was asked.
        answer: what a model said.
        reference: the right answer; None where the row has none.
        tokens: generated for the answer, its end token included; None where nobody counted.
        cut_off: whether the limit ended the answer; None where nobody knows.
    """

    input: str
    answer: str
    reference: str | None = None
    tokens: int | None = None
    cut_off: bool | None = None


@dataclass(frozen=True)
class Score:
    """A number that a metric gives: its name, unit, and which direction is better ("": neither)."""

    name: str
    unit: str = PER_CENT
    better: str = HIGHER


Statistics = dict[str, RowStatistics]


@dataclass(frozen=True)
class Metric:
    """A metric: what it needs, the scores that it gives in order, and what computes them.

    `of_rows` takes the rows and the gold corrections (empty unless needed); it is None for what is
    measured on the model itself.
    """

    needs: str
    scores: tuple[Score, ...]
    of_rows: Callable[[Sequence[Scored], Sequence[GoldSentence]], Statistics] | None


def score(
    names: Iterable[str], rows: Sequence[Scored], gold: Sequence[GoldSentence] = ()
) -> Statistics:
    """Returns statistics of the rows by the name of each score, in the order of the names.

    Args:
        names: of METRICS; their needs are met (`find_unmet_needs`).
        rows: answers; all statistics are of these rows in this order.
        gold: of m2 and errant; sentence `i` is what row `i` corrects.

    Raises:
        ConfigError: a package is missing; the message has the pip line.
        ValueError: a row lacks what a metric needs, there are not as many rows as gold sentences,
            or a metric is measured on the model.
        KeyError: there is no metric of a name.
    """
    found: Statistics = {}
    for name in names:
        of_rows = METRICS[name].of_rows
        if of_rows is None:
            raise ValueError(f"{name} is measured on the model, not on answers")
        found |= of_rows(rows, gold)
    return found


def find_unknown(path: str, names: Iterable[str], faults: Faults) -> None:
    """Notes each name that is no metric, with the nearest that is."""
    for name in names:
        if name not in METRICS:
            near = did_you_mean(name, METRICS) or f"; there are {', '.join(METRICS)}"
            faults.add(path, f'no metric is called "{name}"{near}')


def scores_of(names: Iterable[str]) -> dict[str, Score]:
    """The scores that metrics give, by name."""
    return {score.name: score for name in names for score in METRICS[name].scores}


def of_texts(losses: TextLosses) -> Statistics:
    """The scores of `perplexity`: of a model's losses of texts, a row a document."""
    return {
        PERPLEXITY: losses.perplexity(),
        "character_perplexity": losses.character_perplexity(),
        "bits_per_byte": losses.bits_per_byte(),
        "token_accuracy": per_cent(losses.token_accuracy()),
    }


def _exact_match(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    from det_files.evaluation.exact_match import same_object, same_text

    pairs = list(zip(*_pairs(rows), strict=True))
    return {
        "exact_match": shares([same_object(*pair) for pair in pairs], 100),
        "exact_string_match": shares([same_text(*pair) for pair in pairs], 100),
    }


def _valid_json(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    from det_files.evaluation.exact_match import NOT_JSON, parse_strictly

    return {"valid_json": shares([parse_strictly(r.answer) is not NOT_JSON for r in rows], 100)}


def _final_answer(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    from det_files.evaluation.final_answer import score_final_answers

    found = score_final_answers(*_pairs(rows))
    return {
        "final_answer_strict": shares(found.strict, 100),
        "final_answer_flexible": shares(found.flexible, 100),
    }


def _rouge(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    from det_files.evaluation.text_metrics import Rouge

    return Rouge().statistics(*_pairs(rows))


def _bleu(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    from det_files.evaluation.text_metrics import Bleu

    return Bleu().statistics(*_pairs(rows))


def _chrf(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    from det_files.evaluation.text_metrics import Chrf

    return Chrf().statistics(*_pairs(rows))


def _m2(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    from det_files.evaluation.maxmatch import score_corrections

    return _of_corrections("m2", score_corrections([row.answer for row in rows], gold))


def _errant(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    from det_files.evaluation.errant import score_with_errant

    return _of_corrections("errant", score_with_errant([row.answer for row in rows], gold))


def _of_corrections(name: str, found: CorrectionScore) -> Statistics:
    counts = found.rows()
    return {
        f"{name}_precision": per_cent(precisions(counts)),
        f"{name}_recall": per_cent(recalls(counts)),
        f"{name}_f0.5": per_cent(f_scores(counts, found.beta)),
    }


def _length(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    return {"answer_characters": means([len(row.answer) for row in rows])}


def _tokens(rows: Sequence[Scored], gold: Sequence[GoldSentence]) -> Statistics:
    counts = [row.tokens for row in rows if row.tokens is not None]
    ends = [row.cut_off for row in rows if row.cut_off is not None]
    if not len(counts) == len(ends) == len(rows):
        raise ValueError("not every answer has its count of tokens")
    return {"answer_tokens": means(counts), "cut_off": shares(ends, 100)}


def _pairs(rows: Sequence[Scored]) -> tuple[list[str], list[str]]:
    """(answers, references)."""
    references = [row.reference for row in rows if row.reference is not None]
    if len(references) != len(rows):
        raise ValueError(f"{len(rows) - len(references)} of {len(rows)} rows have no reference")
    return [row.answer for row in rows], references


def _corrections(name: str) -> tuple[Score, ...]:
    return tuple(Score(f"{name}_{part}") for part in ("precision", "recall", "f0.5"))


METRICS: Mapping[str, Metric] = {
    "exact_match": Metric(
        REFERENCE, (Score("exact_match"), Score("exact_string_match")), _exact_match
    ),
    "valid_json": Metric("", (Score("valid_json"),), _valid_json),
    "final_answer": Metric(
        REFERENCE, (Score("final_answer_strict"), Score("final_answer_flexible")), _final_answer
    ),
    "rouge": Metric(REFERENCE, (Score("rouge1"), Score("rouge2"), Score("rougeL")), _rouge),
    "bleu": Metric(REFERENCE, (Score("bleu"),), _bleu),
    "chrf": Metric(REFERENCE, (Score("chrf"),), _chrf),
    "m2": Metric(GOLD, _corrections("m2"), _m2),
    "errant": Metric(GOLD, _corrections("errant"), _errant),
    "length": Metric("", (Score("answer_characters", "characters", ""),), _length),
    "tokens": Metric(
        TOKENS,
        (Score("answer_tokens", "tokens", ""), Score("cut_off", better=LOWER)),
        _tokens,
    ),
    PERPLEXITY: Metric(
        TEXTS,
        (
            Score(PERPLEXITY, "", LOWER),
            Score("character_perplexity", "", LOWER),
            Score("bits_per_byte", "bits", LOWER),
            Score("token_accuracy"),
        ),
        None,
    ),
}
