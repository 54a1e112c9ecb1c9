"""Perplexity: every token once, the value of a plain computation, on several architectures."""

from __future__ import annotations

import copy
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from det_files.evaluation.bootstrap import estimate
from det_files.evaluation.perplexity import (
    MAX_LENGTH,
    opening_token,
    score_texts,
    score_tokens,
    windows_of,
)
from tiny import ARCHITECTURES, make_tokenizer, sentence

LENGTHS = (40, 1, 0, 23, 9, 10, 11)
# A model that `architectures` does not know: its own forward makes the logits.
UNKNOWN = ("stablelm", ARCHITECTURES["llama"])


def tiny(architecture: str, settings: dict[str, Any] | None = None) -> Any:
    torch.manual_seed(1)
    config = AutoConfig.for_model(architecture, **(settings or ARCHITECTURES[architecture]))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3.0)  # so that context matters
    return model


def documents() -> list[list[int]]:
    rng = random.Random(4)
    return [[rng.randrange(4, 384) for _ in range(length)] for length in LENGTHS]


@torch.no_grad()
def plainly(model: Any, ids: list[int], length: int, stride: int) -> tuple[float, int]:
    """Loss and tokens by the loop of transformers' guide, in float64 from all logits."""
    loss, count, before = 0.0, 0, 1
    for begin in range(0, max(1, len(ids)), stride):
        end = min(begin + length, len(ids))
        if end > before:
            window = torch.tensor([ids[begin:end]])
            log_p = model(input_ids=window).logits[0].double().log_softmax(-1)
            for position in range(before, end):
                loss -= float(log_p[position - begin - 1, ids[position]])
                count += 1
            before = end
        if end == len(ids):
            break
    return loss, count


@pytest.mark.parametrize("architecture", [*sorted(ARCHITECTURES), UNKNOWN[0]])
def test_losses_are_those_of_a_plain_computation(architecture: str) -> None:
    model = tiny(*UNKNOWN) if architecture == UNKNOWN[0] else tiny(architecture)
    plain = copy.deepcopy(model)
    found = score_tokens(model, documents(), opening=1, max_length=10, stride=4, batch_tokens=64)
    for sums, ids in zip(found.tolist(), documents(), strict=True):
        loss, count = plainly(plain, [1, *ids], 10, 4)
        assert sums[1] == count == len(ids)
        assert sums[0] == pytest.approx(loss, rel=1e-5)


def test_each_token_is_scored_once_with_context() -> None:
    for tokens in range(60):
        for length, stride in ((6, 3), (10, 1), (10, 9), (2, 1)):
            scored = []
            for begin, end, first in windows_of(tokens, length, stride):
                assert end - begin <= length
                assert begin == 0 or first - begin >= length - stride
                scored += range(first, end)
            assert scored == list(range(1, tokens))


def test_a_text_that_fits_has_the_value_of_one_pass() -> None:
    model, ids = tiny("llama"), documents()[0]
    with torch.no_grad():
        whole = torch.tensor([[1, *ids]])
        expected = float(model(input_ids=whole, labels=whole).loss)
    for stride in (1, 17, 40):
        found = score_tokens(model, [ids], opening=1, max_length=41, stride=stride)
        assert float(found[0, 0] / found[0, 1]) == pytest.approx(expected, rel=1e-5)
    windowed = score_tokens(model, [ids], opening=1, max_length=8, stride=7)
    assert float(windowed[0, 0] / windowed[0, 1]) != pytest.approx(expected, rel=1e-3)


def test_batches_make_no_difference() -> None:
    model = tiny("gpt2")
    alone = score_tokens(model, documents(), opening=1, max_length=12, stride=5, batch_tokens=1)
    together = score_tokens(model, documents(), opening=1, max_length=12, stride=5)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_without_an_opening_the_first_token_is_not_scored() -> None:
    model = tiny("llama")
    found = score_tokens(model, documents(), opening=None, max_length=16, stride=8)
    assert found[:, 1].tolist() == [max(0, length - 1) for length in LENGTHS]


def test_logits_are_of_scored_tokens_alone() -> None:
    model = tiny("llama")
    rows: list[int] = []
    model.lm_head.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    score_tokens(model, documents(), opening=1, max_length=10, stride=2)
    assert sum(rows) == sum(LENGTHS)


