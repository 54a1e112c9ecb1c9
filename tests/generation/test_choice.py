"""Draws follow the probabilities; what is done to scores is what transformers does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from det_files.generation.choice import Choice, draw, rectangle, uniform, warpers_of
from det_files.generation.decoding import decode
from det_files.generation.sampling import Sampling

DRAWS = 4000
# Of chi-square: exceeded once in 10,000 seeds with 7 and with 20 degrees of freedom. Seeds are set.
CRITICAL = {7: 29.88, 20: 52.39}


def chi_square(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(((found - wanted).square() / wanted).sum())


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("varies", ["number", "sequence", "step", "seed"])
def test_tokens_are_drawn_by_their_probabilities(temperature: float, varies: str) -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, 1.5, -1.0, 0.2])
    names = ("seed", "number", "sequence", "step")
    tokens = []
    for value in range(DRAWS):
        key = [value if name == varies else 1 for name in names]
        choice = Choice(Sampling(temperature=temperature, seed=key[0]))
        tokens += choice.tokens(logits[None], [], [tuple(key[1:])])
    found = torch.bincount(torch.tensor(tokens), minlength=8).double()
    wanted = torch.softmax(logits.double() / temperature, -1) * DRAWS
    assert chi_square(found, wanted) < CRITICAL[7]


def test_a_models_first_tokens_are_drawn_by_their_probabilities(model: Any, tokenizer: Any) -> None:
    prompt = [7, 8, 9]
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1]
    temperature = float(logits.std())  # else one token has it all
    sampling = Sampling(1, temperature=temperature, num_return_sequences=DRAWS, seed=5)
    answers = decode(model, tokenizer, [prompt], sampling, batch_size=1000)
    found = torch.bincount(torch.tensor([a.token_ids[0] for a in answers]), minlength=384)
    shares = torch.softmax(logits.double() / temperature, -1)
    best = shares.topk(20).indices
    rest = torch.ones(384, dtype=torch.bool)
    rest[best] = False
    binned = torch.stack([*found[best], found[rest].sum()]).double()
    wanted = torch.stack([*shares[best], shares[rest].sum()]) * DRAWS
    assert chi_square(binned, wanted) < CRITICAL[20]


def test_random_numbers_are_of_their_key_alone_and_spread_evenly() -> None:
    keys = [(s, n, q, t) for s in range(4) for n in range(10) for q in range(4) for t in range(25)]
    numbers = [uniform(*key) for key in keys]
    assert numbers == [uniform(*key) for key in keys]
    assert len(set(numbers)) == len(keys)
    assert all(0 <= number < 1 for number in numbers)
    tenths = torch.histc(torch.tensor(numbers), 8, 0, 1).double()
    assert chi_square(tenths, torch.full((8,), len(keys) / 8).double()) < CRITICAL[7]


def test_what_cannot_be_drawn_is_not_drawn_at_either_end() -> None:
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(3, 1)
    points = torch.tensor([0.0, 0.5, 1 - 2.0**-48], dtype=torch.float64)
    assert draw(scores, points).tolist() == [1, 3, 3]


def test_scores_are_warped_as_generate_does_it(model: Any) -> None:
    sampling = Sampling(temperature=0.7, top_k=40, top_p=0.8, min_p=0.01)
    config = GenerationConfig(do_sample=True, temperature=0.7, top_k=40, top_p=0.8, min_p=0.01)
    theirs = model._get_logits_processor(config, input_ids_seq_length=2)
    ours = warpers_of(sampling)
    assert [type(warper) for warper in ours] == [type(warper) for warper in theirs]
    scores = torch.randn(5, 384, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours(None, scores), theirs(None, scores))


def test_a_penalty_is_of_what_the_row_itself_has_said() -> None:
    choice = Choice(Sampling(repetition_penalty=4.0))
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [-1.0, -3.0, -2.0]])
    said = [[1, 1, 1], [0], [0, 0]]
    assert choice.tokens(logits, said, []) == [2, 1, 2]
    assert rectangle([[4, 5, 6], [7]], "cpu").tolist() == [[4, 5, 6], [7, 7, 7]]
