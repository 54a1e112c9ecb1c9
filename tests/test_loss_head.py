"""The loss head: transformers' own loss and gradients in every architecture, packed or padded."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from det_files.architectures import KNOWN
from det_files.attention import can_isolate_rows, isolate_rows
from det_files.data.collator import PackingCollator, PaddingCollator
from det_files.loss_head import install_loss_head
from tiny import ARCHITECTURES

# Alibi, capped attention scores, and an attention that transformers cannot exchange.
PADDED_ONLY = {"bloom", "gemma2", "gptj"}


def tiny(architecture: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture])
    config.use_cache = False
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def rows() -> list[dict[str, torch.Tensor]]:
    """Rows of different lengths, one of them the shortest that learns anything."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for length in (7, 19, 2, 12):
        ids = torch.randint(4, 300, (length,), generator=generator)
        labels = ids.clone()
        labels[: length // 3 + 1] = -100
        found.append({"input_ids": ids, "labels": labels})
    return found


def inputs(collator: PaddingCollator | PackingCollator) -> dict[str, Any]:
    return {key: value for key, value in collator(rows()).items() if key != "items"}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def reference(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, float, str]:
    """transformers' own model after its own backward pass, and its summed loss."""
    model = tiny(request.param)
    batch = inputs(PaddingCollator(0))
    count = int((batch["labels"][:, 1:] != -100).sum())
    loss = model(**batch).loss * count
    loss.backward()
    return model, loss.item(), request.param


def assert_same_gradients(model: PreTrainedModel, reference: PreTrainedModel) -> None:
    largest = max(float(p.grad.abs().max()) for p in reference.parameters() if p.grad is not None)
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("layout", ["padded", "packed", "packed and filled up"])
def test_losses_and_gradients_are_transformers_own(
    layout: str, reference: tuple[PreTrainedModel, float, str]
) -> None:
    wanted, loss, architecture = reference
    model = copy.deepcopy(wanted)
    model.zero_grad()
    assert isolate_rows(model) == can_isolate_rows(model) == (architecture not in PADDED_ONLY)
    if layout != "padded" and architecture in PADDED_ONLY:
        return
    install_loss_head(model)
    collators = {
        "padded": PaddingCollator(0),
        "packed": PackingCollator(0),
        "packed and filled up": PackingCollator(0, multiple=16),
    }
    batch = inputs(collators[layout])
    found = model(**batch)["loss"]
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-5)
    assert_same_gradients(model, wanted)
    model.eval()
    with torch.no_grad():
        scores = model(**batch)["scores"]
    assert scores[0].sum().item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - PADDED_ONLY))
def test_packed_rows_do_not_see_one_another(architecture: str) -> None:
    model = tiny(architecture).eval()
    assert isolate_rows(model)
    install_loss_head(model)
    batch = inputs(PackingCollator(0))
    with torch.no_grad():
        before = model(**batch)["scores"][0]
        batch["input_ids"][0, :7] = 5  # the first row's tokens; its targets stay
        after = model(**batch)["scores"][0]
    first = int((rows()[0]["labels"][1:] != -100).sum())
    assert (before[:first] - after[:first]).abs().max() > 1e-4
    assert torch.equal(before[first:], after[first:])


def test_without_labels_the_model_is_what_it_was() -> None:
    model = tiny("llama").eval()
    plain = copy.deepcopy(model)
    isolate_rows(model)
    install_loss_head(model)
    install_loss_head(model)  # a second time changes nothing
    ids = rows()[1]["input_ids"][None]
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, plain(input_ids=ids).logits)
    # Padded on the left, as generation pads.
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    mine, theirs = (
        m.generate(input_ids=ids, attention_mask=mask, **options) for m in (model, plain)
    )
    assert torch.equal(mine, theirs)


@pytest.mark.parametrize("collator", [PaddingCollator(0), PackingCollator(0)])
def test_float32_weights_under_bfloat16_autocast(
    collator: PaddingCollator | PackingCollator,
) -> None:
    """Full tuning without DeepSpeed: rotary positions make queries and keys float32."""
    model = tiny("llama")
    wanted = model(**inputs(PaddingCollator(0))).loss.item()
    isolate_rows(model)
    install_loss_head(model)
    batch = inputs(collator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**batch)["loss"] / int((batch["labels"][:, 1:] != -100).sum())
    loss.backward()
    assert loss.item() == pytest.approx(wanted, rel=1e-2)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("target", ["q_proj", "lm_head"])
def test_adapters_on_layers_and_on_the_head(target: str) -> None:
    import peft

    torch.manual_seed(3)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=[target], init_lora_weights=False
    )
    model = peft.get_peft_model(tiny("llama"), config)
    batch = inputs(PaddingCollator(0))
    count = int((batch["labels"][:, 1:] != -100).sum())
    wanted = model(**batch).loss * count
    wanted.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    install_loss_head(model)
    found = model(**batch)["loss"]
    found.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert gradients
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert model(**batch)["scores"][0].sum().item() == pytest.approx(wanted.item(), rel=1e-6)


def test_all_that_is_known_is_tried_here() -> None:
    assert set(KNOWN) == set(ARCHITECTURES)
    assert {name for name, known in KNOWN.items() if not known.rows_apart} == PADDED_ONLY


@pytest.mark.parametrize("takes_chosen", [True, False])
def test_an_unknown_architecture_computes_its_logits_itself(
    takes_chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tiny("cohere")
    model = copy.deepcopy(wanted)
    monkeypatch.delitem(KNOWN, "cohere")
    if not takes_chosen:  # as older models, whose logits are those of all positions
        model.forward = lambda input_ids, attention_mask: type(model).forward(
            model, input_ids=input_ids, attention_mask=attention_mask
        )
    batch = inputs(PaddingCollator(0))
    loss = wanted(**batch).loss * int((batch["labels"][:, 1:] != -100).sum())
    loss.backward()
    assert not isolate_rows(model)
    install_loss_head(model)
    found = model(**batch)["loss"]
    found.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    assert_same_gradients(model, wanted)
    with torch.no_grad():
        assert model(**batch)["scores"][0].sum().item() == pytest.approx(loss.item(), rel=1e-5)


PEAK = """
import resource, sys, torch
from transformers import LlamaConfig, LlamaForCausalLM
from det_files.loss_head import install_loss_head
config = LlamaConfig(vocab_size=128_000, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                     num_attention_heads=2, use_cache=False, tie_word_embeddings=True)
model = LlamaForCausalLM(config)
install_loss_head(model)
ids = torch.randint(0, 128_000, (4, 512))
model(input_ids=ids[:1, :4], labels=ids[:1, :4])["loss"].backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "train":
    model(input_ids=ids, labels=ids)["loss"].backward()
else:
    with torch.no_grad():
        model(input_ids=ids, labels=ids)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_the_logits_of_all_positions_never_exist(mode: str) -> None:
    """[2044, 128000] of float32 would be 998 MiB."""
    command = [sys.executable, "-c", PEAK, mode]
    root = Path(__file__).parent.parent
    grown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert float(grown) < 200, f"{grown} MiB"
