"""The tokens of a split: what is cut, dropped or refused, and when a cached entry serves again."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.bounds import Bound
from det_files.data.encoding import RowEncoder
from det_files.data.sources import open_source
from det_files.data.split_tokens import split_tokens, tokenizer_fingerprint
from det_files.data.templates import Template
from det_files.data.token_cache import TokenCache, cache_key
from det_files.data.token_entry import Entry
from det_files.data.tokenization import IGNORED
from det_files.faults import ConfigError
from tiny import CHAT_TEMPLATE


def write(root: Path, *rows: Any, split: str = "train") -> Path:
    (root / split).mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (root / split / "a.jsonl").write_text(text)
    return root


def pair(question: str, answer: str) -> dict[str, str]:
    return {"input": question, "output": answer}


def tokens_of(
    root: Path,
    tokenizer: PreTrainedTokenizerBase,
    cache: Path,
    bound: Bound | None = None,
    limit: int | None = None,
    split: str = "train",
    **more: Any,
) -> Entry:
    args = DataArguments(sources=[SourceArguments(path=str(root))], **more)
    (source,) = args.settled_sources()
    template = Template.of(args, tokenizer, source)
    opened = open_source(source, 0)[split]
    fingerprint = cache_key(tokenizer_fingerprint(tokenizer))
    return split_tokens(opened, limit, template, fingerprint, bound or Bound(), TokenCache(cache))


def entries(cache: Path) -> int:
    return sum(path.is_dir() and path.name != "digests" for path in cache.iterdir())


ROWS = [pair("cat", "dog " * n) for n in (1, 30, 90, 60)]


def rows_of(entry: Entry) -> list[list[int]]:
    offsets = entry.offsets.tolist()
    return [entry.tokens[start:stop].tolist() for start, stop in pairwise(offsets)]


def test_an_entry_holds_the_encoded_rows(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    entry = tokens_of(write(tmp_path / "data", *ROWS), tokenizer, tmp_path)
    args = DataArguments(sources=[SourceArguments(path="x")])
    encoder = RowEncoder(args.settled_sources()[0], Template.of(args, tokenizer))
    encoded = encoder.encode(ROWS)
    assert rows_of(entry) == [row.tokens for row in encoded]
    assert entry.learned.tolist() == [int(known) for row in encoded for known in row.learned]
    assert entry.learned_counts.tolist() == [sum(row.learned) for row in encoded]


def test_cuts_are_counted_on_each_side(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    long, short = "green house " * 20, "cat"
    sides = [(long, short), (short, long), (long, long), (short, short), (long, short)]
    root = write(tmp_path / "data", *(pair(*side) for side in sides))
    entry = tokens_of(root, tokenizer, tmp_path, max_input_tokens=6, max_output_tokens=5)
    assert (entry.meta["inputs_cut"], entry.meta["outputs_cut"]) == (3, 2)
    assert entry.learned_counts.tolist()[1:3] == [6, 6]  # 5 and the end


def test_rows_that_are_too_long_are_refused_with_their_place(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    root = write(tmp_path / "data", *ROWS)
    lengths = [len(row) for row in rows_of(tokens_of(root, tokenizer, tmp_path))]
    tokens_of(root, tokenizer, tmp_path, Bound(max(lengths)))
    with pytest.raises(ConfigError) as error:
        tokens_of(root, tokenizer, tmp_path, Bound(lengths[1]))
    text = str(error.value)
    assert f"sources[0]: 2 rows are longer than the model's {lengths[1]} positions" in text
    assert f"the first is {root}/train/a.jsonl, line 3, the longest has {max(lengths)} to" in text
    with pytest.raises(ConfigError, match="1 row is longer than a block of 100 tokens"):
        tokens_of(root, tokenizer, tmp_path, Bound(100, "a block of {} tokens"))


def test_rows_that_are_too_long_are_cut_or_dropped_and_counted(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    root = write(tmp_path / "data", *ROWS, pair("cat " * 100, "dog"))
    whole = rows_of(tokens_of(root, tokenizer, tmp_path))
    bound = len(whole[1])
    with caplog.at_level(logging.WARNING):
        cut = tokens_of(root, tokenizer, tmp_path, Bound(bound, too_long="cut"))
        dropped = tokens_of(root, tokenizer, tmp_path, Bound(bound, too_long="drop"))
    assert rows_of(cut) == [row[:bound] for row in whole[:4]]  # of the fifth no answer is left
    assert (cut.meta["cut"], cut.meta["dropped"]) == (2, 1)
    assert rows_of(dropped) == whole[:2]
    assert (dropped.meta["cut"], dropped.meta["dropped"]) == (0, 3)
    assert "'cut': 2, 'dropped': 1" in caplog.text
    assert "'cut': 0, 'dropped': 3" in caplog.text
    # What the log says is said again when the entry serves again.
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        tokens_of(root, tokenizer, tmp_path, Bound(bound, too_long="drop"))
    assert "'dropped': 3" in caplog.text


def test_documents_end_with_their_token_and_pieces_of_one_are_joined(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from det_files.data import files

    documents = ["one two\nthree four\nfive six\nseven", "東京 😀", ""]
    (tmp_path / "data" / "train").mkdir(parents=True)
    for number, text in enumerate(documents):
        (tmp_path / "data" / "train" / f"{number}.txt").write_text(text)
    whole = tokens_of(tmp_path / "data", tokenizer, tmp_path / "a")
    monkeypatch.setattr(files, "PIECE_CHARACTERS", 12)
    pieces = tokens_of(tmp_path / "data", tokenizer, tmp_path / "b")
    expected = [
        [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for text in documents
    ]
    assert rows_of(whole) == rows_of(pieces) == expected
    assert whole.meta["kind"] == "text"
    assert whole.learned.all()


def test_conversations_of_several_turns(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    turns = [
        {"role": role, "content": text}
        for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ]
    root = write(tmp_path / "data", {"messages": turns}, pair("a", "b"))
    entry = tokens_of(root, tokenizer, tmp_path, input_format="Q: __input__")
    learned = [
        token if known else IGNORED
        for token, known in zip(entry.tokens.tolist(), entry.learned.tolist(), strict=True)
    ]
    text = tokenizer.decode([token for token in learned if token != IGNORED])
    assert text == "b<|im_end|>d<|im_end|>b<|im_end|>"
    first, second = (tokenizer.decode(row) for row in rows_of(entry))
    assert "Q: " not in first  # formats are for pairs
    assert "Q: a" in second
    with pytest.raises(ConfigError) as error:
        tokens_of(root, tokenizer, tmp_path, chat_template="none")
    assert "data_arguments.sources[0]: " in str(error.value)
    assert f"{root}/train/a.jsonl, line 1: conversations need a chat template" in str(error.value)


def test_conversations_that_the_template_refuses_are_named(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role!') }}"
        "{% endif %}" + CHAT_TEMPLATE
    )
    refused = [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]
    root = write(tmp_path / "data", pair("a", "b"), *[{"messages": refused}] * 2)
    with pytest.raises(ConfigError) as error:
        tokens_of(root, tokenizer, tmp_path)
    for line in (2, 3):
        place = f"sources[0]: {root}/train/a.jsonl, line {line}"
        assert f"{place}: the chat template refuses it: No system role!" in str(error.value)


def test_the_same_data_is_tokenized_once_wherever_it_lies(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, tiny_model: Path
) -> None:
    first = tokens_of(write(tmp_path / "data", *ROWS), tokenizer, tmp_path / "cache")
    tokenizer(["a", "b c"], padding=True, truncation=True, max_length=1)  # leaves no trace
    copy = write(tmp_path / "copy", *ROWS)
    again = tokens_of(copy, AutoTokenizer.from_pretrained(tiny_model), tmp_path / "cache")
    assert again.directory == tokens_of(copy, tokenizer, tmp_path / "cache").directory
    assert again.directory == first.directory
    assert entries(tmp_path / "cache") == 1


def test_whatever_changes_tokens_changes_the_entry(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    root, cache = write(tmp_path / "data", *ROWS), tmp_path / "cache"
    write(tmp_path / "data", *ROWS, split="test")
    tokens_of(root, tokenizer, cache)
    for more in (
        {"split": "test"},
        {"limit": 2},
        {"bound": Bound(10, too_long="cut")},
        {"bound": Bound(10, too_long="drop")},
        {"max_input_tokens": 3},
        {"max_output_tokens": 3},
        {"input_format": "Q __input__"},
        {"output_format": "A __output__"},
        {"chat_template": "none"},
    ):
        count = entries(cache)
        tokens_of(root, tokenizer, cache, **more)
        assert entries(cache) == count + 1, more
    count = entries(cache)
    write(tmp_path / "data", *ROWS[:2], pair("cat", "cow"), ROWS[3])
    tokens_of(root, tokenizer, cache)
    assert entries(cache) == count + 1


def test_another_tokenizer_or_chat_template_never_takes_an_entry(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    root, cache = write(tmp_path / "data", *ROWS), tmp_path / "cache"

    def count() -> int:
        tokens_of(root, tokenizer, cache)
        return entries(cache)

    assert count() == count() == 1
    tokenizer.chat_template = CHAT_TEMPLATE.replace("\n", "\n\n", 1)
    assert count() == 2
    tokenizer.chat_template = CHAT_TEMPLATE
    assert count() == 2
    tokenizer.add_tokens(["dog dog"])
    assert count() == 3
    tokenizer.eos_token = "<|pad|>"
    assert count() == 4
