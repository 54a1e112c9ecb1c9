"""The texts of a task of perplexity, and the windows through which a model reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from det_files.data.arguments import DataArguments
from det_files.data.rows import is_text
from det_files.evaluation.perplexity import (
    BATCH_TOKENS,
    MAX_LENGTH,
    DocumentLoss,
    TextLosses,
    Window,
    batch_windows,
    opening_token,
    plan_windows,
)
from det_files.evaluation.task_rows import read_rows
from det_files.evaluation.tasks import SECTION, TaskArguments
from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TaskTexts:
    """D documents and the forward passes over their windows.

    Attributes:
        documents: token ids of each, behind what opens a text.
        batches: windows of each forward pass.
        sizes: (characters, bytes) of what the windows cover of each document.
    """

    documents: list[list[int]]
    batches: list[list[Window]]
    sizes: list[tuple[int, int]]

    def losses(self, sums: torch.Tensor) -> TextLosses:
        """The documents' losses from [D, 3] sums of their windows."""
        return TextLosses(
            tuple(
                DocumentLoss(float(loss), int(tokens), int(right), *size)
                for (loss, tokens, right), size in zip(sums.tolist(), self.sizes, strict=True)
            )
        )


def load_texts(
    name: str,
    task: TaskArguments,
    args: DataArguments,
    tokenizer: PreTrainedTokenizerBase,
    model: Any,
) -> TaskTexts:
    """Returns a task's texts, of which `max_samples` windows are read.

    Raises:
        ConfigError: they are not there, or are no texts.
    """
    opening = opening_token(tokenizer)
    opened = [] if opening is None else [opening]
    texts = _read_texts(f"{SECTION}.{name}", task, args)
    documents = [
        opened + tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        for text in texts
    ]
    windows = plan_windows(model, documents)[: task.max_samples]
    if not windows:
        raise ConfigError(Fault(f"{SECTION}.{name}", "there is no token to score"))
    texts, documents = texts[: windows[-1].document + 1], documents[: windows[-1].document + 1]
    if windows[-1].end < len(documents[-1]):
        documents[-1] = documents[-1][: windows[-1].end]
        texts[-1] = str(tokenizer.decode(documents[-1][len(opened) :]))
    sizes = [(len(text), len(text.encode(errors="replace"))) for text in texts]
    batch_tokens = min(BATCH_TOKENS, task.batch_size * MAX_LENGTH)
    return TaskTexts(documents, list(batch_windows(model, windows, batch_tokens)), sizes)


def _read_texts(where: str, task: TaskArguments, args: DataArguments) -> list[str]:
    rows = read_rows(task, args)
    other = next((row.place for row in rows if not is_text(row.row)), None)
    if other is not None:
        reason = f'{other}: perplexity is of plain texts: *.txt, or rows of "text"'
        raise ConfigError(Fault(where, reason))
    return [row.shown for row in rows]
