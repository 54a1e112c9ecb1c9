"""Gold corrections are read as they stand, and a malformed line is named with its number."""

from pathlib import Path

import pytest

from det_files.evaluation.m2_file import MAX_FAULTS, GoldEdit, parse_m2, read_m2
from det_files.faults import ConfigError

GOLD = """S The cat sat at mat .
A 4 4|||ArtOrDet|||the||a|||REQUIRED|||-NONE-|||0
A 3 4|||Prep|||on|||REQUIRED|||-NONE-|||0

S The dog .
A 1 2|||NN|||dogs|||REQUIRED|||-NONE-|||0
A -1 -1|||noop|||-NONE-|||REQUIRED|||-NONE-|||1


S Giant otters is an  apex predator .
A 3 4|||ArtOrDet|||-NONE-|||REQUIRED|||-NONE-|||0
A 5 6|||NN||||||REQUIRED|||-NONE-|||3
S All is well .
"""


def test_sentences_edits_and_annotators(tmp_path: Path) -> None:
    path = tmp_path / "gold.m2"
    path.write_bytes(GOLD.replace("\n", "\r\n").encode("utf-8-sig"))
    cat, dog, otters, well = read_m2(path)
    assert cat.tokens == ("The", "cat", "sat", "at", "mat", ".")
    # In the order of their offsets, whatever the file's is.
    assert cat.annotators == {
        0: (GoldEdit(3, 4, ("on",), "Prep"), GoldEdit(4, 4, ("the", "a"), "ArtOrDet"))
    }
    assert dog.annotators == {0: (GoldEdit(1, 2, ("dogs",), "NN"),), 1: ()}
    assert otters.source == "Giant otters is an apex predator ."
    assert otters.annotators == {
        0: (GoldEdit(3, 4, ("",), "ArtOrDet"),),
        3: (GoldEdit(5, 6, ("",), "NN"),),
    }
    assert well.annotators == {0: ()}
    assert [sentence.line for sentence in (cat, dog, otters, well)] == [1, 5, 10, 13]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A 0 1|||NN|||dogs|||REQUIRED|||-NONE-", "6 fields between |||, got 5"),
        ("A 0 1|||NN|||dogs|||REQUIRED|||-NONE-|||0|||1", "6 fields between |||, got 7"),
        ("A 0|||NN|||dogs|||REQUIRED|||-NONE-|||0", 'two whole numbers as offsets, got "0"'),
        ("A 0 one|||NN|||dogs|||REQUIRED|||-NONE-|||0", 'as offsets, got "0 one"'),
        ("A 0 1.0|||NN|||dogs|||REQUIRED|||-NONE-|||0", 'as offsets, got "0 1.0"'),
        ("A 2 4|||NN|||dogs|||REQUIRED|||-NONE-|||0", "2 4 are not within the sentence's 3 tokens"),
        ("A -1 2|||NN|||dogs|||REQUIRED|||-NONE-|||0", "-1 2 are not within"),
        ("A 2 1|||NN|||dogs|||REQUIRED|||-NONE-|||0", "offset 2 is behind its end 1"),
        ("A 0 1|||NN|||dogs|||REQUIRED|||-NONE-|||first", 'as annotator, got "first"'),
        ("T 0 1", 'expected a line of S, A or nothing, got "T 0 1"'),
    ],
)
def test_a_malformed_line_is_named(line: str, reason: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse_m2(["S The dog .", line, "", "S Fine ."], "gold.m2")
    (fault,) = found.value.faults
    assert fault.path == "gold.m2:2"
    assert reason in fault.message


def test_an_edit_needs_a_sentence() -> None:
    edit = "A 0 1|||NN|||dogs|||REQUIRED|||-NONE-|||0"
    with pytest.raises(ConfigError) as found:
        parse_m2([edit, "S The dog .", "", edit], "gold.m2")
    assert [fault.path for fault in found.value.faults] == ["gold.m2:1", "gold.m2:4"]
    assert "without a sentence" in str(found.value)


def test_all_faults_come_at_once_up_to_a_bound() -> None:
    lines = ["S The dog ."] + ["A 0 9|||NN|||dogs|||REQUIRED|||-NONE-|||0"] * 30
    with pytest.raises(ConfigError) as found:
        parse_m2(lines, "gold.m2")
    faults = found.value.faults
    assert [fault.path for fault in faults[:-1]] == [f"gold.m2:{n}" for n in range(2, 22)]
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1].message == "and 10 more malformed lines"


def test_a_file_without_sentences_or_without_text(tmp_path: Path) -> None:
    path = tmp_path / "gold.m2"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_m2(path)
    path.write_text("\n\n")
    with pytest.raises(ConfigError, match="has no sentences"):
        read_m2(path)
    path.write_bytes(b"S caf\xe9\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_m2(path)
