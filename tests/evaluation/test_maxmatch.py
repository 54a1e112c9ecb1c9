"""MaxMatch: examples after the papers, cases by hand, and the theorem of the largest overlap."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest

from det_files.evaluation.edit_counts import EditCounts
from det_files.evaluation.edit_lattice import EditLattice, Vertex
from det_files.evaluation.m2_file import GoldEdit, GoldSentence, parse_m2
from det_files.evaluation.maxmatch import (
    MAX_UNCHANGED_WORDS,
    extract_edits,
    score_corrections,
)

# Of the official scorer's README.
README = """S The cat sat at mat .
A 3 4|||Prep|||on|||REQUIRED|||-NONE-|||0
A 4 4|||ArtOrDet|||the||a|||REQUIRED|||-NONE-|||0

S The dog .
A 1 2|||NN|||dogs|||REQUIRED|||-NONE-|||0
A -1 -1|||noop|||-NONE-|||-NONE-|||-NONE-|||1

S Giant otters is an apex predator .
A 2 3|||SVA|||are|||REQUIRED|||-NONE-|||0
A 3 4|||ArtOrDet|||-NONE-|||REQUIRED|||-NONE-|||0
A 5 6|||NN|||predators|||REQUIRED|||-NONE-|||0
A 1 2|||NN|||otter|||REQUIRED|||-NONE-|||1
"""


def edits_of(
    source: str, hypothesis: str, *gold: GoldEdit, unchanged: int = MAX_UNCHANGED_WORDS
) -> list[tuple[int, int, str, bool]]:
    lattice = EditLattice.of(source.split(), hypothesis.split())
    found = extract_edits(lattice, gold, unchanged)
    assert all(e.original.split() == source.split()[e.start : e.end] for e in found)
    return [(e.start, e.end, e.correction, e.correct) for e in found]


def score(source: str, hypothesis: str, *gold: GoldEdit, beta: float = 0.5) -> EditCounts:
    sentence = GoldSentence(tuple(source.split()), {0: gold})
    return score_corrections([hypothesis], [sentence], beta=beta).counts


def test_readme_several_annotators() -> None:
    gold = parse_m2(README.split("\n"))
    system = ["A cat sat on the mat .", "The dog .", "Giant otters are apex predator ."]
    found = score_corrections(system, gold)
    # Two valid edits and The → A; annotator 1 has no edits; two valid edits, one missed.
    assert [sentence.counts for sentence in found.sentences] == [
        EditCounts(2, 3, 2),
        EditCounts(0, 0, 0),
        EditCounts(2, 2, 3),
    ]
    assert [sentence.annotator for sentence in found.sentences] == [0, 1, 0]
    assert (found.precision, found.recall, found.f_score) == pytest.approx((0.8, 0.8, 0.8))
    assert found.rows().tolist() == [[2, 3, 2], [0, 0, 0], [2, 2, 3]]


def test_an_insertion_is_the_replacement_that_the_gold_has() -> None:
    """After the paper's figures: a system inserts "a", the gold replaces "word" by "a word"."""
    source = "Our baseline system feeds word into PB-SMT pipeline ."
    hypothesis = "Our baseline system feeds a word into PB-SMT pipeline ."
    gold = GoldEdit(4, 5, ("a word", "words"))
    # Vertex (4, 4) to (5, 6) of the lattice.
    assert edits_of(source, hypothesis, gold) == [(4, 5, "a word", True)]
    assert edits_of(source, hypothesis) == [(4, 4, "a", False)]
    other = hypothesis.replace("a word", "words")
    assert edits_of(source, other, gold) == [(4, 5, "words", True)]
    insertion = GoldEdit(4, 4, ("a",))
    assert edits_of(source, hypothesis, insertion) == [(4, 4, "a", True)]


def test_a_difference_of_words_is_taken_apart_as_the_gold_is() -> None:
    """After the paper's introduction: a plain difference has one edit here, which none matches."""
    source = "The data is similar with test set ."
    hypothesis = "The data is similar to the test set ."
    gold = (GoldEdit(4, 5, ("to",)), GoldEdit(5, 5, ("the",)))
    assert edits_of(source, hypothesis) == [(4, 5, "to the", False)]
    assert edits_of(source, hypothesis, *gold) == [(4, 5, "to", True), (5, 5, "the", True)]
    assert score(source, hypothesis, *gold) == EditCounts(2, 2, 2)


