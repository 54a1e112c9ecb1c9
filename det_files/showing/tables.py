"""A notebook's tables: the run, scores with intervals, forgetting, and the merged model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from det_files.evaluation.bootstrap import RESAMPLES
from det_files.evaluation.estimates import Difference
from det_files.evaluation.metrics import LOWER
from det_files.export.check import Difference as LogitDifference
from det_files.local.metrics import TRAINING, VALIDATION, Row, series
from det_files.local.page import number, setting, table
from det_files.showing.forgetting import Forgetting
from det_files.showing.fragment import Fragment
from det_files.showing.run import ShownRun
from det_files.showing.scores import Compared
from det_files.tuning.arguments import BEFORE_ROWS

_SIGNIFICANT = 0.05


def show_run(run: ShownRun) -> Fragment:
    """What was trained, how, on what, and what came of it."""
    arguments = run.checkpoint.run
    sources = arguments["data_arguments"].get("sources") or []
    facts = {
        "run": run.name,
        "model": run.model_name,
        "method": _method(arguments["tuning_arguments"]),
        "data": ", ".join(str(s.get("path") or s.get("dataset_name")) for s in sources),
        "learning rate": setting(arguments["training_arguments"].get("learning_rate", "")),
        "checkpoint": run.checkpoint.path.name
        + ("" if run.steps is None else f", after {run.steps} steps"),
        "losses": _losses(run.rows),
    }
    body = [([escape(name), escape(value)], False) for name, value in facts.items() if value]
    return Fragment(table([], body, "names"))


def _method(tuning: Mapping[str, Any]) -> str:
    """The method, with what says how much it trains."""
    method = str(tuning.get("method", "full"))
    sized = {"lora": ("r", "lora_alpha"), "dora": ("r", "lora_alpha")}
    names = sized.get(method, ("num_virtual_tokens",) if method in BEFORE_ROWS else ())
    return ", ".join([method, *(f"{name} {setting(tuning.get(name))}" for name in names)])


def _losses(rows: Sequence[Row]) -> str:
    found = []
    for label, group, name in (("training", TRAINING, "loss"), ("eval", VALIDATION, "eval_loss")):
        _, values = series(rows, group, name)
        if values:
            found.append(f"{label} {number(values[0])} → {number(values[-1])}")
    return ", ".join(found)


def show_scores(scores: Sequence[Compared]) -> Fragment:
    """Every measure with its interval for both models, their difference, and its p-value."""
    body = [
        (
            [
                escape(score.title),
                score.base.show(),
                score.tuned.show(),
                _signed(score.difference),
                _p_value(score.difference),
            ],
            False,
        )
        for score in scores
    ]
    rows = scores[0].base.rows
    remark = (
        f"{rows} test rows. In brackets 95 % intervals: Wilson's of shares, of all else and of "
        f"differences a paired bootstrap over rows. p: approximate randomisation, two-sided, "
        f"{RESAMPLES:,} times."
    )
    return Fragment(table(["", "base", "fine-tuned", "difference", "p"], body) + _note(remark))


def show_verdict(scores: Sequence[Compared]) -> Fragment:
    """One sentence on the task's own measure."""
    first = scores[0]
    gained = first.difference
    sure = gained.p_value < _SIGNIFICANT and (gained.low > 0 or gained.high < 0)
    rows = f"On {gained.rows} test rows"
    name = escape(first.title.removesuffix(", %"))
    size = f"{abs(gained.value):.1f} points [{gained.low:+.1f}, {gained.high:+.1f}]"
    p_value = _p(gained)
    if not sure:
        text = f"{rows} the models cannot be told apart by “{name}”: {p_value}; ask more rows."
        return _verdict(text, is_good=False)
    better = (gained.value > 0) == (first.score.better != LOWER)
    word = "better" if better else "worse"
    text = f"{rows} the fine-tuned model is <b>{word}</b> by {size} in “{name}” ({p_value})."
    return _verdict(text, better)


def show_forgetting(found: Sequence[Forgetting]) -> Fragment:
    """Perplexities on general text, and by how much they have grown."""
    if not found:
        return Fragment(_note("An encoder-decoder has no perplexity of a text."))
    body = [
        (
            [
                escape(probe.language),
                f"{probe.tokens:,}",
                probe.base.show(2),
                probe.tuned.show(2),
                _signed(probe.difference, 2),
                f"{probe.growth:+.1f} %",
                _p_value(probe.difference),
            ],
            False,
        )
        for probe in found
    ]
    head = ["general text", "tokens", "base", "fine-tuned", "difference", "growth", "p"]
    remark = (
        "Perplexity a token; lower is better. A growth of a few per cent is usual; of a half or "
        "more, the model has lost much of what it knew: train less, with a lower learning rate, or "
        "mix general text in."
    )
    return Fragment(table(head, body) + _note(remark))


def show_merged(difference: LogitDifference | None, why_not: str | None = None) -> Fragment:
    """Whether the merged model computes what base and adapter do."""
    if difference is None:
        return Fragment(_note(f"Nothing is merged: {why_not or 'the check was left out'}."))
    share = difference.greatest / difference.largest_logit
    facts = {
        "greatest difference of logits": f"{difference.greatest:.3g}",
        "of the largest logit": f"{100 * share:.2g} %",
        "tolerated": f"{100 * difference.tolerance:.2g} %",
        "prompts": str(difference.prompts),
        "tokenizers": "cut texts alike" if difference.same_tokens else "do not cut texts alike",
    }
    same = difference.is_small
    verdict = "computes what base and adapter compute" if same else "computes something else"
    body = [([name, value], False) for name, value in facts.items()]
    return _verdict(f"The merged model {verdict}.", same) + Fragment(table([], body, "names"))


def _verdict(html: str, is_good: bool) -> Fragment:
    return Fragment(f'<p class="verdict{"" if is_good else " doubt"}">{html}</p>')


def _signed(difference: Difference, digits: int = 1) -> str:
    return difference.show(digits).partition(", p =")[0]


def _p_value(difference: Difference) -> str:
    smallest = 1 / (RESAMPLES + 1)
    return "&lt; 0.001" if difference.p_value <= smallest * 1.5 else f"{difference.p_value:.2g}"


def _p(difference: Difference) -> str:
    value = _p_value(difference)
    return f"p {value}" if value.startswith("&lt;") else f"p = {value}"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'
