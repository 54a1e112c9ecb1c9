"""load_data: the sources' splits as datasets of tokenized examples, and the order of training."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from det_files.data.arguments import BLOCKS, SECTION, DataArguments, SourceArguments
from det_files.data.bounds import Bound, bound_of
from det_files.data.examples import Examples, Part, Rows, TextBlocks
from det_files.data.languages import set_languages
from det_files.data.mixture import MixtureOrder
from det_files.data.sources import Split, open_source
from det_files.data.split_tokens import split_tokens, tokenizer_fingerprint
from det_files.data.templates import Template
from det_files.data.token_cache import TokenCache
from det_files.data.token_entry import Entry
from det_files.faults import ConfigError, Fault, Faults

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
# What `split_tokens` takes and gives.
TokensOf = Callable[[Split, int | None, Template, str, Bound, TokenCache], Entry]
__all__ = ["Examples", "TrainingData", "load_data", "split_off"]


@dataclass(frozen=True)
class TrainingData:
    """What a trainer needs.

    Attributes:
        train: the training rows of all sources, one source behind the other.
        val: likewise; weights do not apply to it.
        template: the one that made them; of several sources, the first one's.
        order: which rows of train an epoch takes, and when.
    """

    train: Examples
    val: Examples
    template: Template
    order: MixtureOrder

    def fingerprint(self) -> str:
        """A digest of how many tokens each row has, in which other data would hardly agree."""
        digest = hashlib.sha256()
        for examples in (self.train, self.val):
            digest.update(examples.lengths.tobytes() + examples.supervised.tobytes())
        return digest.hexdigest()


def load_data(
    args: DataArguments,
    tokenizer: PreTrainedTokenizerBase,
    model_config: PretrainedConfig | None = None,
    seed: int = 42,
    tokens: TokensOf = split_tokens,
    *,
    reserved: tuple[int, int] = (0, 0),
) -> TrainingData:
    """Reads, templates and tokenizes, or takes what the token cache has of it; logs counts.

    Args:
        args: the sources, and how their rows become tokens.
        tokenizer: whose chat template `chat_template: auto` takes.
        model_config: gives the number of positions that an example must fit.
        seed: chooses the rows of val where a source has none.
        tokens: makes the tokens of a split; preferences have another form.
        reserved: positions that an example must leave free, for virtual tokens or for what is
            generated behind it: those of the model (an encoder-decoder's encoder), and those of a
            decoder of its own.

    Raises:
        ConfigError: a source is not there; rows are bad, too long, or hold nothing to learn; a
            split has no rows. The faults of all sources come at once.
    """
    loader = _Loader(args, tokenizer, model_config, seed, tokens, reserved)
    weights = args.weights()
    train: list[Part] = []
    val: list[Part] = []
    for number, source in enumerate(args.settled_sources()):
        is_drawn = weights is None or weights[number] > 0
        with loader.noting():
            of_train, of_val = loader.load(number, source, is_drawn)
            train += [of_train]
            val += [of_val]
    loader.faults.raise_if_any()
    data = {"train": Examples(train), "val": Examples(val)}
    for name, examples in data.items():
        logger.info("data: %s", examples.describe(name))
    first = Template.of(args, tokenizer, args.sources[0], loader.separate)
    order = order_of(data["train"].sizes, args)
    return TrainingData(data["train"], data["val"], first, order)


def order_of(sizes: list[int], args: DataArguments) -> MixtureOrder:
    """The order of sources of these sizes, in rows, as the arguments weigh them.

    Raises:
        ConfigError: they cannot be mixed so.
    """
    stopping = args.mixture_stopping
    try:
        return MixtureOrder(sizes, args.weights(), stopping)
    except ValueError as error:
        raise ConfigError(Fault(f"{SECTION}.mixture_stopping", f"{stopping}: {error}")) from error


def split_off(rows: int, percentage: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rest, taken): a seeded choice of `percentage` per cent of row numbers, in order.

    At least one row is on either side.

    Raises:
        ValueError: there are less than two rows.
    """
    if rows < 2:
        raise ValueError(f"{rows} rows cannot be split")
    count = min(rows - 1, max(1, round(rows * percentage / 100)))
    is_taken = np.zeros(rows, dtype=bool)
    is_taken[random.Random(seed).sample(range(rows), count)] = True
    return np.flatnonzero(~is_taken), np.flatnonzero(is_taken)


class _Loader:
    """Loads source after source, and notes the faults of each."""

    def __init__(
        self,
        args: DataArguments,
        tokenizer: PreTrainedTokenizerBase,
        model_config: PretrainedConfig | None,
        seed: int,
        tokens: TokensOf,
        reserved: tuple[int, int],
    ) -> None:
        self.faults = Faults()
        self.separate = bool(getattr(model_config, "is_encoder_decoder", False))
        self._tokens_of = tokens
        self._args = args
        self._tokenizer = tokenizer
        self._bound = bound_of(model_config, reserved, args.too_long)
        self._seed = seed
        # Set here, for all that tokenizes: its tokens and the cache's key depend on it.
        set_languages(tokenizer, args.source_language, args.target_language)
        self._cache = TokenCache(args.cache_dir)
        described = json.dumps(tokenizer_fingerprint(tokenizer), sort_keys=True)
        self._fingerprint = hashlib.sha256(described.encode("utf-8")).hexdigest()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes the faults of what is done within, in place of raising them."""
        try:
            yield
        except ConfigError as error:
            self.faults.extend(error)

    def load(self, number: int, source: SourceArguments, is_drawn: bool) -> tuple[Part, Part]:
        """(training rows, validation rows) of a source.

        One that is not drawn from has no training rows, but the same validation rows as ever, so
        that trials with other weights are measured by the same.
        """
        template = Template.of(self._args, self._tokenizer, source, self.separate)
        splits = open_source(source, number)
        if "val" in splits:
            entries: dict[str, Entry | None] = {"train": None, "val": None}
            for name, limit in (
                ("train", source.max_train_samples),
                ("val", source.max_eval_samples),
            ):
                if name == "val" or is_drawn:
                    with self.noting():
                        entries[name] = self._tokens(splits[name], limit, template)
            train, val = entries["train"], entries["val"]
            if val is None or (train is None and is_drawn):
                return _NoRows(), _NoRows()  # its faults are noted
            return self._part(splits["train"], train), self._part(splits["val"], val)
        return self._train_and_val_of(splits["train"], source, template, is_drawn)

    def _train_and_val_of(
        self, split: Split, source: SourceArguments, template: Template, is_drawn: bool
    ) -> tuple[Part, Part]:
        # All of it is tokenized, for every seed and limit; a stream may have no end worth reading.
        limit = source.max_train_samples if source.streaming else None
        entry = self._tokens(split, limit, template)
        if len(entry) < 2:
            there = "one row in train: nothing to validate on" if len(entry) else "no row in train"
            if entry.meta["kind"] == "text":
                there += " (of text, a row is a file)"
            raise ConfigError(Fault(split.section, f"there is no val split and {there}"))
        rest, taken = split_off(len(entry), self._args.validation_split_percentage, self._seed)
        train = self._part(split, entry if is_drawn else None, rest[: source.max_train_samples])
        return train, self._part(split, entry, taken[: source.max_eval_samples], "val")

    def _tokens(self, split: Split, limit: int | None, template: Template) -> Entry:
        args = self._args
        bound = self._bound
        if args.packing == BLOCKS and (bound.tokens is None or args.block_size < bound.tokens):
            bound = Bound(args.block_size, "a block of {} tokens (block_size)", args.too_long)
        return self._tokens_of(split, limit, template, self._fingerprint, bound, self._cache)

    def _part(
        self,
        split: Split,
        entry: Entry | None,
        numbers: np.ndarray | None = None,
        name: str | None = None,
    ) -> Part:
        if entry is None:
            return _NoRows()
        part: Part
        if entry.meta["kind"] == "text":
            part = self._blocks(split, entry, numbers)
        else:
            part = Rows(entry, numbers)
        if not len(part.lengths):
            what = split.source.path or split.source.dataset_name
            dropped = f"; {entry.meta['dropped']} were dropped" if entry.meta["dropped"] else ""
            reason = f"the {name or split.name} split has no rows ({what}){dropped}"
            raise ConfigError(Fault(split.section, reason))
        return part

    def _blocks(self, split: Split, entry: Entry, numbers: np.ndarray | None) -> TextBlocks:
        """Blocks no longer than the model's positions, or a fault where that was not asked for."""
        size, positions = self._args.block_size, self._bound.tokens
        blocks = TextBlocks(entry, size, numbers)
        longest = int(blocks.lengths.max(initial=0))
        if positions is None or longest <= positions:
            return blocks
        whose = self._bound.whose.format(positions)
        reason = f"blocks of {longest} tokens are longer than {whose}"
        if self._args.too_long == "error":
            raise ConfigError(Fault(split.section, f"{reason}: lower block_size"))
        logger.warning("data: %s, %s: %s and are made shorter", split.section, split.name, reason)
        return TextBlocks(entry, positions, numbers)


class _NoRows:
    """The training rows of a source that is not drawn from."""

    lengths = np.empty(0, dtype=np.int64)
    supervised = np.empty(0, dtype=np.int64)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        raise IndexError(index)
