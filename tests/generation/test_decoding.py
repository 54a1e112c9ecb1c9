"""Batched answers are those of plain greedy search, one prompt at a time."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from det_files.generation.answers import end_ids
from det_files.generation.decoding import generate_answers
from det_files.generation.padding import batches_by_length, pad
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.methods import apply_tuning
from tiny import SEQ2SEQ, make_model

TOKENS = 12
LENGTHS = (3, 17, 5, 1, 9, 30, 4)


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def model(tiny_model: Path) -> Any:
    """The tiny model with larger weights: at its own, all prompts have much the same answer."""
    loaded = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        for parameter in loaded.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    return loaded.eval()


@pytest.fixture
def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(4, 380, (n,), generator=generator).tolist() for n in LENGTHS]


def greedy(model: Any, prompt: list[int], ends: set[int], tokens: int = TOKENS) -> list[int]:
    """Plain greedy search: no batch, no padding, no cache; up to and without the end token."""
    ids = list(prompt)
    for _ in range(tokens):
        with torch.no_grad():
            token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
    return ids[len(prompt) :]


def expected(model: Any, tokenizer: Any, prompts: list[list[int]], **options: Any) -> list[str]:
    ends = set(end_ids(model, tokenizer))
    return [
        tokenizer.decode(greedy(model, p, ends, **options), skip_special_tokens=True)
        for p in prompts
    ]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_answers_are_those_of_greedy_search_in_input_order(
    model: Any, tokenizer: Any, prompts: list[list[int]], batch_size: int
) -> None:
    wanted = expected(model, tokenizer, prompts)
    assert len(set(wanted)) == len(prompts)  # or the order would not show
    found = generate_answers(
        model, tokenizer, prompts, max_new_tokens=TOKENS, batch_size=batch_size
    )
    assert found == wanted


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizers_padding_side_neither_matters_nor_changes(
    model: Any, tokenizer: Any, prompts: list[list[int]], side: str
) -> None:
    tokenizer.padding_side = side
    found = generate_answers(model, tokenizer, prompts, max_new_tokens=TOKENS)
    assert found == expected(model, tokenizer, prompts)
    assert tokenizer.padding_side == side


def test_a_tokenizer_without_padding_token_will_do(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    wanted = expected(model, tokenizer, prompts)
    tokenizer.pad_token = None
    assert generate_answers(model, tokenizer, prompts, max_new_tokens=TOKENS) == wanted


def test_the_models_own_sampling_and_training_settings_have_no_effect(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    wanted = expected(model, tokenizer, prompts)
    model.config.use_cache = False
    settings = {
        "do_sample": True,
        "temperature": 5.0,
        "top_k": 50,
        "repetition_penalty": 3.0,
        "no_repeat_ngram_size": 1,
        "min_new_tokens": 12,
        "max_length": 5,
        "use_cache": False,
    }
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    assert generate_answers(model, tokenizer, prompts, max_new_tokens=TOKENS) == wanted


def test_an_answer_ends_at_any_end_token_and_without_it(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    whole = [greedy(model, prompt, set()) for prompt in prompts]
    ends = [whole[0][4], whole[1][7]]
    model.generation_config.eos_token_id = ends
    found = generate_answers(model, tokenizer, prompts, max_new_tokens=TOKENS)
    assert found == expected(model, tokenizer, prompts)
    assert found[0] == tokenizer.decode(whole[0][: whole[0].index(ends[0])])
    assert any(len(greedy(model, p, set(ends))) == TOKENS for p in prompts)  # others go on


def test_no_answer_is_longer_than_allowed(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    found = generate_answers(model, tokenizer, prompts, max_new_tokens=3)
    assert found == expected(model, tokenizer, prompts, tokens=3)


def test_end_ids_are_the_tokenizers_and_the_models(model: Any, tokenizer: Any) -> None:
    model.generation_config.eos_token_id = [9, 7]
    assert end_ids(model, tokenizer) == sorted({7, 9, tokenizer.eos_token_id})
    model.generation_config.eos_token_id = None
    assert end_ids(model, tokenizer) == [tokenizer.eos_token_id]


def test_one_copy_of_the_weights_answers_with_the_adapter_off_and_on(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    base = expected(model, tokenizer, prompts)
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    tuned = peft.get_peft_model(model, config).eval()
    after = expected(tuned, tokenizer, prompts)
    assert after != base
    with tuned.disable_adapter():
        assert generate_answers(tuned, tokenizer, prompts, max_new_tokens=TOKENS) == base
    assert generate_answers(tuned, tokenizer, prompts, max_new_tokens=TOKENS) == after


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_left_as_it_was(
    model: Any, tokenizer: Any, prompts: list[list[int]], training: bool
) -> None:
    model.train(training)
    generate_answers(model, tokenizer, prompts[:1], max_new_tokens=1)
    assert model.training is training


def test_an_empty_prompt_is_refused_by_number(model: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="prompt 1 has no tokens"):
        generate_answers(model, tokenizer, [[5], []], max_new_tokens=1)


def test_no_prompts_have_no_answers(model: Any, tokenizer: Any) -> None:
    assert generate_answers(model, tokenizer, [], max_new_tokens=1) == []


def test_batches_hold_prompts_of_like_length_each_once() -> None:
    batches = list(batches_by_length([[0] * n for n in LENGTHS], 3))
    assert batches == [[5, 1, 4], [2, 6, 0], [3]]


def test_batches_of_equal_length_hold_no_other() -> None:
    batches = list(
        batches_by_length([[0] * n for n in (2, 3, 2, 1, 2, 3)], 2, equal=lambda length: True)
    )
    assert batches == [[1, 5], [0, 2], [4], [3]]


def test_padding_goes_before_a_causal_prompt_and_behind_an_encoders_and_is_masked() -> None:
    batch = pad([[5, 6, 7], [8]], pad_id=2, left=True)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [2, 2, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    batch = pad([[5, 6, 7], [8]], pad_id=2, left=False)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 2, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def strengthened(directory: Path, architecture: str, method: str) -> tuple[Any, Any]:
    """A model of larger weights, with virtual tokens that count; and its tokenizer."""
    kind = AutoModelForSeq2SeqLM if architecture in SEQ2SEQ else AutoModelForCausalLM
    make_model(directory, architecture)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model: Any = kind.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    args = TuningArguments(method=method, **({} if method == "full" else {"num_virtual_tokens": 4}))
    model = apply_tuning(model, args, tokenizer)
    if method != "full":
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(2 * torch.randn_like(parameter))
    return model.eval(), tokenizer


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        *(("bart", "full"), ("mbart", "full"), ("t5", "full"), ("gpt2", "full")),
        *(("bart", "prompt"), ("t5", "prompt"), ("llama", "prompt"), ("gpt2", "prompt")),
        *(("llama", "p_tuning"), ("llama", "prefix")),
    ],
)
def test_a_batch_of_different_lengths_answers_as_single_prompts_do(
    tmp_path: Path, architecture: str, method: str
) -> None:
    model, tokenizer = strengthened(tmp_path, architecture, method)
    generator = torch.Generator().manual_seed(5)
    # 3 ends a text; of the two that are equally long, a batch is made in any case.
    prompts = [
        [*torch.randint(4, 380, (n,), generator=generator).tolist(), 3] for n in (7, 3, 2, 5, 2)
    ]
    single = generate_answers(model, tokenizer, prompts, max_new_tokens=10, batch_size=1)
    assert len(set(single)) > 1
    assert generate_answers(model, tokenizer, prompts, max_new_tokens=10, batch_size=4) == single
