"""`--check`: the exported model against the checkpoint, by logits in float32.

S tokens a prompt, V vocabulary.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.models import SEQ2SEQ, auto_class
from det_files.trained.adapted import load_with_adapter
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.tokenizer import tokenizer_of
from det_files.trained.whole_model import load_whole

if TYPE_CHECKING:
    import torch

# Of the greatest |logit|: what rounding weights to the written precision may change. Float32 itself
# differs by the order of its sums; the others by their last digit (2^-11 and 2^-8), added up
# through the layers.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
_TEXTS = (
    "The capital of France is",
    'def total(prices):\n    return sum(price["eur"] for price in prices)  # 12.50\n',
    "Où est la gare ? 駅はどこですか。 1,234,567",
)
_DRAWN_TOKENS = 48


@dataclass(frozen=True)
class Difference:
    """How far the exported model is from the checkpoint on the prompts."""

    greatest: float  # of logits
    largest_logit: float
    tolerance: float  # of greatest / largest_logit
    prompts: int
    same_tokens: bool  # whether both tokenizers cut the texts alike

    @property
    def is_small(self) -> bool:
        # Not `>`: NaN must not pass.
        return self.same_tokens and self.greatest <= self.tolerance * self.largest_logit

    def __str__(self) -> str:
        share = self.greatest / self.largest_logit if self.largest_logit else float("nan")
        text = (
            f"check: greatest difference of logits {self.greatest:.3g} on {self.prompts} prompts, "
            f"{share:.3g} of the largest logit ({self.largest_logit:.3g}); "
            f"tolerance {self.tolerance:g}"
        )
        return text if self.same_tokens else f"{text}; the tokenizers do not cut texts alike"


def compare_logits(
    checkpoint: TrainedCheckpoint, exported: Path, form: str, dtype: str
) -> Difference:
    """Returns how far the export is from base + adapter, or from the whole checkpoint.

    Both are computed in float32, one after the other: two models need not fit at once. The prompts
    are texts, and tokens drawn from the whole vocabulary.
    """
    import torch

    own = tokenizer_of(checkpoint)
    other = _load_tokenizer(checkpoint, exported, form)
    decoded = checkpoint.kind == SEQ2SEQ
    drawn = torch.randint(
        len(own), (_DRAWN_TOKENS,), generator=torch.Generator().manual_seed(0)
    ).tolist()
    prompts = [*(own(text)["input_ids"] for text in _TEXTS), drawn]
    same = all(own(text)["input_ids"] == other(text)["input_ids"] for text in _TEXTS)

    expected = _logits(_load_trained(checkpoint), prompts, decoded)
    gc.collect()  # peft's models hold themselves
    found = _logits(_load_exported(checkpoint, exported, form), prompts, decoded)
    # max() of tensors passes NaN on, where Python's does not.
    differences = torch.stack([_greatest(a, b) for a, b in zip(expected, found, strict=True)])
    largest = torch.stack([logits.abs().max() for logits in expected]).max()
    # An adapter is copied and not rounded, whatever the precision of the run.
    tolerance = TOLERANCES["float32" if form == "adapter" else dtype]
    return Difference(float(differences.max()), float(largest), tolerance, len(prompts), same)


def _greatest(expected: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """The greatest difference of two times [S, V]; infinite where one has more tokens."""
    import torch

    if expected.shape != found.shape:
        return torch.tensor(torch.inf)
    return (expected - found).abs().max()


def _logits(model: Any, prompts: list[list[int]], decoded: bool) -> list[torch.Tensor]:
    """Logits [S, V] of each prompt; where there is a decoder, it and the encoder read the same."""
    import torch

    start = getattr(model.config, "decoder_start_token_id", None) or 0
    found = []
    model.eval()
    with torch.no_grad():
        for ids in prompts:
            read = {"input_ids": torch.tensor([ids])}
            if decoded:
                read["decoder_input_ids"] = torch.tensor([[start, *ids[:-1]]])
            # Virtual tokens stand before a prompt's own.
            found.append(model(**read).logits[0, -len(ids) :].float())
    return found


def _load_trained(checkpoint: TrainedCheckpoint) -> Any:
    import torch

    if checkpoint.is_adapter:
        return load_with_adapter(checkpoint, checkpoint.path, torch.float32).float()
    return load_whole(checkpoint, torch.float32)


def _load_exported(checkpoint: TrainedCheckpoint, exported: Path, form: str) -> Any:
    import torch

    if form == "adapter":
        return load_with_adapter(checkpoint, exported, torch.float32).float()
    return auto_class(checkpoint.kind).from_pretrained(
        exported,
        dtype=torch.float32,
        trust_remote_code=checkpoint.model.trust_remote_code,
        **_gguf_option(exported, form),
    )


def _load_tokenizer(checkpoint: TrainedCheckpoint, exported: Path, form: str) -> Any:
    from transformers import AutoTokenizer

    code = checkpoint.model.trust_remote_code
    return AutoTokenizer.from_pretrained(
        exported, trust_remote_code=code, **_gguf_option(exported, form)
    )


def _gguf_option(exported: Path, form: str) -> dict[str, str]:
    if form != "gguf":
        return {}
    return {"gguf_file": next(exported.glob("*.gguf")).name}
