"""Exact perplexity of texts under a causal language model, through windows that overlap.

D documents, T tokens of one, W tokens of a window, V vocabulary. A document that is longer than a
window is read in several; each window scores the tokens that none has scored before:

    tokens    p 0 1 2 3 4 5 6 7 8 9      p: what opens a text, never scored
    window 1  . x x x x x                W = 6, stride = 3
    window 2        . . . x x x          at least W - stride tokens of context
    window 3              . . . x x

as in transformers' guide "Perplexity of fixed-length models". Each token is scored once, so a text
that fits into one window has the value of a single forward pass. Logits are computed of scored
positions alone, a chunk at a time ([C, V], see `losses`), or where an architecture is not known
here of one window.

A text's first token is predicted from what opens texts: the tokenizer's BOS token, else its EOS
token, which stands between texts in training, as in lm-evaluation-harness. Without either
(`opening=None`) it is not scored, and the counts of characters and bytes, being of the whole text,
make those measures a little too small. Perplexities per token compare models with one tokenizer;
bits per byte and perplexity per character compare any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from det_files.architectures import architecture_of
from det_files.data.tokenization import IGNORED
from det_files.evaluation.row_statistics import RowStatistics, perplexities, ratios
from det_files.generation.decoding import evaluating
from det_files.loss_head import install_loss_head, language_model, supervised
from det_files.losses import row_statistics
from det_files.tuning.prompt_state import has_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_LENGTH = 1024  # tokens of a window, where the model has more positions
BATCH_TOKENS = 8192  # of a forward pass, padding included


@dataclass(frozen=True)
class DocumentLoss:
    """What one document was worth: -log p in nats over its scored tokens, and its size."""

    loss: float
    tokens: int  # scored
    right: int  # of them the likeliest
    characters: int
    bytes: int  # of UTF-8


@dataclass(frozen=True)
class TextLosses:
    """All documents in order; each measure as statistics of documents, for intervals."""

    documents: tuple[DocumentLoss, ...]

    def perplexity(self) -> RowStatistics:
        """Per token: exp(loss / tokens)."""
        return perplexities(self._all("loss"), self._all("tokens"))

    def character_perplexity(self) -> RowStatistics:
        """Per character: exp(loss / characters)."""
        return perplexities(self._all("loss"), self._all("characters"))

    def bits_per_byte(self) -> RowStatistics:
        """loss / ln 2 / bytes."""
        return ratios(self._all("loss"), self._all("bytes"), 1 / math.log(2))

    def token_accuracy(self) -> RowStatistics:
        """Share of tokens that were the likeliest."""
        return ratios(self._all("right"), self._all("tokens"))

    def _all(self, name: str) -> list[float]:
        return [float(getattr(document, name)) for document in self.documents]


def score_texts(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_length: int | None = None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> TextLosses:
    """Returns the losses of texts under a causal model, on its device and in its precision.

    The model gets a loss head (`install_loss_head`), which leaves it as it was for other callers.

    Args:
        model: a transformers model or a peft model around one; an adapter that is off stays off.
        tokenizer: the model's.
        texts: documents; each stands alone.
        max_length: W, in tokens; by default the model's positions, at most MAX_LENGTH.
        stride: tokens that each window but the first scores, 1 to W - 1; by default half of W.
        batch_tokens: of the windows of a forward pass together; one window runs in any case.

    Raises:
        ValueError: the model is an encoder-decoder, or `max_length` or `stride` are out of range.
    """
    opening = opening_token(tokenizer)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    sums = score_tokens(
        model,
        ids,
        opening=opening,
        max_length=max_length,
        stride=stride,
        batch_tokens=batch_tokens,
    )
    return TextLosses(
        tuple(
            DocumentLoss(float(loss), int(tokens), int(right), len(text), len(text.encode()))
            for (loss, tokens, right), text in zip(sums.tolist(), texts, strict=True)
        )
    )


def opening_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id that a text's first token is predicted from: BOS, else EOS, else none."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    found = eos if bos is None else bos
    return None if found is None else int(found)


@torch.no_grad()
def score_tokens(
    model: Any,
    documents: Sequence[Sequence[int]],
    *,
    opening: int | None,
    max_length: int | None = None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> torch.Tensor:
    """[D, 3] of float64: each document's loss in nats, scored tokens, and tokens guessed right.

    See `score_texts`; `opening` is put before each document, unless it is None.
    """
    opened = [([] if opening is None else [opening]) + list(ids) for ids in documents]
    windows = plan_windows(model, opened, max_length, stride)
    sums = torch.zeros(len(documents), 3, dtype=torch.float64)
    install_loss_head(model)
    with evaluating(model):
        for batch in batch_windows(model, windows, batch_tokens):
            found = score_windows(model, opened, batch)
            sums.index_add_(0, torch.tensor([w.document for w in batch]), found.cpu())
    return sums


@dataclass(frozen=True)
class Window:
    """A part of a document, `begin` to before `end`, and the first token in it that is scored."""

    document: int
    begin: int
    end: int
    scored: int

    @property
    def length(self) -> int:
        return self.end - self.begin


def plan_windows(
    model: Any,
    documents: Sequence[Sequence[int]],
    max_length: int | None = None,
    stride: int | None = None,
) -> list[Window]:
    """Returns the windows over documents that have been opened, in their order.

    Raises:
        ValueError: see `score_texts`.
    """
    causal = language_model(model)
    if causal.config.is_encoder_decoder:
        raise ValueError(f"{type(causal).__name__} is an encoder-decoder: it has no perplexity")
    length = _window_length(model, max_length)
    step = length // 2 if stride is None else stride
    if not 1 <= step < length:
        raise ValueError(f"expected a stride of 1 to {length - 1} tokens, got {step}")
    return [
        Window(number, begin, end, scored)
        for number, ids in enumerate(documents)
        for begin, end, scored in windows_of(len(ids), length, step)
    ]


def windows_of(tokens: int, length: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(begin, end, first scored token) of each window over so many tokens; token 0 is never scored.

    A window has at most `length` tokens and, but for the first, scores at most `stride`.
    """
    begin, scored = 0, 1
    while scored < tokens:
        end = min(begin + length, tokens)
        yield begin, end, scored
        scored = end
        begin = end + stride - length


