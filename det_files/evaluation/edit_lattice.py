"""The edit lattice of a sentence and its correction: all shortest ways from one to the other.

A vertex (i, j) stands behind i tokens of the source and j of the hypothesis. An arc deletes
(i + 1), inserts (j + 1), or does both, which keeps a token or substitutes it. Arcs are those of all
paths of least Levenshtein distance, as in Dahlmeier and Ng 2012, section 3, and, as in m2scorer
3.2, also of those where a substitution costs as much as a deletion and an insertion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Vertex = tuple[int, int]


@dataclass(frozen=True)
class EditLattice:
    """The tokens on both sides; per vertex, in an order that arcs follow, its arcs.

    An arc is the vertex it leads to and whether it changes anything.
    """

    source: tuple[str, ...]
    hypothesis: tuple[str, ...]
    arcs: dict[Vertex, list[tuple[Vertex, bool]]]

    @staticmethod
    def of(source: Sequence[str], hypothesis: Sequence[str]) -> EditLattice:
        source, hypothesis = tuple(source), tuple(hypothesis)
        end = (len(source), len(hypothesis))
        found = {arc for cost in (1, 2) for arc in _shortest(source, hypothesis, cost)}
        arcs: dict[Vertex, list[tuple[Vertex, bool]]] = {}
        for start, stop, changes in sorted(found):
            arcs.setdefault(start, []).append((stop, changes))
        arcs[end] = []
        return EditLattice(source, hypothesis, arcs)

    @property
    def end(self) -> Vertex:
        return len(self.source), len(self.hypothesis)

    def is_edit(self, start: Vertex, stop: Vertex, max_unchanged: int) -> bool:
        """Whether one edit can lead from start to stop: a path keeps at most so many tokens."""
        if self.source[start[0] : stop[0]] == self.hypothesis[start[1] : stop[1]]:
            return False
        kept = {start: 0}  # the fewest tokens kept on the way to a vertex
        for vertex in self._between(start, stop):
            if vertex not in kept:
                continue
            for after, changes in self.arcs[vertex]:
                count = kept[vertex] + (not changes)
                if count < kept.get(after, max_unchanged + 1):
                    kept[after] = count
        return stop in kept

    def _between(self, start: Vertex, stop: Vertex) -> Iterator[Vertex]:
        for i in range(start[0], stop[0] + 1):
            for j in range(start[1], stop[1] + 1):
                if (i, j) in self.arcs:
                    yield i, j


def _distances(source: Sequence[str], hypothesis: Sequence[str], cost: int) -> list[list[int]]:
    """[len(source) + 1][len(hypothesis) + 1]: Levenshtein's table; `cost` of a substitution."""
    rows = [list(range(len(hypothesis) + 1))]
    for i, token in enumerate(source, 1):
        above, row = rows[-1], [i]
        for j, other in enumerate(hypothesis, 1):
            diagonal = above[j - 1] + (0 if token == other else cost)
            row.append(min(diagonal, above[j] + 1, row[-1] + 1))
        rows.append(row)
    return rows


def _shortest(
    source: Sequence[str], hypothesis: Sequence[str], substitution: int
) -> Iterator[tuple[Vertex, Vertex, bool]]:
    """(start, stop, changes anything) of every arc of a shortest path, breadth first from the end.

    `substitution` is its cost.
    """
    table = _distances(source, hypothesis, substitution)
    queue = [(len(source), len(hypothesis))]
    seen = set(queue)
    for i, j in queue:
        same = bool(i and j) and source[i - 1] == hypothesis[j - 1]
        steps = ((i - 1, j, 1), (i, j - 1, 1), (i - 1, j - 1, 0 if same else substitution))
        for before_i, before_j, cost in steps:
            if min(before_i, before_j) < 0 or table[before_i][before_j] + cost != table[i][j]:
                continue
            before = (before_i, before_j)
            yield before, (i, j), cost > 0
            if before not in seen:
                seen.add(before)
                queue.append(before)
