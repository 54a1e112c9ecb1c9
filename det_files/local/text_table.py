"""A table as lines of text that fits a width: names are shortened first, then columns left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

GAP = "  "
NAME_LENGTHS = (16, 12, 9, 6)  # characters of a name, tried in turn until the table fits


@dataclass(frozen=True)
class Column:
    """One column.

    Where the width is short, the column with the highest `needless` is left out first and one with
    0 never; `parameter` says that it shows a hyperparameter.
    """

    title: str
    cells: Sequence[str]
    needless: int = 0
    left: bool = False
    parameter: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (self.title, *self.cells)))

    def lines(self) -> list[str]:
        """Returns the title and the cells, all of the same width."""
        adjust = str.ljust if self.left else str.rjust
        return [adjust(text, self.width) for text in (self.title, *self.cells)]


def fitted(columns_of: Callable[[int | None], list[Column]], width: int | None) -> list[str]:
    """Returns the lines of a table that fits: names are shortened first, then columns left out.

    Args:
        columns_of: Returns the columns for a greatest length of names, None for whole names.
        width: Characters; None for a table as wide as it comes.
    """
    columns = columns_of(None if width is None else NAME_LENGTHS[0])
    if width is None:
        return _joined(columns)
    for length in NAME_LENGTHS:
        columns = columns_of(length)
        if _total_width(columns) <= width:
            return _joined(columns)
    left_out = 0
    while True:
        counted = [*columns, Column(f"+{left_out}", [])] if left_out else columns
        needless = max(columns, key=lambda c: (c.needless, columns.index(c)))
        if _total_width(counted) <= width or needless.needless == 0:
            return [line[:width] for line in _joined(counted)]
        columns = [column for column in columns if column is not needless]
        left_out += needless.parameter


def _total_width(columns: Sequence[Column]) -> int:
    return sum(column.width + len(GAP) for column in columns) - len(GAP)


def _joined(columns: Sequence[Column]) -> list[str]:
    lines = zip_longest(*(column.lines() for column in columns), fillvalue="")
    return [GAP.join(parts).rstrip() for parts in lines]
