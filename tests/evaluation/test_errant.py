"""ERRANT: what counts, by hand; what is said where it is missing; and the package itself."""

from importlib.util import find_spec

import pytest

from det_files.evaluation.edit_counts import EditCounts
from det_files.evaluation.errant import REQUIREMENT, score_changes, score_with_errant
from det_files.evaluation.m2_file import GoldEdit, GoldSentence, parse_m2
from det_files.faults import ConfigError

# The example of ERRANT's README.
GOLD = """S This are gramamtical sentence .
A 1 2|||R:VERB:SVA|||is|||REQUIRED|||-NONE-|||0
A 2 2|||M:DET|||a|||REQUIRED|||-NONE-|||0
A 2 3|||R:SPELL|||grammatical|||REQUIRED|||-NONE-|||0
A -1 -1|||noop|||-NONE-|||REQUIRED|||-NONE-|||1
"""


def test_an_edit_is_right_by_its_offsets_and_words() -> None:
    gold = parse_m2(GOLD.split("\n"))
    changes = [(1, 2, "is"), (2, 2, "an"), (2, 3, "grammatical"), (3, 4, "sentences")]
    found = score_changes([changes], gold)
    assert found.counts == EditCounts(correct=2, proposed=4, gold=3)
    assert [edit.correct for edit in found.sentences[0].edits] == [True, False, True, False]
    assert found.sentences[0].edits[0].original == "are"
    # Nothing changed: the annotator who changes nothing agrees.
    assert score_changes([[]], gold).sentences[0].annotator == 1


def test_what_nobody_corrected_is_left_out_and_a_gold_edit_counts_once() -> None:
    edits = (GoldEdit(0, 1, ("a",), "UNK"), GoldEdit(1, 1, ("b",), "M:OTHER"))
    gold = [GoldSentence(("x", "y"), {0: edits})]
    assert score_changes([[(0, 1, "a")]], gold).counts == EditCounts(0, 1, 1)
    assert score_changes([[(1, 1, "b"), (1, 1, "b")]], gold).counts == EditCounts(1, 2, 1)


def test_among_equals_the_annotator_with_fewer_errors_is_chosen() -> None:
    three = tuple(GoldEdit(n, n + 1, ("z",)) for n in range(3))
    gold = [GoldSentence(("x",) * 3, {0: three, 1: three[:1]})]
    found = score_changes([[(2, 3, "y")]], gold)
    assert found.sentences[0].annotator == 1
    assert found.counts == EditCounts(0, 1, 1)


def test_as_many_lists_as_sentences() -> None:
    with pytest.raises(ValueError, match="0 predictions for 1 gold"):
        score_changes([], parse_m2(GOLD.split("\n")))


@pytest.mark.skipif(find_spec("errant") is not None, reason="errant is installed")
def test_a_missing_package_is_named_with_its_command() -> None:
    with pytest.raises(ConfigError) as found:
        score_with_errant(["a"], parse_m2(["S a"]))
    assert REQUIREMENT in str(found.value)


def test_the_example_of_its_readme() -> None:
    pytest.importorskip("errant", reason="errant is not installed")
    pytest.importorskip("en_core_web_sm", reason="ERRANT's spaCy model is not installed")
    gold = parse_m2(GOLD.split("\n"))
    found = score_with_errant(["This is a grammatical sentence ."], gold)
    assert found.counts == EditCounts(3, 3, 3)
