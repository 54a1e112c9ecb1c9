"""Names and values of hyperparameters and metrics in few characters, for tables and pictures."""

import math
import re
from collections.abc import Sequence
from typing import Any


def finite(value: Any) -> float | None:
    """Returns the value if it is a finite number, or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Returns for each dotted path its shortest end that no other path ends with."""
    names = {}
    for path in paths:
        words = path.split(".")
        ends = [".".join(words[-count:]) for count in range(1, len(words) + 1)]
        others = [f".{other}" for other in paths if other != path]
        names[path] = next(
            (e for e in ends if not any(other.endswith(f".{e}") for other in others)), path
        )
    return names


def abbreviated(names: Sequence[str], limits: Sequence[int]) -> list[str]:
    """Returns the names with their words cut, evenly, until each fits and all still differ.

    "learning_rate" becomes "learn_rate" within 10 characters and "lea_rat" within 8. What cannot
    be brought down to its limit keeps one letter a word.

    Args:
        names: All different.
        limits: Characters, for each of the names.
    """
    shortened = list(names)
    for index, (name, limit) in enumerate(zip(names, limits, strict=True)):
        words = re.split(r"([_.])", name)
        for letters in range(max(map(len, words)), 0, -1):
            cut = "".join(word[:letters] for word in words)
            if cut in shortened[:index] + shortened[index + 1 :]:
                break
            shortened[index] = cut
            if len(cut) <= limit:
                break
    return shortened


def short_value(value: Any, limit: int | None = None) -> str:
    """Returns a hyperparameter's or a metric's value in few characters: "3.2e-4", "16", "true".

    Args:
        value: A number, a string, a bool or None.
        limit: Characters beyond which a text is cut: a path loses its beginning, which is often
            the same, anything else its end.
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int) and abs(value) < 1_000_000:
        return str(value)
    if isinstance(value, int | float):
        return _short_number(float(value))
    text = " ".join(str(value).split())
    if limit is None or len(text) <= limit:
        return text
    return "…" + text[1 - limit :] if "/" in text else text[: limit - 1] + "…"


def _short_number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 0.01 <= abs(value) < 1_000_000:
        text = f"{value:.4g}"
        return text if "e" not in text else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
