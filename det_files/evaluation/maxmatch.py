"""MaxMatch (M²): precision, recall and F of grammatical corrections against gold edits.

Dahlmeier and Ng 2012, "Better Evaluation for Grammatical Error Correction" (NAACL). A system gives
a sentence, not edits; of all sequences of edits that lead to it, the one that shares most edits
with the gold is scored. Pure: texts in, numbers out; tokens are what blanks separate.

An edit is any path through the lattice (`edit_lattice`) that keeps at most `max_unchanged_words`
tokens; the paper makes an arc of each such path and gives those that match the gold
-(u + 1)·|E|, so that no sum of other arcs outweighs one. The path sought here is the same, by a
cost of three parts, compared in this order: gold edits matched (the more the better); arcs outside
of them; edits that match nothing (so that neighbouring changes count as one edit), as m2scorer 3.2
has it. Since an unmatched edit is searched for arc by arc, arcs of whole edits need not exist: time
grows with the lattice and not with its square. In a lattice without circles one pass in its order
does what the paper has Bellman-Ford do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from det_files.evaluation.edit_counts import (
    BETA,
    CorrectionScore,
    EditCounts,
    ScoredSentence,
    SystemEdit,
    choose_annotator,
)
from det_files.evaluation.edit_lattice import EditLattice, Vertex
from det_files.evaluation.m2_file import GoldEdit, GoldSentence

MAX_UNCHANGED_WORDS = 2

# Where a path is besides its vertex: the tokens kept so far by the edit that it is in, or OUTSIDE
# of any; and how many gold insertions at this place of the source are spent.
_State = tuple[int, int]
_OUTSIDE = -1
# (-matched, arcs outside of matched edits, unmatched edits); less is better.
_Cost = tuple[int, int, int]


def score_corrections(
    predictions: Sequence[str],
    gold: Sequence[GoldSentence],
    *,
    beta: float = BETA,
    max_unchanged_words: int = MAX_UNCHANGED_WORDS,
    ignore_whitespace_casing: bool = False,
) -> CorrectionScore:
    """Returns the scores of a system's sentences; prediction `i` is of gold sentence `i`.

    Of several annotators each sentence takes the one that makes the F_beta of all sentences up to
    it highest (`choose_annotator`).

    Args:
        predictions: corrected sentences, tokenized as the gold's sources are.
        gold: see `m2_file.read_m2`.
        beta: of the F-measure.
        max_unchanged_words: tokens that one edit may keep.
        ignore_whitespace_casing: edits of the system that change nothing else do not count; gold
            edits do, as in m2scorer.

    Raises:
        ValueError: not as many predictions as gold sentences.
    """
    if len(predictions) != len(gold):
        raise ValueError(f"{len(predictions)} predictions for {len(gold)} gold sentences")
    total, scored = EditCounts(), []
    for prediction, sentence in zip(predictions, gold, strict=True):
        lattice = EditLattice.of(sentence.tokens, prediction.split())
        choices = []
        for annotator, edits in sentence.annotators.items():
            found = extract_edits(lattice, edits, max_unchanged_words)
            if ignore_whitespace_casing:
                found = tuple(edit for edit in found if not _only_looks_different(edit))
            counts = EditCounts(sum(e.correct for e in found), len(found), len(edits))
            choices.append(ScoredSentence(counts, annotator, found))
        chosen = choices[choose_annotator(total, [c.counts for c in choices], beta)]
        scored.append(chosen)
        total += chosen.counts
    return CorrectionScore(tuple(scored), beta)


def _only_looks_different(edit: SystemEdit) -> bool:
    left, right = (text.replace(" ", "").lower() for text in (edit.original, edit.correction))
    return left == right


def extract_edits(
    lattice: EditLattice,
    gold: Sequence[GoldEdit],
    max_unchanged_words: int = MAX_UNCHANGED_WORDS,
) -> tuple[SystemEdit, ...]:
    """Returns the edits, in order, of the path that matches most gold edits (see the module).

    `gold` is in the order of its offsets; insertions at one place match in their order, each once.
    """
    return _Search(lattice, gold, max_unchanged_words).edits()


class _Reached(NamedTuple):
    """The best way to a state: its cost, the state before, and whether a gold edit led here."""

    cost: _Cost
    before: tuple[Vertex, _State] | None
    matched: bool = False


class _Search:
    """The shortest path through one lattice, for the gold edits of one annotator."""

    def __init__(
        self, lattice: EditLattice, gold: Sequence[GoldEdit], max_unchanged_words: int
    ) -> None:
        self._lattice = lattice
        self._max_unchanged = max_unchanged_words
        self._matches = _matching_arcs(lattice, gold, max_unchanged_words)
        start: _State = (_OUTSIDE, 0)
        self._best: dict[Vertex, dict[_State, _Reached]] = {v: {} for v in lattice.arcs}
        self._best[(0, 0)][start] = _Reached((0, 0, 0), None)
        for vertex in lattice.arcs:
            self._leave_edits(vertex)
            self._follow_arcs(vertex)

    def _offer(self, vertex: Vertex, state: _State, reached: _Reached) -> None:
        states = self._best[vertex]
        if state not in states or reached.cost < states[state].cost:
            states[state] = reached

    def _leave_edits(self, vertex: Vertex) -> None:
        for state, reached in list(self._best[vertex].items()):
            if state[0] != _OUTSIDE:
                step = reached._replace(before=(vertex, state), matched=False)
                self._offer(vertex, (_OUTSIDE, state[1]), step)

    def _follow_arcs(self, vertex: Vertex) -> None:
        for state, reached in self._best[vertex].items():
            matched, arcs, edits = reached.cost
            kept, spent = state
            for after, changes in self._lattice.arcs[vertex]:
                opens = kept == _OUTSIDE and changes
                now = 0 if opens else kept + (kept != _OUTSIDE and not changes)
                if now <= self._max_unchanged:
                    cost = (matched, arcs + 1, edits + opens)
                    left = spent if after[0] == vertex[0] else 0
                    self._offer(after, (now, left), _Reached(cost, (vertex, state)))
            if kept != _OUTSIDE:
                continue
            for after, insertion in self._matches.get(vertex, ()):
                if insertion is None or insertion >= spent:
                    cost = (matched - 1, arcs, edits)
                    left = 0 if insertion is None else insertion + 1
                    self._offer(after, (_OUTSIDE, left), _Reached(cost, (vertex, state), True))

    def edits(self) -> tuple[SystemEdit, ...]:
        end = self._lattice.end
        vertex = end
        state = min(
            (s for s in self._best[end] if s[0] == _OUTSIDE), key=lambda s: self._best[end][s].cost
        )
        found: list[SystemEdit] = []
        stop: Vertex | None = None  # of the unmatched edit that the path is in
        while (before := self._best[vertex][state].before) is not None:
            matched = self._best[vertex][state].matched
            if matched:
                found.append(self._edit(before[0], vertex, True))
            elif before[0] == vertex:
                stop = vertex
            elif stop is not None and before[1][0] == _OUTSIDE:
                found.append(self._edit(before[0], stop, False))
                stop = None
            vertex, state = before
        return tuple(reversed(found))

    def _edit(self, start: Vertex, stop: Vertex, correct: bool) -> SystemEdit:
        original = " ".join(self._lattice.source[start[0] : stop[0]])
        correction = " ".join(self._lattice.hypothesis[start[1] : stop[1]])
        return SystemEdit(start[0], stop[0], original, correction, correct)


def _matching_arcs(
    lattice: EditLattice, gold: Sequence[GoldEdit], max_unchanged: int
) -> Mapping[Vertex, list[tuple[Vertex, int | None]]]:
    """From a vertex: where gold edits lead, and of insertions their number among those there."""
    columns: dict[int, list[int]] = {}
    for i, j in lattice.arcs:
        columns.setdefault(i, []).append(j)
    arcs: dict[Vertex, list[tuple[Vertex, int | None]]] = {}
    insertions: dict[int, int] = {}
    for edit in gold:
        number = None
        if edit.start == edit.end:
            number = insertions.setdefault(edit.start, 0)
            insertions[edit.start] += 1
        for correction in edit.corrections:
            tokens = tuple(correction.split())
            for j in columns.get(edit.start, ()):
                start, stop = (edit.start, j), (edit.end, j + len(tokens))
                same = lattice.hypothesis[j : stop[1]] == tokens
                if same and stop in lattice.arcs and lattice.is_edit(start, stop, max_unchanged):
                    arcs.setdefault(start, []).append((stop, number))
    return arcs
