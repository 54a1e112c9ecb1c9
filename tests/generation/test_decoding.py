"""Batched answers are those of plain greedy search, one prompt at a time."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch

from det_files.generation.answers import Answer, end_ids
from det_files.generation.decoding import decode, generate_answers, own_batches
from det_files.generation.running import can_run
from det_files.generation.sampling import Sampling
from det_files.generation.slots import Slots
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.methods import apply_tuning
from tiny import ARCHITECTURES

TOKENS = 12
Strong = Callable[..., tuple[Any, Any]]
POSITIONS = {"llama": "max_position_embeddings", "gpt2": "n_positions"}
DRAWN = Sampling(TOKENS, temperature=1.5, top_k=60, top_p=0.95, min_p=0.001, seed=3)


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


def test_generate_is_told_of_no_length_twice(
    strong: Strong, prompts: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    model, tokenizer = strong("t5")
    sampling = Sampling(TOKENS)
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        found = by_key(decode(model, tokenizer, prompts[:1], sampling))
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert not [r for r in caplog.records if "min_length" in r.getMessage()]
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(found[0, 0][2])
    ended = by_key(decode(model, tokenizer, prompts[:1], sampling))
    assert len(ended[0, 0]) < TOKENS
    model.generation_config.min_length = TOKENS  # as BART's summaries ship it
    assert by_key(decode(model, tokenizer, prompts[:1], sampling)) == ended


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


def tuned(model: Any, tokenizer: Any, method: str) -> Any:
    """The model with virtual tokens that count."""
    args = TuningArguments(method=method, **({} if method == "full" else {"num_virtual_tokens": 4}))
    model = apply_tuning(model, args, tokenizer)
    if method != "full":
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(2 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        *(("bart", "full"), ("mbart", "full"), ("t5", "full"), ("gpt2", "full")),
        *(("bart", "prompt"), ("t5", "prompt"), ("llama", "prompt"), ("gpt2", "prompt")),
        *(("llama", "p_tuning"), ("llama", "prefix")),
    ],
)
def test_a_batch_of_different_lengths_answers_as_single_prompts_do(
    strong: Strong, architecture: str, method: str
) -> None:
    model, tokenizer = strong(architecture)
    model = tuned(model, tokenizer, method)
    generator = torch.Generator().manual_seed(5)
    # 3 ends a text; of the two that are equally long, a batch is made in any case.
    prompts = [
        [*torch.randint(4, 380, (n,), generator=generator).tolist(), 3] for n in (7, 3, 2, 5, 2)
    ]
    single = generate_answers(model, tokenizer, prompts, max_new_tokens=10, batch_size=1)
    assert len(set(single)) > 1
    assert generate_answers(model, tokenizer, prompts, max_new_tokens=10, batch_size=4) == single


def by_key(answers: Iterable[Answer]) -> dict[tuple[int, int], list[int]]:
    return {(answer.number, answer.sequence): answer.token_ids for answer in answers}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_that_come_and_go_answer_as_they_do_alone(strong: Strong, architecture: str) -> None:
    model, tokenizer = strong(architecture)
    assert can_run(model)
    generator = torch.Generator().manual_seed(5)
    lengths = (3, 17, 5, 1, 9, 30, 12, 12, 2)
    begun = [40, 50, 60, 70]  # what all begin with passes once
    prompts = [begun + torch.randint(4, 380, (n,), generator=generator).tolist() for n in lengths]
    # What some answers say last for the first time ends them, and others wherever they say it.
    whole = [greedy(model, prompt, set(), 20) for prompt in prompts]
    model.generation_config.eos_token_id = [[*dict.fromkeys(whole[n])][-1] for n in (0, 3, 5)]
    ended = set(end_ids(model, tokenizer))
    wanted = [greedy(model, prompt, ended, 20) for prompt in prompts]
    assert len({len(answer) for answer in wanted}) > 1
    for size in (2, 5, 9):
        answers = {
            a.number: a for a in decode(model, tokenizer, prompts, Sampling(20), batch_size=size)
        }
        assert [answers[n].token_ids[: len(w)] for n, w in enumerate(wanted)] == wanted
        for number, tokens in enumerate(wanted):
            answer = answers[number]
            assert answer.finish_reason == ("length" if len(tokens) == 20 else "stop")
            assert answer.num_generated_tokens == min(20, len(tokens) + 1)


def test_no_row_is_computed_after_its_end_and_answers_of_a_prompt_share_its_pass(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    shapes: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(
        lambda _, args, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    sampling = Sampling(40, temperature=1.0, num_return_sequences=3)
    model.generation_config.eos_token_id = list(range(100, 130))
    answers = list(decode(model, tokenizer, prompts, sampling, batch_size=21))
    assert len({answer.num_generated_tokens for answer in answers}) > 5
    entered, steps = shapes[0], shapes[1:]
    assert entered == (len(prompts), max(map(len, prompts)))
    later = sum(answer.num_generated_tokens - 1 for answer in answers)
    assert sum(rows * tokens for rows, tokens in steps) == later


@pytest.mark.parametrize(("architecture", "width"), [("llama", 6), ("mistral", 26)])
def test_what_all_prompts_begin_with_passes_once_unless_windows_slide(
    strong: Strong, architecture: str, width: int
) -> None:
    model, tokenizer = strong(architecture)
    shapes: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(
        lambda _, args, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    prompts = [[*range(20, 40), *ids] for ids in ([5], [6, 7], [8, 9, 10, 11, 12, 13])]
    list(decode(model, tokenizer, prompts, Sampling(1)))
    assert shapes == [*([(1, 20)] if width == 6 else []), (3, width)]


@pytest.mark.parametrize("architecture", ["llama", "bloom", "gemma2", "t5"])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_what_is_drawn_depends_on_seed_and_row_alone(
    strong: Strong, prompts: list[list[int]], architecture: str, penalty: float
) -> None:
    model, tokenizer = strong(architecture, strength=4)
    sampling = replace(DRAWN, num_return_sequences=2, repetition_penalty=penalty)

    def drawn(places: Sequence[int], size: int, **changes: Any) -> dict[tuple[int, int], list[int]]:
        asked = [prompts[place] for place in places]
        how = replace(sampling, **changes)
        return by_key(decode(model, tokenizer, asked, how, batch_size=size, numbers=places))

    every = range(len(prompts))
    wanted = drawn(every, 32)
    assert len(wanted) == 2 * len(prompts)
    assert drawn(every, 1) == drawn(list(every)[::-1], 3) == wanted
    rest = drawn([5, 2], 4)  # resumed with what is left
    assert rest == {key: wanted[key] for key in rest}
    assert all(wanted[n, 0] != wanted[n, 1] for n in every)
    assert all(drawn(every, 32, seed=4)[key] != ids for key, ids in wanted.items())


def test_both_ways_draw_the_same(
    model: Any, tokenizer: Any, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for sampling in (
        Sampling(TOKENS, repetition_penalty=1.5),
        DRAWN,
        replace(DRAWN, repetition_penalty=1.5, num_return_sequences=2),
    ):
        wanted = by_key(decode(model, tokenizer, prompts, sampling))
        with monkeypatch.context() as patch:
            patch.setattr("det_files.generation.running.can_run", lambda model: False)
            assert by_key(decode(model, tokenizer, prompts, sampling, batch_size=4)) == wanted


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_beams_are_those_of_generate_the_best_first(
    strong: Strong, prompts: list[list[int]], architecture: str
) -> None:
    model, tokenizer = strong(architecture)
    sampling = Sampling(TOKENS, num_beams=4, num_return_sequences=3)
    found = {
        (answer.number, answer.sequence): answer.text
        for answer in decode(model, tokenizer, prompts, sampling, batch_size=8)
    }
    assert len(found) == 3 * len(prompts)
    for number, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=4,
            num_return_sequences=3,
            max_new_tokens=TOKENS,
            eos_token_id=end_ids(model, tokenizer),
            pad_token_id=0,
        )
        start = 1 if architecture == "t5" else len(prompt)
        texts = tokenizer.batch_decode(output[:, start:], skip_special_tokens=True)
        assert [found[number, sequence] for sequence in range(3)] == texts


@pytest.mark.parametrize("method", ["full", "prompt", "prefix"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_an_answer_ends_at_the_models_last_position(
    strong: Strong, architecture: str, method: str
) -> None:
    model, tokenizer = strong(architecture, **{POSITIONS[architecture]: 24})
    tokenizer.eos_token = model.generation_config.eos_token_id = None
    model = tuned(model, tokenizer, method)
    left = 24 if method == "full" else 20
    prompts = [[5] * n for n in (3, left - 2, left, left + 1)]
    answers = {a.number: a for a in decode(model, tokenizer, prompts, Sampling(12), batch_size=3)}
    assert [answers[n].num_generated_tokens for n in range(4)] == [12, 3, 1, 0]
    assert {answer.finish_reason for answer in answers.values()} == {"length"}


def test_a_decoders_forced_last_token_is_no_end_of_its_own(strong: Strong) -> None:
    model, tokenizer = strong("bart")
    assert model.generation_config.forced_eos_token_id == tokenizer.eos_token_id
    (answer,) = decode(model, tokenizer, [[5, 6, 7, 3]], Sampling(4))
    assert (answer.token_ids[-1], answer.finish_reason) == (tokenizer.eos_token_id, "length")


@pytest.mark.parametrize("rope", ["dynamic", "longrope"])
def test_positions_that_stretch_with_the_batch_go_through_generate(
    strong: Strong, prompts: list[list[int]], rope: str
) -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    parameters = {"rope_type": rope, "rope_theta": 1e4, "factor": 4.0}
    parameters |= factors | {"original_max_position_embeddings": 16} if rope == "longrope" else {}
    model, tokenizer = strong("llama", rope_parameters=parameters)
    assert not can_run(model)
    single = generate_answers(model, tokenizer, prompts, max_new_tokens=TOKENS, batch_size=1)
    assert generate_answers(model, tokenizer, prompts, max_new_tokens=TOKENS) == single


def test_a_closed_iterator_leaves_the_model_in_its_mode(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    model.train()
    answers = decode(model, tokenizer, prompts, Sampling(3), batch_size=2)
    assert model.training  # nothing is done before the first answer is asked for
    next(answers)
    assert not model.training
    assert not torch.is_inference_mode_enabled()
    answers.close()
    assert model.training


@pytest.mark.parametrize(
    ("device", "lengths", "tokens", "positions", "wanted"),
    [
        ("cpu", [100], 156, None, [([0], 128)]),
        ("cuda", [100], 156, None, [([0], 64)]),
        ("cpu", [100], 1948, None, [([0], 32)]),  # 32 times 2,048 tokens
        ("cuda", [1], 2048, None, [([0], 15)]),
        ("cuda", [40_000], 1, None, [([0], 1)]),
        ("cuda", [100], 100_000, 1024, [([0], 31)]),  # no answer goes beyond the positions
        ("cuda", [100, 12_000, 400, 90], 100, None, [([1], 2), ([2, 0, 3], 64)]),
        ("cuda", [924, 500, 412, 100], 100, None, [([0, 1], 32), ([2, 3], 64)]),
        ("cpu", [], 100, None, []),
    ],
)
def test_long_prompts_are_answered_fewer_at_once(
    device: str,
    lengths: list[int],
    tokens: int,
    positions: int | None,
    wanted: list[tuple[list[int], int]],
) -> None:
    config = SimpleNamespace(is_encoder_decoder=False, max_position_embeddings=positions)
    model = SimpleNamespace(device=torch.device(device), config=config, peft_config=None)
    prompts = [[5] * length for length in lengths]
    assert list(own_batches(model, prompts, Sampling(tokens))) == wanted


def test_long_and_short_prompts_are_answered_as_alone(
    strong: Strong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("det_files.generation.decoding._AT_ONCE", {"cpu": (16, 200)})
    model, tokenizer = strong("llama")
    prompts = [[7, n] * length for n, length in enumerate((2, 45, 3, 20, 2, 1))]
    sizes = [size for _, size in own_batches(model, prompts, Sampling(8))]
    assert sizes == [2, 4, 14]
    answers = by_key(decode(model, tokenizer, prompts, Sampling(8)))
    ends = set(end_ids(model, tokenizer))
    wanted = [greedy(model, prompt, ends, 8) for prompt in prompts]
    assert [answers[n, 0][: len(tokens)] for n, tokens in enumerate(wanted)] == wanted


@pytest.mark.parametrize("way", ["run", "search"])
def test_so_many_rows_are_answered_at_once_unless_said_otherwise(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "search":
        monkeypatch.setattr("det_files.generation.running.can_run", lambda model: False)
    rows: list[int] = []
    model.register_forward_pre_hook(
        lambda _, args, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True
    )
    for bound, wanted in ((65_536, 128), (70, 10)):
        monkeypatch.setattr("det_files.generation.decoding._AT_ONCE", {"cpu": (128, bound)})
        assert len(list(decode(model, tokenizer, [[5, 6, 7, 8]] * 130, Sampling(3)))) == 130
        assert max(rows) == wanted
        rows.clear()


def test_a_long_run_in_few_columns_moves_its_rows(
    model: Any, tokenizer: Any, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("det_files.generation.slots._FIRST_COLUMNS", 0)
    monkeypatch.setattr("det_files.generation.slots._GROWTH", 2)
    model.generation_config.eos_token_id = list(range(200, 210))
    many = prompts * 3
    moves: Counter[str] = Counter()
    move = Slots._move
    most = max(map(len, prompts)) + 60

    def counted(self: Slots, *args: int) -> None:
        columns, where = self.columns, [b.data_ptr() for b in self.keys if b is not None]
        move(self, *args)
        grown = self.columns > columns
        moves["grown" if grown else "in place"] += 1
        assert self.columns <= 1.25 * most + 1
        assert grown or where == [b.data_ptr() for b in self.keys if b is not None]

    monkeypatch.setattr(Slots, "_move", counted)
    found = by_key(decode(model, tokenizer, many, Sampling(60), batch_size=4))
    assert min(moves["in place"], moves["grown"]) > 1
    for number, prompt in enumerate(many):
        wanted = greedy(model, prompt, set(end_ids(model, tokenizer)), 60)
        assert found[number, 0][: len(wanted)] == wanted
