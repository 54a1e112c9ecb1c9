"""Rows of encoder-decoder models: what the encoder reads, and what the decoder learns.

A row is kept as one sequence, as all rows are: the source's tokens, none of them learned, and the
target's behind them, all of them learned. The collator takes the two apart again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from det_files.data.arguments import SourceArguments
from det_files.data.encoding import EncodedRow, token_ids
from det_files.data.rows import Row
from det_files.data.templates import Template
from det_files.data.tokenization import cut


class SourceTargetEncoder:
    """Encodes the rows of one source; both sides with what the tokenizer puts around a text."""

    def __init__(self, source: SourceArguments, template: Template) -> None:
        """`source` has the limits, which count special tokens, too; `template` the formats."""
        self._template = template
        self._tokenizer = template.tokenizer
        self._special = frozenset(self._tokenizer.all_special_ids)
        around = len(token_ids(self._tokenizer, [""], add_special_tokens=True)[0])
        # One more for the end token of tokenizers that write none.
        self._input_limit = max(1, (source.max_input_tokens or 2**62) - around)
        self._output_limit = max(1, (source.max_output_tokens or 2**62) - max(around, 1))
        self._longest_tail = max(around, 1)

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        """Pairs as tokens, in their order."""
        sources = [self._source(row) for row in rows]
        targets = [cut(row.get("output", ""), self._output_limit, self._tokenizer) for row in rows]
        read = token_ids(self._tokenizer, [text for text, _ in sources], add_special_tokens=True)
        learned = self._targets([self._template.render_answer(text) for text, _ in targets])
        return [
            EncodedRow(
                tokens=source + target,
                learned=[False] * len(source) + [True] * len(target),
                input_cut=input_cut,
                output_cut=output_cut,
                separate=True,
                tails=(self._tail(source), self._tail(target)),
            )
            for source, target, (_, input_cut), (_, output_cut) in zip(
                read, learned, sources, targets, strict=True
            )
        ]

    def prompt(self, row: Row) -> list[int]:
        """What the encoder reads of a row."""
        text, _ = self._source(row)
        return token_ids(self._tokenizer, [text], add_special_tokens=True)[0]

    def _tail(self, tokens: list[int]) -> int:
        """How many special tokens end a side: an end token, mBART's language."""
        last = tokens[-self._longest_tail :]
        return len(list(takewhile(self._special.__contains__, reversed(last))))

    def _source(self, row: Row) -> tuple[str, bool]:
        text, was_cut = cut(row["input"], self._input_limit, self._tokenizer)
        return self._template.render_prompt(text), was_cut

    def _targets(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        found = self._tokenizer(text_target=texts, verbose=False)["input_ids"]
        end = self._template.end_token_id
        # Behind the end token, mBART's tokenizer writes the language.
        return [list(ids) if end in ids[-2:] else [*ids, end] for ids in found]
