"""load_preferences: the sources' rows as the datasets that TRL's trainers take, and their order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from det_files.data.arguments import DataArguments
from det_files.data.dataset import Examples, TrainingData, load_data, order_of
from det_files.data.mixture import MixtureOrder
from det_files.data.preference_tokens import (
    ANSWERS,
    BAD,
    GOOD,
    PAIRS,
    PROMPT,
    PROMPTS,
    REFERENCE,
    preference_tokens,
)
from det_files.data.templates import Template

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

FORMS = {"dpo": PAIRS, "orpo": PAIRS, "reward": PAIRS, "kto": ANSWERS, "grpo": PROMPTS}
Row = dict[str, Any]


@dataclass(frozen=True)
class PreferenceData:
    """What a trainer of preferences needs.

    The columns of `train` and `val` are those that TRL's own preparation would make:

    - pairs: prompt_ids, chosen_ids, rejected_ids;
    - answers: prompt_ids, completion_ids, label;
    - prompts: prompt_ids, prompt (their text), reference (text).

    Attributes:
        order: which rows of train an epoch takes, and when.
        lengths: tokens of each row of train [N], of its longer answer.
        template: the one that made the tokens; of several sources, the first one's.
    """

    train: Dataset
    val: Dataset
    order: MixtureOrder
    lengths: np.ndarray
    template: Template
    source: TrainingData

    def fingerprint(self) -> str:
        """See TrainingData.fingerprint."""
        return self.source.fingerprint()


def load_preferences(
    method: str,
    args: DataArguments,
    tokenizer: PreTrainedTokenizerBase,
    model_config: PretrainedConfig | None = None,
    seed: int = 42,
    reserved: int = 0,
) -> PreferenceData:
    """Reads the rows in the method's form, or takes what the token cache has of them.

    The datasets are in memory, on every rank: 4 bytes a token. See `load_data` for the arguments.

    Raises:
        ConfigError: see `load_data`; rows that prefer nothing are bad ones.
    """
    form = FORMS[method]
    tokens = partial(preference_tokens, form, args.equal_answers == "drop")
    source = load_data(args, tokenizer, model_config, seed, tokens, reserved=(reserved, 0))
    make = {PAIRS: _pair, ANSWERS: _answers, PROMPTS: partial(_prompt, tokenizer)}[form]
    train, sizes = _rows(source.train, make)
    val, _ = _rows(source.val, make)
    return PreferenceData(
        train=_dataset(train),
        val=_dataset(val),
        order=order_of(sizes, args),
        lengths=np.array([_length(row) for row in train], dtype=np.int64),
        template=source.template,
        source=source,
    )


def _rows(examples: Examples, make: Any) -> tuple[list[Row], list[int]]:
    """(rows, how many each source has); a record may give several."""
    rows: list[Row] = []
    sizes = []
    number = 0
    for size in examples.sizes:
        before = len(rows)
        for _ in range(size):
            rows += make(*examples.read(number))
            number += 1
        sizes.append(len(rows) - before)
    return rows, sizes


def _pair(tokens: np.ndarray, marks: np.ndarray) -> list[Row]:
    names = {"prompt_ids": PROMPT, "chosen_ids": GOOD, "rejected_ids": BAD}
    return [{name: _of(tokens, marks, mark) for name, mark in names.items()}]


def _answers(tokens: np.ndarray, marks: np.ndarray) -> list[Row]:
    prompt = _of(tokens, marks, PROMPT)
    answers = ((mark == GOOD, _of(tokens, marks, mark)) for mark in (GOOD, BAD))
    return [
        {"prompt_ids": prompt, "completion_ids": answer, "label": good}
        for good, answer in answers
        if len(answer)
    ]


def _prompt(tokenizer: PreTrainedTokenizerBase, tokens: np.ndarray, marks: np.ndarray) -> list[Row]:
    prompt = _of(tokens, marks, PROMPT)
    reference = bytes(tokens[marks == REFERENCE].tolist()).decode("utf-8")
    return [{"prompt_ids": prompt, "prompt": tokenizer.decode(prompt), "reference": reference}]


def _of(tokens: np.ndarray, marks: np.ndarray, mark: int) -> np.ndarray:
    return tokens[marks == mark].astype(np.int32)


def _length(row: Row) -> int:
    answers = ("chosen_ids", "rejected_ids", "completion_ids")
    return len(row["prompt_ids"]) + max((len(row[n]) for n in answers if n in row), default=0)


def _dataset(rows: list[Row]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list(rows)