def test_texts_are_measured_by_token_character_and_byte(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_tokenizer(tmp_path))
    texts = [sentence(random.Random(1), 30, 40), "天気 café", ""]
    model = tiny("llama")
    found = score_texts(model, tokenizer, texts, max_length=32)
    assert opening_token(tokenizer) == tokenizer.bos_token_id
    ids = [tokenizer(text)["input_ids"] for text in texts]
    sums = score_tokens(model, ids, opening=tokenizer.bos_token_id, max_length=32, stride=16)
    loss, tokens, right = sums.sum(0).tolist()
    assert tokens == sum(map(len, ids))
    assert [document.characters for document in found.documents] == [len(texts[0]), 7, 0]
    assert [document.bytes for document in found.documents] == [len(texts[0]), 12, 0]
    assert found.perplexity().value == pytest.approx(math.exp(loss / tokens))
    characters = len(texts[0]) + 7
    assert found.character_perplexity().value == pytest.approx(math.exp(loss / characters))
    bits = loss / math.log(2) / (len(texts[0]) + 12)
    assert found.bits_per_byte().value == pytest.approx(bits)
    assert found.token_accuracy().value == pytest.approx(right / tokens)
    interval = estimate(found.perplexity())
    assert interval.low <= interval.value <= interval.high


def test_what_opens_a_text() -> None:
    class Tokenizer:
        def __init__(self, bos: int | None, eos: int | None) -> None:
            self.bos_token_id, self.eos_token_id = bos, eos

    assert [opening_token(Tokenizer(*ids)) for ids in ((0, 2), (None, 2), (None, None))] == [  # type: ignore[arg-type]
        0,
        2,
        None,
    ]


def test_adapters_count_where_they_are_on() -> None:
    from peft import LoraConfig, PromptTuningConfig, get_peft_model

    plain = tiny("llama")
    config = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = get_peft_model(copy.deepcopy(plain), config)
    options: dict[str, Any] = {"opening": 1, "max_length": 12, "stride": 6}
    base = score_tokens(plain, documents(), **options)
    on = score_tokens(tuned, documents(), **options)
    with tuned.disable_adapter():
        off = score_tokens(tuned, documents(), **options)
    torch.testing.assert_close(off, base)
    merged = score_tokens(tuned.merge_and_unload(), documents(), **options)
    torch.testing.assert_close(on, merged, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(on, base, rtol=1e-3)
    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    prompted = get_peft_model(copy.deepcopy(plain), prompt)
    found = score_tokens(prompted, documents(), **options)
    assert found[:, 1].tolist() == list(LENGTHS)
    assert not torch.allclose(found, base, rtol=1e-3)
    with pytest.raises(ValueError, match="windows of 2 to 253 tokens, got 254"):
        score_tokens(prompted, documents(), opening=1, max_length=254)


def test_a_model_in_training_goes_on_training() -> None:
    settings = ARCHITECTURES["gpt2"] | {"resid_pdrop": 0.5, "embd_pdrop": 0.5}
    model = tiny("gpt2", settings)
    expected = score_tokens(model, documents(), opening=1)
    model.train()
    torch.testing.assert_close(score_tokens(model, documents(), opening=1), expected)
    assert model.training and model.transformer.drop.training


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_length": 257}, "windows of 2 to 256 tokens, got 257"),
        ({"max_length": 1}, "windows of 2 to 256 tokens, got 1"),
        ({"max_length": 10, "stride": 10}, "stride of 1 to 9 tokens, got 10"),
        ({"stride": 0}, "stride of 1 to 255 tokens, got 0"),
    ],
)
def test_windows_that_cannot_be(options: dict[str, int], reason: str) -> None:
    assert MAX_LENGTH > 256
    with pytest.raises(ValueError, match=reason):
        score_tokens(tiny("llama"), documents(), opening=1, **options)


def test_an_encoder_decoder_has_none() -> None:
    from tiny import SEQ2SEQ

    config = AutoConfig.for_model("t5", **SEQ2SEQ["t5"])
    with pytest.raises(ValueError, match="encoder-decoder"):
        score_tokens(AutoModelForSeq2SeqLM.from_config(config), documents(), opening=0)
