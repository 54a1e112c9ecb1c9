"""The tokens of one split of a source: from the token cache, or read, encoded and put there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from det_files.data.arguments import SourceArguments
from det_files.data.bounds import Bound, LongerRows
from det_files.data.encoding import EncodedRow, RowEncoder, token_ids
from det_files.data.languages import languages_of
from det_files.data.rows import BadRows, PlacedRow, is_text
from det_files.data.source_target import SourceTargetEncoder
from det_files.data.sources import Split
from det_files.data.templates import Template
from det_files.data.token_cache import TokenCache, cache_key
from det_files.data.token_entry import Entry, EntryWriter
from det_files.data.tokenization import encode_continuation
from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_BATCH_ROWS = 2000
_BATCH_CHARACTERS = 2_000_000


@dataclass
class Counts:
    """Rows that are not what the source holds: shortened, or left out."""

    inputs_cut: int = 0  # to max_input_tokens
    outputs_cut: int = 0  # to max_output_tokens
    cut: int = 0  # to the bound
    dropped: int = 0  # longer than the bound, or with nothing to learn within it


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What tells a tokenizer's tokens from another's."""
    import tokenizers
    import transformers

    tokenizer("", add_special_tokens=False)  # sets back what an earlier call has padded or cut to
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    return {
        "class": type(tokenizer).__name__,
        "state": state,
        "special_tokens": {k: str(v) for k, v in tokenizer.special_tokens_map.items()},
        "split_special_tokens": bool(getattr(tokenizer, "split_special_tokens", False)),
        "versions": [tokenizers.__version__, transformers.__version__],
    }


def split_tokens(
    split: Split,
    limit: int | None,
    template: Template,
    fingerprint: str,
    bound: Bound,
    cache: TokenCache,
) -> Entry:
    """The tokens of the (first `limit`) rows of a split.

    Rows of plain text are kept as documents, each with its end token; blocks are made of them
    later, so that an entry serves every block size. `fingerprint` is a digest of the tokenizer's.

    Raises:
        ConfigError: rows are bad, too long, or hold nothing to learn; ten of them are named.
    """

    def build(writer: EntryWriter) -> dict[str, Any]:
        return _build(split, limit, template, bound, writer)

    return cached_tokens(split, limit, template, fingerprint, bound, cache, build)


def cached_tokens(
    split: Split,
    limit: int | None,
    template: Template,
    fingerprint: str,
    bound: Bound,
    cache: TokenCache,
    build: Callable[[EntryWriter], dict[str, Any]],
    form: str = "rows",
) -> Entry:
    """The entry of a split that `build` writes, or that the cache has already.

    `form` tells entries that are written differently of the same rows.

    Raises:
        ConfigError: what `build` raises; the data changed meanwhile.
    """
    source = split.source
    described = {
        "form": form,
        "content": split.fingerprint(cache.digests),
        "split": split.name,
        "limit": limit,
        "columns": dict(source.columns),
        "limits": [source.max_input_tokens, source.max_output_tokens],
        "formats": [template.input_format, template.output_format],
        "chat_template": template.chat_template,
        "end_token_id": template.end_token_id,
        "tokenizer": fingerprint,
        "bound": [bound.tokens, bound.target_tokens, bound.too_long],
        "separate": template.separate,
        "languages": languages_of(template.tokenizer),
    }

    def build_unchanged(writer: EntryWriter) -> dict[str, Any]:
        meta = build(writer)
        if split.fingerprint(cache.digests) != described["content"]:
            raise ConfigError(Fault(split.section, "the data changed while it was read: try again"))
        return meta

    entry = cache.get(cache_key(described), build_unchanged)
    _log(split, source, entry)
    return entry


def _log(split: Split, source: SourceArguments, entry: Entry) -> None:
    counts = {name: entry.meta[name] for name in asdict(Counts())}
    level = logging.WARNING if any(counts.values()) else logging.INFO
    logger.log(level, "data: %s, %s: %d rows, %s", source.label, split.name, len(entry), counts)