def test_shared_task_example() -> None:
    """After the shared tasks of 2013 and 2014 (Ng et al.): P 1, R 1/3, F1 1/2, F0.5 5/7."""
    source = (
        "There is no a doubt , tracking system has brought many benefits in this information age ."
    )
    hypothesis = source.replace("no a doubt", "no doubt")
    gold = (
        GoldEdit(3, 5, ("doubt",)),
        GoldEdit(7, 8, ("systems",)),
        GoldEdit(8, 9, ("have",)),
    )
    counts = score(source, hypothesis, *gold)
    assert (counts.precision, counts.recall) == pytest.approx((1.0, 1 / 3))
    assert counts.f_score(beta=1.0) == pytest.approx(1 / 2)
    assert counts.f_score() == pytest.approx(5 / 7)
    # What a word-level difference finds, {a → nothing}, does not match by itself.
    assert edits_of(source, hypothesis) == [(3, 4, "", False)]


def test_insertions_at_the_start_of_a_sentence() -> None:
    """Issue 6 of the official scorer: both insertions are at offset 0."""
    found = edits_of(
        "Thursday , is it not ?",
        "It 's Thursday , is n't it ?",
        GoldEdit(0, 0, ("It 's",)),
        GoldEdit(3, 5, ("n't it",)),
    )
    assert found == [(0, 0, "It 's", True), (3, 5, "n't it", True)]


def test_neighbouring_changes_are_one_edit_unless_the_gold_has_several() -> None:
    source, hypothesis = "I like a cats .", "I love the cat ."
    assert edits_of(source, hypothesis) == [(1, 4, "love the cat", False)]
    gold = (GoldEdit(2, 3, ("the",)),)
    assert edits_of(source, hypothesis, *gold) == [
        (1, 2, "love", False),
        (2, 3, "the", True),
        (3, 4, "cat", False),
    ]


def test_an_edit_keeps_so_many_words_at_most() -> None:
    source, hypothesis = "a b c d e", "x b c d y"
    whole = GoldEdit(0, 5, ("x b c d y",))
    assert edits_of(source, hypothesis, whole) == [(0, 1, "x", False), (4, 5, "y", False)]
    assert edits_of(source, hypothesis, whole, unchanged=3) == [(0, 5, "x b c d y", True)]
    # Two words between are within the limit.
    assert edits_of("a b c d", "x b c y") == [(0, 4, "x b c y", False)]
    assert edits_of("a b c d", "x b c y", unchanged=0) == [(0, 1, "x", False), (3, 4, "y", False)]


def test_a_substitution_may_be_a_deletion_and_an_insertion() -> None:
    """The gold deletes "is" and inserts "was" elsewhere; only the costlier path has both."""
    gold = (GoldEdit(1, 2, ("",)), GoldEdit(2, 2, ("was",)))
    assert edits_of("he is", "he was", *gold) == [(1, 2, "", True), (2, 2, "was", True)]


def test_a_gold_insertion_counts_once() -> None:
    once = GoldEdit(1, 1, ("very",))
    found = edits_of("a cat", "a very very cat", once)
    assert [edit for edit in found if edit[3]] == [(1, 1, "very", True)]
    assert len(found) == 2
    assert edits_of("a cat", "a very very cat", once, once) == [(1, 1, "very", True)] * 2


def test_insertions_at_one_place_match_in_their_order() -> None:
    first, second = GoldEdit(1, 1, ("x",)), GoldEdit(1, 1, ("y",))
    assert [e[3] for e in edits_of("a b", "a x y b", first, second)] == [True, True]
    assert sum(e[3] for e in edits_of("a b", "a x y b", second, first)) == 1


def test_a_gold_edit_that_changes_nothing_is_never_found() -> None:
    assert score("a b", "a b", GoldEdit(0, 1, ("a",))) == EditCounts(0, 0, 1)
    assert score("a b", "a b", GoldEdit(1, 1, ("",))) == EditCounts(0, 0, 1)


def test_empty_sentences_on_either_side() -> None:
    assert score("", "") == EditCounts(0, 0, 0)
    assert score("a b", "", GoldEdit(0, 2, ("",))) == EditCounts(1, 1, 1)
    assert score("", "a b", GoldEdit(0, 0, ("a b",))) == EditCounts(1, 1, 1)


def test_edits_of_case_and_blanks_can_be_left_out() -> None:
    sentence = GoldSentence(("The", "tool", "kit", "Is"), {0: (GoldEdit(1, 3, ("toolkit",)),)})
    prediction = ["the toolkit is"]
    assert score_corrections(prediction, [sentence]).counts == EditCounts(1, 3, 1)
    ignoring = score_corrections(prediction, [sentence], ignore_whitespace_casing=True)
    assert ignoring.counts == EditCounts(0, 0, 1)


def test_as_many_predictions_as_sentences() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 gold"):
        score_corrections(["a"], [GoldSentence(("a",), {0: ()})] * 2)


# The theorem: no path through the lattice, with an arc for each edit as the paper has them, matches
# more of the gold. All paths are listed here; the search lists none.


