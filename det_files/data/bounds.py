"""Bounds: how many tokens a row may have, what sets the bound, and what becomes of longer rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from det_files.data.arguments import SECTION
from det_files.data.encoding import EncodedRow
from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Bound:
    """Tokens that a row may have (None: any number), what sets the bound, and what else happens.

    `too_long` is what becomes of a longer row: cut, drop or error. `target_tokens` is the bound of
    what a decoder of its own learns, where it is another.
    """

    tokens: int | None = None
    whose: str = "the model's {} positions"
    too_long: str = "error"
    target_tokens: int | None = None

    def is_exceeded_by(self, row: EncodedRow) -> bool:
        """Whether either side of a row has more tokens."""
        bounds = (self.tokens, self.target_tokens or self.tokens)
        pairs = zip(row.lengths, bounds, strict=True)
        return any(bound is not None and length > bound for length, bound in pairs)


def bound_of(config: PretrainedConfig | None, reserved: tuple[int, int], too_long: str) -> Bound:
    """The bound of a model's positions, less those that are `reserved` (see `load_data`).

    Raises:
        ConfigError: none is left.
    """
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return Bound(too_long=too_long)
    free = (positions - reserved[0], positions - reserved[1])
    if min(free) < 1:
        reason = f"none of the model's {positions} positions is left for an example"
        raise ConfigError(Fault(f"{SECTION}.sources", f"{reason} ({max(reserved)} reserved)"))
    whose = "the model's {} positions"
    if min(free) < positions:
        whose = (
            f"the {min(free)} of the model's {positions} positions that virtual tokens or "
            "generated answers leave"
        )
    return Bound(free[0], whose, too_long, free[1])


class LongerRows:
    """Keeps account of a split's rows that are over a bound where that is an error."""

    def __init__(self, section: str, bound: Bound) -> None:
        """`section` is the place of their source in the configuration."""
        self._section = section
        self._bound = bound
        self._lengths: list[int] = []
        self._first = ""

    def add(self, place: str, length: int) -> None:
        self._first = self._first or place
        self._lengths.append(length)

    def raise_if_any(self) -> None:
        """Raises a ConfigError that counts them, with the place of the first."""
        if not self._lengths:
            return
        count, whose = len(self._lengths), self._bound.whose.format(self._bound.tokens)
        are = "row is" if count == 1 else "rows are"
        reason = (
            f"{count} {are} longer than {whose} (the first is {self._first}, the longest has "
            f"{max(self._lengths)} tokens): lower max_input_tokens or max_output_tokens, or say "
            "too_long: cut or drop"
        )
        raise ConfigError(Fault(self._section, reason))
