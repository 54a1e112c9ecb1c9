"""The next token of every row, from the model's scores of all tokens.

`B` rows, `S` tokens so far, `V` tokens of the vocabulary. What is done to scores, and in which
order, are transformers' own processors; only the draw is ours. Its random number depends on the
seed, the row's number, which of the row's answers it is, and the step, and on nothing else: a row
has the same answer alone and in any batch, first or last, at once or resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from det_files.generation.sampling import Sampling

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessorList

# Bits of a draw's random number: few enough that, times a sum near 1, it stays below that sum.
_BITS = 48


def uniform(seed: int, number: int, sequence: int, step: int) -> float:
    """The random number in [0, 1) of one token: a hash (BLAKE2b) of what it belongs to."""
    key = f"{seed} {number} {sequence} {step}".encode()
    digest = hashlib.blake2b(key, digest_size=_BITS // 8).digest()
    return float(int.from_bytes(digest, "big") / 2**_BITS)


def draw(scores: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Returns the tokens [B] at which the cumulative probabilities pass the points [B] in [0, 1).

    Args:
        scores: logits [B, V]; -inf where a token cannot be drawn.
        points: random numbers, float64.
    """
    import torch

    cumulative = torch.softmax(scores.double(), -1).cumsum(-1)
    passed = points[:, None] * cumulative[:, -1:]  # the sum is not exactly 1
    return torch.searchsorted(cumulative, passed, right=True)[:, 0]


def penalty_of(sampling: Sampling) -> LogitsProcessorList:
    """What is done to the scores of greedy search, too."""
    from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    if sampling.repetition_penalty == 1:
        return LogitsProcessorList()
    return LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])


def warpers_of(sampling: Sampling) -> LogitsProcessorList:
    """What is done to scores before a draw, in the order of transformers' `generate`."""
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    warpers = LogitsProcessorList()
    if not sampling.draws:
        return warpers
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(float(sampling.top_p)))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    return warpers


class Choice:
    """Chooses the next tokens of rows."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.penalty = penalty_of(sampling)
        self.warpers = warpers_of(sampling)

    def tokens(
        self, logits: torch.Tensor, said: Sequence[Sequence[int]], keys: Sequence[tuple[int, ...]]
    ) -> list[int]:
        """Returns a token for each row.

        Args:
            logits: [B, V].
            said: prompt and answer so far of each row, ragged.
            keys: (number, sequence, step) of each row.
        """
        scores = logits.float()
        if self.penalty:
            scores = self.penalty(rectangle(said, logits.device), scores)
        if not self.sampling.draws:
            return scores.argmax(-1).tolist()
        # The warpers look at scores alone.
        return self.drawn(self.warpers(None, scores), keys).tolist()

    def drawn(self, scores: torch.Tensor, keys: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Draws a token [B] for each row of warped scores [B, V]."""
        import torch

        points = [uniform(self.sampling.seed, *key) for key in keys]
        return draw(scores, torch.tensor(points, dtype=torch.float64, device=scores.device))


def rectangle(rows: Sequence[Sequence[int]], device: Any) -> torch.Tensor:
    """Returns ragged rows as [B, S], filled up with a token that the row has anyway.

    A penalty of what was said is then that of the row alone.
    """
    import torch

    longest = max(map(len, rows))
    filled = [[*row, *([row[0]] * (longest - len(row)))] for row in rows]
    return torch.tensor(filled, device=device)
