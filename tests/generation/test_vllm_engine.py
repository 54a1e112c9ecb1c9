"""What can be known of the vLLM engine without vLLM: its arguments, and what it refuses."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from export_checkpoints import Adapters

from det_files.faults import Faults
from det_files.generation.sampling import Sampling
from det_files.generation.vllm_engine import find_vllm_faults, sampling_arguments
from det_files.trained.checkpoint import open_checkpoint


def test_sampling_in_the_words_of_vllm() -> None:
    assert sampling_arguments(Sampling(max_new_tokens=7), 3, [2, 5]) == {
        "n": 1,
        "max_tokens": 7,
        "temperature": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": [2, 5],
    }
    drawn = Sampling(temperature=0.5, top_p=0.9, num_return_sequences=4)
    given = sampling_arguments(drawn, 3, [])
    assert (given["n"], given["temperature"], given["top_p"], given["top_k"]) == (4, 0.5, 0.9, -1)
    assert given == sampling_arguments(drawn, 3, [])
    assert given["seed"] != sampling_arguments(drawn, 4, [])["seed"]


def test_what_it_does_not_take_is_named(adapters: Adapters) -> None:
    faults = Faults()
    find_vllm_faults(open_checkpoint(adapters("prompt")), "tuned", 2, faults)
    text = "\n".join(map(str, faults.found))
    assert "start it without a launcher" in text
    assert "does not take an adapter of method prompt" in text


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed here")
def test_its_absence_is_said_with_the_way_to_have_it(adapters: Adapters) -> None:
    faults = Faults()
    find_vllm_faults(open_checkpoint(adapters("lora")), "tuned", 1, faults)
    assert [str(fault) for fault in faults.found] == [
        "--engine: vllm is not installed: pip install vllm"
    ]
