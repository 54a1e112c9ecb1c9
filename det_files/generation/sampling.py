"""How the next token is chosen: greedily, at random, or by a search with beams."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field, fields
from typing import Any

from det_files.faults import Faults

COLDEST = 1e-3  # a colder draw takes what greedy takes, and near 1e-37 logits overflow


def _option(default: float, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Sampling:
    """The choice of tokens; as it stands, the most probable one each time (greedy)."""

    max_new_tokens: int = _option(256, "tokens of the longest answer, its end token included")
    temperature: float = _option(0.0, "logits are divided by it before a draw; 0 draws nothing")
    top_k: int = _option(0, "draw among so many of the most probable tokens; 0: among all")
    top_p: float = _option(1.0, "draw among the most probable tokens that have this share together")
    min_p: float = _option(0.0, "draw among tokens with this share of the best one's probability")
    repetition_penalty: float = _option(1.0, "above 1, tokens of prompt and answer become rarer")
    num_beams: int = _option(1, "beams of a search; 1: none")
    num_return_sequences: int = _option(1, "answers a prompt: that many draws, or best beams")
    seed: int = _option(0, "of the draws, with a row's number and which of its answers it is")

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at random."""
        return self.temperature > 0

    def find_faults(self, faults: Faults) -> None:
        """Notes all that cannot be, or would have no effect, by the names of the flags."""
        for name, sound, wanted in self._ranges():
            if not sound:
                faults.add(flag(name), f"expected {wanted}, got {getattr(self, name)}")
        if not self.draws:
            for name, off in (("top_k", 0), ("top_p", 1.0), ("min_p", 0.0)):
                if getattr(self, name) != off:
                    faults.add(flag(name), "has no effect without --temperature above 0")
        if self.num_beams > 1:
            if self.draws:
                faults.add(flag("num_beams"), "a search with beams draws nothing: no --temperature")
            if self.num_return_sequences > self.num_beams:
                reason = f"{self.num_return_sequences} are more than the {self.num_beams} beams"
                faults.add(flag("num_return_sequences"), reason)
        elif self.num_return_sequences > 1 and not self.draws:
            reason = "greedy answers are all the same: set --temperature or --num-beams"
            faults.add(flag("num_return_sequences"), reason)

    def _ranges(self) -> list[tuple[str, bool, str]]:
        """(field, whether its value can be, what is expected)."""
        return [
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            (
                "temperature",
                self.temperature == 0 or COLDEST <= self.temperature < math.inf,
                f"0, or at least {COLDEST}",
            ),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min_p", 0 <= self.min_p < 1, "at least 0, below 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0"),
            ("num_beams", self.num_beams >= 1, "at least 1"),
            ("num_return_sequences", self.num_return_sequences >= 1, "at least 1"),
        ]


def flag(name: str) -> str:
    """The command-line flag of a field: `--top-k` of `top_k`."""
    return "--" + name.replace("_", "-")


def find_too_small(options: argparse.Namespace, faults: Faults, **least: int) -> None:
    """Notes the flags, of these fields, that were given less than they take at least."""
    for name, bound in least.items():
        value = getattr(options, name)
        if value is not None and value < bound:
            faults.add(flag(name), f"expected at least {bound}, got {value}")


def add_sampling_flags(parser: argparse.ArgumentParser, **defaults: float) -> None:
    """Gives a command line a flag for each field, with its default or the one said here."""
    for option in fields(Sampling):
        default = defaults.get(option.name, option.default)
        text = f"{option.metadata['help']} (default: %(default)s)"
        kind = type(option.default)
        parser.add_argument(
            flag(option.name), type=kind, default=default, metavar=kind.__name__.upper(), help=text
        )


def sampling_of(args: argparse.Namespace) -> Sampling:
    """What the flags of `add_sampling_flags` said; `find_faults` has not been asked."""
    return Sampling(**{option.name: getattr(args, option.name) for option in fields(Sampling)})
