"""Tokens of preferences and of prompts with a reference, as entries of the token cache.

A row of an entry is what one record gives; `learned` tells its tokens apart:

    PROMPT      0   what stands before the answers
    GOOD        1   an answer that was chosen, or marked as good, and its end token
    BAD         2   one that was rejected, or marked as bad, and its end token
    REFERENCE   3   the bytes (UTF-8) of the text with which a reward compares

A pair is prompt, good answer, bad answer; a marked answer is prompt and answer; a prompt for
generation is prompt and reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from det_files.data.bounds import Bound, LongerRows
from det_files.data.conversations import split_off_answer
from det_files.data.encoding import EncodedRow, RowEncoder
from det_files.data.preference_rows import PlacedAnswers, preference_rows
from det_files.data.rows import BadRows, PlacedRow, is_text
from det_files.data.sources import Split
from det_files.data.split_tokens import Counts, cached_tokens
from det_files.data.templates import NotRendered, Template
from det_files.data.token_cache import TokenCache
from det_files.data.token_entry import Entry, EntryWriter
from det_files.faults import ConfigError, Fault

PROMPT, GOOD, BAD, REFERENCE = 0, 1, 2, 3
PAIRS, ANSWERS, PROMPTS = "pairs", "answers", "prompts"
_BATCH_RECORDS = 1000


def preference_tokens(
    form: str,
    drop_equal: bool,
    split: Split,
    limit: int | None,
    template: Template,
    fingerprint: str,
    bound: Bound,
    cache: TokenCache,
) -> Entry:
    """`split_tokens` for another `form` of rows.

    PAIRS are prompts with a chosen and a rejected answer; ANSWERS are those, or prompts with one
    answer and its mark; PROMPTS are ordinary rows, of which the output is the reference.
    `drop_equal` passes over pairs of equal answers, which are bad rows otherwise.

    Raises:
        ConfigError: rows are bad, too long, or prefer nothing; ten of them are named.
    """

    def build(writer: EntryWriter) -> dict[str, Any]:
        account = _Account(split, bound, writer)
        if form == PROMPTS:
            _write_prompts(split, limit, template, account)
        else:
            encoder = RowEncoder(split.source, template)
            records = preference_rows(split, limit, form == ANSWERS, drop_equal)
            while batch := list(islice(records, _BATCH_RECORDS)):
                _write_answers(batch, template, encoder, account, drop_equal)
        account.raise_if_any()
        return {"kind": form, **asdict(account.counts)}

    written = f"{form}, equal ones dropped" if drop_equal else form
    return cached_tokens(split, limit, template, fingerprint, bound, cache, build, written)


class _Account:
    """Writes rows, and keeps account of those that cannot be used as they are."""

    def __init__(self, split: Split, bound: Bound, writer: EntryWriter) -> None:
        self.counts = Counts()
        self.bad = BadRows(split.section)
        self._bound = bound
        self._writer = writer
        self._longer = LongerRows(split.section, bound)

    def fits(self, place: str, length: int) -> bool:
        """Whether a row of that length is used; counts those that are dropped or cut."""
        if self._bound.tokens is None or length <= self._bound.tokens:
            return True
        if self._bound.too_long == "cut":
            self.counts.cut += 1
            return True
        if self._bound.too_long == "drop":
            self.counts.dropped += 1
        else:
            self._longer.add(place, length)
        return False

    @property
    def limit(self) -> int | None:
        return self._bound.tokens

    def write(self, *parts: tuple[Sequence[int], int]) -> None:
        """Writes one row of parts (tokens, mark)."""
        for tokens, mark in parts:
            self._writer.extend(tokens, [mark] * len(tokens))
        self._writer.end_row()

    def raise_if_any(self) -> None:
        self._longer.raise_if_any()
        self.bad.raise_if_any()


def _write_answers(
    batch: Sequence[PlacedAnswers],
    template: Template,
    encoder: RowEncoder,
    account: _Account,
    drop_equal: bool,
) -> None:
    rows = [answered.row for record in batch for answered in record.answers]
    if not template.chat and any("messages" in row for row in rows):
        reason = "conversations need a chat template: name one (chat_template: my_template.jinja)"
        account.bad.add(batch[0].place, reason)
        return
    encoded = iter(encoder.encode(rows))
    for record in batch:
        _write_record(record, [next(encoded) for _ in record.answers], account, drop_equal)


def _write_record(
    record: PlacedAnswers, encoded: list[EncodedRow], account: _Account, drop_equal: bool
) -> None:
    problem = next((row.problem for row in encoded if row.problem), "")
    if problem:
        account.bad.add(record.place, problem)
        return
    account.counts.inputs_cut += any(row.input_cut for row in encoded)
    account.counts.outputs_cut += any(row.output_cut for row in encoded)
    if not account.fits(record.place, max(row.length for row in encoded)):
        return
    parts = [_prompt_and_answer(row, account.limit) for row in encoded]
    prompts, answers = [prompt for prompt, _ in parts], [answer for _, answer in parts]
    if not all(answers):
        account.counts.dropped += 1  # cut to the bound, nothing is left of an answer
    elif len(answers) == 2 and answers[0] == answers[1]:
        if drop_equal:
            account.counts.dropped += 1
        else:
            account.bad.add(record.place, "the answers are the same once they are cut")
    elif any(prompt != prompts[0] for prompt in prompts):
        reason = "the chat template writes different things before the two answers"
        account.bad.add(record.place, reason)
    else:
        marks = [GOOD if answered.good else BAD for answered in record.answers]
        account.write((prompts[0], PROMPT), *zip(answers, marks, strict=True))


def _prompt_and_answer(row: EncodedRow, limit: int | None) -> tuple[list[int], list[int]]:
    """(what stands before the last answer, that answer), cut to the first `limit` tokens.

    Answers of earlier turns belong to the prompt, although a conversation's row has learned them.
    """
    border = len(row.learned) - row.learned[::-1].index(False)
    tokens = row.tokens if limit is None else row.cut_to(limit)[0]
    return tokens[:border], tokens[border:]


def _write_prompts(split: Split, limit: int | None, template: Template, account: _Account) -> None:
    encoder = RowEncoder(split.source, template)
    for placed in _rows(split, limit):
        try:
            prompt = encoder.prompt(placed.row)
        except NotRendered as error:
            account.bad.add(placed.place, str(error))
            continue
        if account.fits(placed.place, len(prompt)):
            reference = list(_reference(placed).encode("utf-8"))
            account.write((prompt[: account.limit], PROMPT), (reference, REFERENCE))


def _rows(split: Split, limit: int | None) -> Iterator[PlacedRow]:
    for placed in split.rows(limit):
        if is_text(placed.row):
            raise ConfigError(Fault(split.section, f"{placed.place}: plain text has no prompts"))
        yield placed


def _reference(placed: PlacedRow) -> str:
    if "messages" in placed.row:
        return split_off_answer(placed.row["messages"])[1] or ""
    return str(placed.row.get("output", ""))
