"""The order of training rows, of one source or of several with weights.

    schedule   which source each sample comes from: exact shares in every stretch of an epoch
    order      which of its rows: each source in a seeded shuffle of its own

Sources are drawn by largest deficit: whichever is furthest behind its share comes next. Of two
sources the first has then had round(w·t) of t samples; more are a tree of such pairs, so that a
schedule is arithmetic on whole arrays. In t samples a source's count is off its share by half a
sample for each level of the tree at most, by less than 4 of 1,000 for 100 sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]
STOPPINGS = ("first_exhausted", "all_exhausted")
_MOST = 2**31  # samples of an epoch, whose order is in memory: 16 GiB


class MixtureOrder:
    """Row numbers of every epoch, into the concatenation of the sources.

    `rows` is the number of samples of an epoch, the same in each. One source, or several without
    weights: every row once. With weights, "first_exhausted" ends an epoch where a source would be
    needed again whose rows have all been seen; "all_exhausted" where all rows of all sources have
    been seen, those that ran out before having begun a new shuffle.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float] | None,
        stopping: str = "first_exhausted",
    ) -> None:
        """`sizes` in rows; `weights` in any unit, None for those of the sizes, 0 leaves out.

        Raises:
            ValueError: numbers do not fit together, or a source with a weight has no rows.
        """
        shares = [float(share) for share in (sizes if weights is None else weights)]
        if len(shares) != len(sizes) or min(shares, default=-1.0) < 0 or not any(shares):
            raise ValueError(f"no mixture: sizes {list(sizes)}, weights {weights}")
        if stopping not in STOPPINGS:
            raise ValueError(f"stopping is one of {', '.join(STOPPINGS)}, not {stopping!r}")
        if any(share and not size for share, size in zip(shares, sizes, strict=True)):
            raise ValueError(f"a source with a weight has no rows: sizes {list(sizes)}")
        drawn = [i for i, share in enumerate(shares) if share]
        starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._starts = [int(starts[i]) for i in drawn]
        self._sizes = [int(sizes[i]) for i in drawn]
        self._shares = [shares[i] for i in drawn]
        if weights is None or len(drawn) == 1:
            self._rows = sum(self._sizes)
        elif stopping == "first_exhausted":
            ends = [self._position(i, size + 1) - 1 for i, size in enumerate(self._sizes)]
            self._rows = min(ends)
        else:
            self._rows = max(self._position(i, size) for i, size in enumerate(self._sizes))
        if self._rows >= _MOST:
            raise ValueError(f"an epoch would have more than {_MOST} samples")

    @property
    def rows(self) -> int:
        """Samples of one epoch."""
        return self._rows

    def order(self, seed: int, epoch: int) -> Indices:
        """The row numbers of one epoch [rows], which depend on the seed and the epoch alone."""
        if len(self._sizes) == 1:
            # One stream of its own for each (seed, epoch): consecutive seeds must not share orders.
            shuffled = _shuffle(self._sizes[0], (seed * 1_000_003 + epoch) % 2**63)
            return shuffled + self._starts[0]
        sources = self.schedule()
        order = np.empty(self._rows, dtype=np.int64)
        for i, (start, size) in enumerate(zip(self._starts, self._sizes, strict=True)):
            places = np.flatnonzero(sources == i)
            passes = -(-len(places) // size)
            drawn = [_shuffle(size, _stream(seed, epoch, i, number)) for number in range(passes)]
            if drawn:
                order[places] = np.concatenate(drawn)[: len(places)] + start
        return order

    def schedule(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Which of the sources that have a weight each sample of an epoch comes from [rows]."""
        sources = np.empty(self._rows, dtype=np.int32)
        self._fill(sources, np.arange(self._rows, dtype=np.int64), 0, len(self._shares))
        return sources

    def _fill(self, sources: np.ndarray, places: Indices, low: int, high: int) -> None:
        """Writes sources low..high into those places, of which they have all."""
        if high - low == 1:
            sources[places] = low
            return
        middle = (low + high) // 2
        had = _had(np.arange(len(places) + 1, dtype=np.int64), self._left_share(low, high))
        left = np.diff(had) == 1
        self._fill(sources, places[left], low, middle)
        self._fill(sources, places[~left], middle, high)

    def _left_share(self, low: int, high: int) -> float:
        middle = (low + high) // 2
        return sum(self._shares[low:middle]) / sum(self._shares[low:high])

    def _position(self, source: int, count: int) -> int:
        """After how many samples of the schedule a source has been drawn `count` times."""
        for low, high in reversed(self._ancestors(source)):
            share = self._left_share(low, high)
            is_left = source < (low + high) // 2
            count = _samples_until(count, share, is_left)
        return count

    def _ancestors(self, source: int) -> list[tuple[int, int]]:
        low, high = 0, len(self._shares)
        found = []
        while high - low > 1:
            found.append((low, high))
            middle = (low + high) // 2
            low, high = (low, middle) if source < middle else (middle, high)
        return found


def _had(samples: Indices, share: float) -> Indices:
    """How many of the first t samples a source with this share has had: round(share · t)."""
    return np.floor(samples * share + 0.5).astype(np.int64)


def _samples_until(count: int, share: float, is_left: bool) -> int:
    """The least t after which the left source of a pair (or the right one) was drawn so often."""
    own = share if is_left else 1 - share
    if own * _MOST < count:
        return _MOST
    around = max(int((count - 0.5) / own) - 2, 0)
    while True:
        # By the schedule's own rounding: a formula for its inverse would round otherwise.
        samples = np.arange(around, around + 64, dtype=np.int64)
        had = _had(samples, share)
        reached = np.flatnonzero((had if is_left else samples - had) >= count)
        if len(reached) and (reached[0] > 0 or around == 0):
            return int(samples[reached[0]])
        around = around + 32 if not len(reached) else max(around - 32, 0)


def _shuffle(size: int, stream: int) -> Indices:
    generator = torch.Generator()
    generator.manual_seed(stream)
    return torch.randperm(size, generator=generator).numpy()


def _stream(seed: int, epoch: int, source: int, number: int) -> int:
    """A seed of its own for each shuffle: SeedSequence's hash, which numpy keeps stable."""
    words = np.random.SeedSequence([seed % 2**63, epoch, source, number])
    return int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))
