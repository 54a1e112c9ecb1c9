"""Rows for the contenders that are not ours: prompt and answer under the tokenizer's template."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

IGNORED = -100


def read_rows(data: str | Path, limit: int | None = None) -> list[dict[str, str]]:
    """The first `limit` rows {"input", "output"} of the train split.

    Raises:
        ValueError: there are none, or they are rows of another kind.
    """
    rows = list(itertools.islice(_rows(Path(data)), limit))
    if not rows:
        raise ValueError(f"{data} has no train/*.jsonl with rows")
    if not all({"input", "output"} <= row.keys() for row in rows):
        raise ValueError(f'{data}: the benchmark takes rows {{"input", "output"}} only')
    return [{"input": row["input"], "output": row["output"]} for row in rows]


def _rows(data: Path) -> Iterator[dict[str, str]]:
    for path in sorted((data / "train").glob("*.jsonl")):
        with path.open(encoding="utf-8") as stream:
            yield from (json.loads(line) for line in stream if line.strip())


def prompt_completion(row: Mapping[str, str], chat: bool) -> dict[str, Any]:
    """A row as TRL's prompt-completion type, conversational where there is a chat template."""
    if not chat:
        return {"prompt": row["input"], "completion": row["output"]}
    return {
        "prompt": [{"role": "user", "content": row["input"]}],
        "completion": [{"role": "assistant", "content": row["output"]}],
    }


def tokenize(row: Mapping[str, str], tokenizer: Any) -> dict[str, list[int]]:
    """input_ids, attention_mask and labels [S] of a row; the prompt's labels are ignored."""
    if tokenizer.chat_template:
        whole = prompt_completion(row, chat=True)
        prompt = _chat(tokenizer, whole["prompt"], add_generation_prompt=True)
        ids = _chat(tokenizer, whole["prompt"] + whole["completion"])
    else:
        prompt = tokenizer(row["input"])["input_ids"]
        answer = tokenizer(row["output"], add_special_tokens=False)["input_ids"]
        ids = [*prompt, *answer, tokenizer.eos_token_id]
    labels = [IGNORED] * len(prompt) + ids[len(prompt) :]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def _chat(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> list[int]:
    found = tokenizer.apply_chat_template(messages, return_dict=True, **options)["input_ids"]
    return list(found)