def _window_length(model: Any, max_length: int | None) -> int:
    positions = getattr(language_model(model).config, "max_position_embeddings", None)
    if isinstance(positions, int) and has_prompt(model):
        positions -= model.active_peft_config.num_virtual_tokens
    if max_length is None:
        return min(MAX_LENGTH, positions) if isinstance(positions, int) else MAX_LENGTH
    if max_length < 2 or (isinstance(positions, int) and max_length > positions):
        raise ValueError(f"expected windows of 2 to {positions or 'any'} tokens, got {max_length}")
    return max_length


def batch_windows(
    model: Any, windows: Sequence[Window], batch_tokens: int = BATCH_TOKENS
) -> Iterator[list[Window]]:
    """Yields the windows of each forward pass, of like lengths, so that little is padded."""
    if architecture_of(language_model(model).config) is None:
        batch_tokens = 0  # logits of all that is scored are held: one window at a time
    batch: list[Window] = []
    for window in sorted(windows, key=lambda w: -w.length):
        if batch and batch[0].length * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


@torch.no_grad()
def score_windows(
    model: Any, documents: Sequence[Sequence[int]], batch: Sequence[Window]
) -> torch.Tensor:
    """[B, 3] of float64: the sums of each window, by one forward pass.

    The model is in evaluation mode and has a loss head. Rows are padded on the right, which no
    token looks at.
    """
    rows = [documents[window.document][window.begin : window.end] for window in batch]
    width = max(map(len, rows))
    device = language_model(model).get_input_embeddings().weight.device
    ids = torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in rows], device=device)
    positions = torch.arange(width, device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)[:, None]
    first = torch.tensor([w.scored - w.begin for w in batch], device=device)[:, None]
    held = positions < lengths
    labels = ids.masked_fill(~held | (positions < first), IGNORED)
    found = model(input_ids=ids, attention_mask=held.long(), labels=labels, use_cache=False)
    row_of = supervised(labels).nonzero()[:, 0]
    return row_statistics(found["scores"], row_of, len(batch))
