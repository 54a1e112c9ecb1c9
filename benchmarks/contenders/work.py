"""Work that every contender does alike, and the configurations in which each may do it.

An optimizer step is about `tokens_per_step` tokens for all of them, as whole rows or whole blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

OURS, TRL, PADDED, CEILING = "ours", "trl", "padded_trainer", "matrix_ceiling"
# Layouts whose batches count blocks; those of all others count rows.
BLOCKS = ("packed", "blocks")
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "all-linear"}


@dataclass(frozen=True)
class Work:
    """What is trained on what, and how.

    `rows` are the first ones of train, `row_tokens` and `row_supervised` their mean tokens, all and
    those of answers; `method` is lora or full, `dtype` float32 or bfloat16, `device` cpu or cuda.
    """

    model: str
    data: str
    method: str
    dtype: str
    device: str
    rows: int
    row_tokens: float
    row_supervised: float
    tokens_per_step: int
    block_size: int
    learning_rate: float
    optim: str
    threads: int
    seed: int = 42

    @property
    def on_cpu(self) -> bool:
        return self.device == "cpu"

    @property
    def supervised_per_step(self) -> int:
        """The tokens of answers among `tokens_per_step`."""
        return max(1, round(self.tokens_per_step * self.row_supervised / self.row_tokens))

    def items_per_step(self, layout: str) -> int:
        """Rows or blocks of one optimizer step."""
        size = self.block_size if layout in BLOCKS else self.row_tokens
        return max(1, round(self.tokens_per_step / size))


@dataclass(frozen=True)
class Contender:
    """One configuration of one contender.

    Attributes:
        family: whose it is.
        layout: padded, grouped (padded, similar lengths together), padding_free (rows end to end),
            packed or blocks (rows in blocks of block_size).
        weights: dtype in which the model is loaded.
        autocast: whether bfloat16 is computed with through autocast.
        accumulation: micro-batches of an optimizer step.
        compiled: none, layers (each repeated layer) or whole (the model).
    """

    family: str
    layout: str
    weights: str = "float32"
    autocast: bool = False
    accumulation: int = 1
    compiled: str = "none"

    @property
    def name(self) -> str:
        """A few words that tell it from the others of its family."""
        words = [self.layout]
        words += [f"in {self.accumulation} micro-batches"] if self.accumulation > 1 else []
        words += [f"{self.weights} weights"]
        words += ["autocast"] if self.autocast else []
        words += [f"compiled {self.compiled}"] if self.compiled != "none" else []
        return ", ".join(words)

    def micro_batch(self, work: Work) -> int:
        """Rows or blocks of one forward pass."""
        return max(1, round(work.items_per_step(self.layout) / self.accumulation))


def training_arguments(work: Work, contender: Contender) -> dict[str, Any]:
    """TrainingArguments that all Trainers here are given alike."""
    values = {
        "per_device_train_batch_size": contender.micro_batch(work),
        "gradient_accumulation_steps": contender.accumulation,
        "max_steps": 100_000,  # it is stopped from outside
        "learning_rate": work.learning_rate,
        "lr_scheduler_type": "constant",
        "optim": work.optim,
        "eval_strategy": "no",
        "save_strategy": "no",
        "seed": work.seed,
    }
    return values | ({"use_cpu": True} if work.on_cpu else {})


def to_mapping(work: Work, contender: Contender, **more: Any) -> dict[str, Any]:
    """Both as plain values, for the process that is to do it."""
    return {"work": asdict(work), "contender": asdict(contender), **more}


def from_mapping(mapping: Mapping[str, Any]) -> tuple[Work, Contender]:
    """The two of `to_mapping`."""
    return Work(**mapping["work"]), Contender(**mapping["contender"])


def precisions(dtype: str) -> list[dict[str, Any]]:
    """Ways in which a Trainer computes in `dtype`, the most usual first."""
    if dtype == "float32":
        return [{"weights": "float32", "autocast": False}]
    return [
        {"weights": "bfloat16", "autocast": True},
        {"weights": "bfloat16", "autocast": False},
        {"weights": "float32", "autocast": True},
    ]


def of_trl(work: Work) -> list[Contender]:
    """TRL's layouts and batch sizes, uncompiled, in the first precision."""
    first = precisions(work.dtype)[0]
    layouts = ("padded", "grouped", "padding_free", "packed")
    tried = [Contender(TRL, layout, **first) for layout in layouts]
    for layout in ("padded", "grouped", "padding_free", "packed"):
        if work.items_per_step(layout) > 1:
            tried.append(Contender(TRL, layout, **first, accumulation=2))
    return tried


def of_padded_trainer(work: Work) -> list[Contender]:
    """A plain Trainer's precisions."""
    return [Contender(PADDED, "padded", **precision) for precision in precisions(work.dtype)]


def of_ours(work: Work, compiled: bool) -> list[Contender]:
    """Our layouts, uncompiled and, where `compiled`, compiled; `dtype` alone says the precision."""
    bfloat16 = work.dtype == "bfloat16"
    # As RunArgs.load_dtype has it: only full tuning keeps float32 weights.
    weights = "bfloat16" if bfloat16 and work.method == "lora" else "float32"
    return [
        Contender(OURS, layout, weights, bfloat16, parts, how)
        for how in (("none", "layers") if compiled else ("none",))
        for layout in ("padding_free", "blocks")
        for parts in (1, 2)
        if work.items_per_step(layout) >= parts
    ]
