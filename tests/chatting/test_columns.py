"""Texts in columns, by what a terminal shows of them."""

import pytest

from det_files.chatting.columns import columns_of, printable, side_by_side, wrap


def test_two_texts_stand_beside_each_other_line_by_line() -> None:
    assert side_by_side("one two three\nfour", "a b", 23) == [
        "one two    | a b",
        "three      |",
        "four       |",
    ]


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("ｱ", 1), ("Ａ", 2), ("", 0)]
)
def test_how_many_columns_a_text_takes(text: str, columns: int) -> None:
    assert columns_of(text) == columns


@pytest.mark.parametrize("width", [8, 9, 20])
def test_lines_fit_and_nothing_but_spaces_is_lost(width: int) -> None:
    text = (
        "日本語の文章はスペースがありません。 and English, too\n\n  indented averyveryverylongword"
    )
    lines = wrap(text, width)
    assert max(map(columns_of, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert "" in lines  # the empty line stays


def test_a_gap_is_straight_beside_wide_characters() -> None:
    lines = side_by_side("日本語の文章です", "right\nside", 23)
    assert [columns_of(line.split("|")[0]) for line in lines] == [11, 11]


def test_what_would_change_the_terminal_is_not_shown() -> None:
    assert printable("a\x1b[2Jb\r\x07\x9bc\n\td") == "a[2Jbc\n\td"
