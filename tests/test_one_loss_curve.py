"""Invariant: one loss curve for every way of spreading the same work (float32, from disk)."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import RunTrials, Trial
from det_files.trained.locating import find_checkpoint
from tiny import make_echoes, make_model

TWICE = {
    "training_arguments__gradient_accumulation_steps": 2,
    "training_arguments__per_device_train_batch_size": 2,
}
ADAPTERS = {"tuning_arguments": {"method": "lora", "r": 4}}
PROMPT = {
    "tuning_arguments": {"method": "prompt", "num_virtual_tokens": 4},
    "training_arguments__learning_rate": 1.0,
}
PACKED = {"data_arguments__packing": True}
# A global batch is then 8 blocks of 96 tokens, of about three rows each.
BLOCKED = {"data_arguments__packing": "blocks", "data_arguments__block_size": 96}
COMPILED = {"model_arguments__compile": "layers"}


def stage(name: str, **more: Any) -> dict[str, Any]:
    return {"deepspeed_config": f"ds_configs/ds_config_stage_{name}.json"} | more


# The global batch is 8 rows in all of them.
FULL = {
    "ddp": {},
    "ddp accumulated": TWICE,
    "stage 1": stage("1"),
    "stage 2": stage("2"),
    "stage 2 accumulated": stage("2", **TWICE),
    "stage 2 offloaded": stage("2_offload"),
    "stage 3": stage("3"),
    "stage 3 offloaded": stage("3_offload"),
    "packed": PACKED,
    "packed accumulated": PACKED | TWICE,
    "packed stage 1": stage("1", **PACKED),
    "packed stage 2": stage("2", **PACKED),
    "packed stage 2 accumulated": stage("2", **PACKED, **TWICE),
    "packed stage 3": stage("3", **PACKED),
    "packed stage 3 accumulated": stage("3", **PACKED, **TWICE),
}
LORA = {
    "lora ddp": ADAPTERS,
    "lora stage 2": stage("2", **ADAPTERS),
    "lora stage 3": stage("3", **ADAPTERS),
    "lora packed": ADAPTERS | PACKED,
    "lora packed stage 2": stage("2", **ADAPTERS, **PACKED),
    "lora packed stage 3": stage("3", **ADAPTERS, **PACKED),
    "lora packed stage 2 compiled": stage("2", **ADAPTERS, **PACKED, **COMPILED),
}
# Of weights in 4 bits, which are the same on every rank.
NF4_LORA = ADAPTERS | {"model_arguments__quantization": "nf4"}
NF4 = {
    "nf4 ddp accumulated": NF4_LORA | TWICE,
    "nf4 stage 1": stage("1", **NF4_LORA),
    "nf4 stage 2": stage("2", **NF4_LORA),
    "nf4 stage 2 offloaded": stage("2_offload", **NF4_LORA),
    "nf4 packed stage 2 compiled": stage("2", **NF4_LORA, **PACKED, **COMPILED),
    "nf4 with activation checkpointing": NF4_LORA
    | {"training_arguments__activation_checkpointing": True},
}
PROMPTS = {
    "prompt ddp accumulated": PROMPT | TWICE,
    "prompt stage 2": stage("2", **PROMPT),
    "prompt stage 3": stage("3", **PROMPT),
}
SEQ2SEQ = {
    "ddp": {},
    "ddp accumulated": TWICE,
    "stage 2": stage("2"),
    "stage 3": stage("3"),
    "stage 3 accumulated": stage("3", **TWICE),
}
BLOCKS = {
    "blocks": BLOCKED,
    "blocks accumulated": BLOCKED | TWICE,
    "blocks stage 2": stage("2", **BLOCKED),
    "blocks stage 3 accumulated": stage("3", **BLOCKED, **TWICE),
}


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials) -> dict[str, Trial]:
    """The curves of one process without DeepSpeed, which all others must agree with."""
    four = TWICE | {"training_arguments__gradient_accumulation_steps": 4}
    trials = {
        "full": {},
        "lora": ADAPTERS,
        "nf4": NF4_LORA,
        "prompt": PROMPT,
        "prompt trained less": PROMPT | {"training_arguments__learning_rate": 0.1},
        "accumulated": four,
        "packed": PACKED,
        "packed accumulated": PACKED | four,
        "packed compiled": PACKED | COMPILED,
        "compiled with activation checkpointing": PACKED
        | COMPILED
        | {"training_arguments__activation_checkpointing": True},
        "offloaded activations": PACKED | {"model_arguments__activation_offloading": True},
        "blocks": BLOCKED,
    }
    return run_trials(tmp_path_factory.mktemp("one"), 1, trials)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials) -> dict[str, Trial]:
    return run_trials(tmp_path_factory.mktemp("two"), 2, FULL | LORA | NF4 | PROMPTS | BLOCKS)


def assert_same_curve(trial: Trial, reference: Trial, moves: bool = True) -> None:
    assert trial.code == 0, trial.output
    # A curve that does not move could not differ.
    assert not moves or reference.losses()[-1] < reference.losses()[0] * 0.99
    assert trial.losses() == pytest.approx(reference.losses(), rel=1e-5)
    mine, theirs = (t.rows("validation")[-1]["metrics"] for t in (trial, reference))
    for metric in ("eval_loss", "eval_perplexity", "eval_token_accuracy"):
        assert mine[metric] == pytest.approx(theirs[metric], rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "accumulated",
        "packed",
        "packed accumulated",
        "packed compiled",
        "compiled with activation checkpointing",
        "offloaded activations",
    ],
)
def test_on_one_rank(name: str, one_rank: dict[str, Trial]) -> None:
    assert_same_curve(one_rank[name], one_rank["full"])


@pytest.mark.parametrize("name", FULL)
def test_full_tuning(name: str, one_rank: dict[str, Trial], two_ranks: dict[str, Trial]) -> None:
    assert_same_curve(two_ranks[name], one_rank["full"])


@pytest.mark.parametrize("name", LORA)
def test_lora(name: str, one_rank: dict[str, Trial], two_ranks: dict[str, Trial]) -> None:
    assert_same_curve(two_ranks[name], one_rank["lora"])


@pytest.mark.parametrize("name", NF4)
def test_nf4(name: str, one_rank: dict[str, Trial], two_ranks: dict[str, Trial]) -> None:
    assert one_rank["nf4"].losses() != pytest.approx(one_rank["lora"].losses(), rel=1e-5)
    assert_same_curve(two_ranks[name], one_rank["nf4"])


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts(name: str, one_rank: dict[str, Trial], two_ranks: dict[str, Trial]) -> None:
    # A prompt of a random model brings its loss down by little, but it is what is trained.
    less = one_rank["prompt trained less"].losses()
    assert one_rank["prompt"].losses()[-1] < less[-1] * 0.9995
    assert_same_curve(two_ranks[name], one_rank["prompt"], moves=False)


@pytest.fixture(scope="module")
def encoder_decoder(
    tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials
) -> dict[str, Trial]:
    """The curves of a tiny T5 that has some answers right: `one` of one rank, all others of two."""
    directory = tmp_path_factory.mktemp("seq2seq")
    module = "det_files.run_seq2seq"
    new = str(make_model(directory / "model", "t5"))
    # Seven rows to validate on, which two ranks do not share evenly.
    data = {"data_arguments__sources": [{"path": str(make_echoes(directory / "data"))}]}
    # Taught by itself before: curves of as many steps differ by more than the tolerance.
    lessons = {
        "model_arguments__model_name_or_path": new,
        "training_arguments__max_steps": 30,
        "training_arguments__eval_strategy": "no",
    }
    taught = run_trials(directory, 1, {"taught": data | lessons}, module)["taught"]
    assert taught.code == 0, taught.output
    model = data | {
        "model_arguments__model_name_or_path": str(find_checkpoint(taught.directory, None)),
        "model_arguments__tokenizer_name": new,
        # So that ranks generate their shares, and under ZeRO-3 gather weights for it together.
        "training_arguments__predict_with_generate": True,
        "training_arguments__generation_max_length": 12,
    }
    trials = {name: model | options for name, options in SEQ2SEQ.items()}
    one = run_trials(directory, 1, {"one": model}, module)
    return one | run_trials(directory, 2, trials, module)


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_encoder_decoders(name: str, encoder_decoder: dict[str, Trial]) -> None:
    assert_same_curve(encoder_decoder[name], encoder_decoder["one"])
    mine, one = (encoder_decoder[n].rows("validation")[-1]["metrics"] for n in (name, "one"))
    assert 0 < one["eval_rouge1"] < 100  # some answers are right, and some are not
    for metric in ("eval_rouge1", "eval_rougeL", "eval_bleu", "eval_exact_match"):
        assert mine[metric] == pytest.approx(one[metric])


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str, one_rank: dict[str, Trial], two_ranks: dict[str, Trial]) -> None:
    assert_same_curve(two_ranks[name], one_rank["blocks"])