def edges_of(lattice: EditLattice, unchanged: int) -> dict[tuple[Vertex, Vertex], int]:
    """All arcs, the transitive ones too → the fewest arcs they are made of."""
    edges: dict[tuple[Vertex, Vertex], int] = {}
    for start in lattice.arcs:
        # (vertex, tokens kept, anything changed) → arcs
        front = {(start, 0, False): 0}
        while front:
            following: dict[tuple[Vertex, int, bool], int] = {}
            for (vertex, kept, changed), length in front.items():
                for after, changes in lattice.arcs[vertex]:
                    state = (after, kept + (not changes), changed or changes)
                    if length == 0 or state[1] <= unchanged:
                        following.setdefault(state, length + 1)
            for (after, kept, changed), length in following.items():
                is_edit = changed and kept <= unchanged
                if is_edit or (not changed and length == 1):
                    known = edges.get((start, after), length)
                    edges[(start, after)] = min(known, length)
            front = following
    return edges


def paths(edges: Sequence[tuple[Vertex, Vertex]], end: Vertex) -> Iterator[list]:
    following: dict[Vertex, list[Vertex]] = {}
    for start, stop in edges:
        following.setdefault(start, []).append(stop)

    def go(vertex: Vertex) -> Iterator[list]:
        if vertex == end:
            yield []
        for after in following.get(vertex, ()):
            yield from ([(vertex, after), *rest] for rest in go(after))

    return go((0, 0))


def cost_of(path: list, edges: dict, lattice: EditLattice, gold: Sequence[GoldEdit]) -> tuple:
    """(-matched, arcs outside of matched edits, unmatched edits), of the best matching."""
    options: list[list[int | None]] = []
    for (i, j), (k, m) in path:
        words = " ".join(lattice.hypothesis[j:m])
        fits = [
            number
            for number, edit in enumerate(gold)
            if (edit.start, edit.end) == (i, k) and words in edit.corrections
        ]
        same = lattice.source[i:k] == lattice.hypothesis[j:m]
        options.append([None] if same else [None, *fits])
    best = (1, 0, 0)
    for choice in itertools.product(*options):
        used = [number for number in choice if number is not None]
        if used != sorted(set(used)):
            continue
        outside = [edge for edge, number in zip(path, choice, strict=True) if number is None]
        changing = [
            (start, stop)
            for start, stop in outside
            if (stop[0] - start[0], stop[1] - start[1]) != (1, 1)
            or lattice.source[start[0]] != lattice.hypothesis[start[1]]
        ]
        cost = (-len(used), sum(edges[edge] for edge in outside), len(changing))
        best = min(best, cost)
    return best


def random_case(rng: random.Random) -> tuple[EditLattice, list[GoldEdit]]:
    source = [rng.choice("abc") for _ in range(rng.randint(0, 4))]
    hypothesis = [rng.choice("abc") for _ in range(rng.randint(0, 4))]
    gold = []
    for _ in range(rng.randint(0, 3)):
        start = rng.randint(0, len(source))
        end = rng.randint(start, min(len(source), start + 2))
        choices = [
            " ".join(rng.choice("abc") for _ in range(rng.randint(0, 2)))
            for _ in range(rng.randint(1, 2))
        ]
        gold.append(GoldEdit(start, end, tuple(choices)))
    gold.sort(key=lambda edit: (edit.start, edit.end))
    return EditLattice.of(source, hypothesis), gold


def test_no_path_has_more_of_the_gold() -> None:
    rng = random.Random(2)
    matched = 0
    for _ in range(400):
        lattice, gold = random_case(rng)
        unchanged = rng.randint(0, 2)
        edges = edges_of(lattice, unchanged)
        best = min(cost_of(p, edges, lattice, gold) for p in paths(list(edges), lattice.end))
        found = extract_edits(lattice, gold, unchanged)
        correct = sum(edit.correct for edit in found)
        assert (-correct, len(found) - correct) == (best[0], best[2]), (lattice, gold)
        matched += correct
    assert matched > 100


def test_edits_make_the_hypothesis_of_the_source() -> None:
    rng = random.Random(3)
    for _ in range(300):
        lattice, gold = random_case(rng)
        tokens = list(lattice.source)
        for edit in reversed(extract_edits(lattice, gold)):
            tokens[edit.start : edit.end] = edit.correction.split()
        assert tuple(tokens) == lattice.hypothesis


def test_a_long_answer_that_has_nothing_of_the_source() -> None:
    """A model that rambles: the lattice is large, and its edits are still found."""
    source = [f"s{i}" for i in range(20)]
    rambling = " ".join(f"w{i}" for i in range(250))
    sentence = GoldSentence(tuple(source), {0: (GoldEdit(2, 3, ("x",)),)})
    assert score_corrections([rambling], [sentence]).counts == EditCounts(0, 1, 1)