def _build(
    split: Split, limit: int | None, template: Template, bound: Bound, writer: EntryWriter
) -> dict[str, Any]:
    rows = split.rows(limit)
    first = next(rows, None)
    if first is None:
        return {"kind": "rows", **asdict(Counts())}
    everything = chain([first], rows)
    if template.separate and "input" not in first.row:
        reason = f"{first.place}: an encoder-decoder model needs rows of input and output"
        raise ConfigError(Fault(split.section, reason))
    if is_text(first.row):
        _write_documents(everything, template.tokenizer, writer)
        return {"kind": "text", **asdict(Counts())}
    if not template.chat and "messages" in first.row:
        _refuse_conversations(split, first)
    encoder = encoder_of(split.source, template)
    return {"kind": "rows", **asdict(_RowWriter(split, bound, writer).write(everything, encoder))}


def encoder_of(source: SourceArguments, template: Template) -> RowEncoder | SourceTargetEncoder:
    """What makes tokens of a source's rows."""
    kind = SourceTargetEncoder if template.separate else RowEncoder
    return kind(source, template)


def _refuse_conversations(split: Split, first: PlacedRow) -> None:
    reason = (
        f"{first.place}: conversations need a chat template, and the tokenizer has none or "
        'chat_template is "none"; name one (chat_template: my_template.jinja)'
    )
    raise ConfigError(Fault(split.section, reason))


def _batches(rows: Iterator[PlacedRow]) -> Iterator[list[PlacedRow]]:
    """Some thousand rows at a time, fewer where they are long: the tokenizer's own memory."""
    batch: list[PlacedRow] = []
    characters = 0
    for placed in rows:
        batch.append(placed)
        characters += _characters(placed)
        if len(batch) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _characters(placed: PlacedRow) -> int:
    row = placed.row
    if "messages" in row:
        return sum(len(message["content"]) for message in row["messages"])
    return sum(map(len, row.values()))


def _write_documents(
    rows: Iterator[PlacedRow], tokenizer: PreTrainedTokenizerBase, writer: EntryWriter
) -> None:
    """Each document's tokens and its end token; what follows a cut document goes on with it."""
    end = int(tokenizer.eos_token_id)
    goes_on = False
    for batch in _batches(rows):
        texts = [placed.row["text"] for placed in batch]
        for placed, text, ids in zip(batch, texts, token_ids(tokenizer, texts), strict=True):
            # Pieces are cut behind a line break, which is what a continuation stands behind.
            tokens = encode_continuation(text, tokenizer) if goes_on else ids
            goes_on = placed.continues
            if not goes_on:
                tokens = [*tokens, end]
            writer.extend(tokens, [1] * len(tokens))
            if not goes_on:
                writer.end_row()


class _RowWriter:
    """Writes encoded rows, and keeps account of those that cannot be used as they are."""

    def __init__(self, split: Split, bound: Bound, writer: EntryWriter) -> None:
        self._bound = bound
        self._writer = writer
        self._counts = Counts()
        self._bad = BadRows(split.section)
        self._longer = LongerRows(split.section, bound)

    def write(self, rows: Iterator[PlacedRow], encoder: RowEncoder | SourceTargetEncoder) -> Counts:
        """Writes all rows; raises a ConfigError that names those that cannot be used."""
        for batch in _batches(rows):
            encoded = encoder.encode([placed.row for placed in batch])
            for placed, row in zip(batch, encoded, strict=True):
                self._write(placed.place, row)
        self._longer.raise_if_any()
        self._bad.raise_if_any()
        return self._counts

    def _write(self, place: str, row: EncodedRow) -> None:
        if row.problem:
            self._bad.add(place, row.problem)
            return
        self._counts.inputs_cut += row.input_cut
        self._counts.outputs_cut += row.output_cut
        is_longer = self._bound.is_exceeded_by(row)
        if is_longer and self._bound.too_long == "error":
            self._longer.add(place, row.length)
            return
        tokens, learned = row.tokens, row.learned
        if is_longer and self._bound.tokens is not None:
            tokens, learned = row.cut_to(self._bound.tokens, self._bound.target_tokens)
        if is_longer and (self._bound.too_long == "drop" or True not in learned[1:]):
            self._counts.dropped += 1
        elif True not in learned[1:]:
            self._bad.add(place, "holds nothing to learn")
        else:
            self._counts.cut += is_longer
            self._writer.add(tokens, learned)
