"""Tables of text: alignment, and what goes first where the width is short."""

from det_files.local.text_table import Column, fitted


def columns(longest_name: int | None) -> list[Column]:
    return [
        Column("trial", ["1", "20"]),
        Column("state", ["running", "failed"], left=True),
        Column("learning_rate"[:longest_name], ["1e-4", "2e-4"], needless=1, parameter=True),
        Column("r", ["8", "16"], needless=1, parameter=True),
        Column("time", ["3s", ""], needless=7),
    ]


def test_columns_are_aligned() -> None:
    assert fitted(columns, None) == [
        "trial  state    learning_rate   r  time",
        "    1  running           1e-4   8    3s",
        "   20  failed            2e-4  16",
    ]


def test_names_are_shortened_then_columns_left_out_and_counted() -> None:
    assert fitted(columns, 36)[0] == "trial  state    learning_   r  time"
    assert fitted(columns, 30)[0] == "trial  state    learni   r"
    assert fitted(columns, 26) == fitted(columns, 30)
    assert fitted(columns, 25)[0] == "trial  state    +2"  # "learni  +1" has no room
    assert all(len(line) <= 7 for line in fitted(columns, 7))
