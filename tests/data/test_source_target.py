"""Rows of encoder-decoders: two sides, each with its own special tokens, limit and padding."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.collator import SourceTargetCollator, row_lengths, row_of_positions
from det_files.data.encoding import EncodedRow
from det_files.data.source_target import SourceTargetEncoder
from det_files.data.templates import Template
from det_files.loss_head import install_loss_head
from tiny import make_model, mbart_tokenizer


@pytest.fixture
def t5_like(tiny_model: Path) -> PreTrainedTokenizerBase:
    """A tokenizer that ends every text with its end token, as T5's."""
    from tokenizers import processors

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return tokenizer


def encoder(tokenizer: PreTrainedTokenizerBase, **limits: int) -> SourceTargetEncoder:
    source = SourceArguments(path="x", input_format="fix: __input__", **limits)
    return SourceTargetEncoder(source, Template.of(DataArguments(), tokenizer, source, True))


def parts(row: EncodedRow) -> tuple[list[int], list[int]]:
    pairs = list(zip(row.tokens, row.learned, strict=True))
    return [t for t, learned in pairs if not learned], [t for t, learned in pairs if learned]


ROW = {"input": "the red cat", "output": "a dog"}


def test_both_sides_have_what_the_tokenizer_puts_around(t5_like: PreTrainedTokenizerBase) -> None:
    (row,) = encoder(t5_like).encode([ROW])
    source, target = parts(row)
    assert source == t5_like("fix: the red cat")["input_ids"]
    assert target == t5_like("a dog")["input_ids"]
    assert source[-1] == target[-1] == t5_like.eos_token_id
    assert encoder(t5_like).prompt(ROW) == source


def test_a_target_ends_where_the_tokenizer_writes_no_end(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    (row,) = encoder(tokenizer).encode([ROW])
    source, target = parts(row)
    assert target == [*tokenizer("a dog")["input_ids"], tokenizer.eos_token_id]
    assert source == tokenizer("fix: the red cat")["input_ids"]


def test_limits_are_of_each_side_with_its_special_tokens(t5_like: PreTrainedTokenizerBase) -> None:
    long = {"input": "the red cat sees a dog", "output": "one two three four five"}
    limited = encoder(t5_like, max_input_tokens=4, max_output_tokens=3)
    row, short = limited.encode([long, {"input": "a", "output": "b"}])
    source, target = parts(row)
    prefix = len(t5_like("fix: ", add_special_tokens=False)["input_ids"])
    assert (row.input_cut, row.output_cut) == (True, True)
    assert len(target) <= 3
    assert len(source) <= 4 + prefix
    assert source[-1] == target[-1] == t5_like.eos_token_id
    assert (short.input_cut, short.output_cut) == (False, False)


def test_a_rows_length_is_that_of_its_longer_side() -> None:
    row = EncodedRow([1, 2, 3, 4, 5], [False, False, False, True, True], separate=True)
    assert row.length == 3
    assert row.lengths == (3, 2)
    assert row.cut_to(3) == (row.tokens, row.learned)
    assert row.cut_to(3, 1) == ([1, 2, 3, 4], [False, False, False, True])
    assert row.cut_to(1) == ([1, 4], [False, True])
    assert EncodedRow([1, 2], [False, True]).length == 2


@pytest.mark.parametrize("kind", ["mbart", "mbart50"])
def test_a_cut_keeps_what_ends_a_side(kind: str) -> None:
    tokenizer = mbart_tokenizer(kind, tgt_lang="ja_XX")
    (row,) = encoder(tokenizer).encode([{"input": "the red cat", "output": "a small dog sees"}])
    source, target = parts(row)
    cut = EncodedRow(*row.cut_to(5, 4), separate=True)
    end, english, japanese = (
        tokenizer.convert_tokens_to_ids(token) for token in ("</s>", "en_XX", "ja_XX")
    )
    ends = [end] if kind == "mbart50" else [end, english]
    assert parts(cut)[0] == source[: 5 - len(ends)] + ends
    if kind == "mbart50":
        assert parts(cut)[1] == [japanese, *target[1:3], end]
    else:  # the decoder begins with the last of them
        assert parts(cut)[1] == [*target[:2], end, japanese]


@pytest.mark.parametrize("architecture", ["bart", "mbart"])
def test_a_target_may_have_as_many_tokens_as_the_model_positions(
    tmp_path: Path, architecture: str
) -> None:
    directory = make_model(tmp_path, architecture, max_position_embeddings=8)
    model = AutoModelForSeq2SeqLM.from_pretrained(directory).eval()
    target = torch.arange(20, 28)
    labels = torch.cat([torch.full((4,), -100), target])
    row = {"input_ids": torch.cat([torch.arange(5, 9), target]), "labels": labels}
    start = model.config.decoder_start_token_id
    with torch.no_grad():
        read = torch.cat([torch.tensor([start]), target[:-1]])[None]
        logits = model(input_ids=torch.arange(5, 9)[None], decoder_input_ids=read).logits[0]
        wanted = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    install_loss_head(model)
    batch = SourceTargetCollator(0, start)([row])
    del batch["items"]
    assert model(**batch)["loss"].item() == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize(("start", "first"), [(9, [9, 9]), (None, [5, 7])])
def test_the_collator_shifts_targets_behind_the_decoders_start(
    start: int | None, first: list[int]
) -> None:
    rows = [
        {
            "input_ids": torch.tensor([1, 2, 3, 4, 5]),
            "labels": torch.tensor([-100, -100, -100, 4, 5]),
        },
        {"input_ids": torch.tensor([6, 7]), "labels": torch.tensor([-100, 7])},
    ]
    batch = SourceTargetCollator(0, start)(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [6, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 4, 5], [-100, 7, -100]]
    assert batch["decoder_input_ids"].tolist() == [[first[0], 4], [first[1], 0]]
    assert row_lengths(batch).tolist() == [5, 2]
    assert row_of_positions(batch).tolist() == [[0, 0, 0], [1, 1, 1]]
