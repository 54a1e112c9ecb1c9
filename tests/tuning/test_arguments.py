"""TuningArguments: read strictly; each method has arguments of its own."""

from typing import Any

import pytest

from det_files.faults import Faults
from det_files.tuning.arguments import TuningArguments, read_tuning_arguments


def read(mapping: dict[str, Any]) -> tuple[TuningArguments, list[str]]:
    faults = Faults()
    return read_tuning_arguments("t", mapping, faults), [str(fault) for fault in faults.found]


@pytest.mark.parametrize(
    "mapping",
    [{}, {"method": "full"}, {"method": "lora", "r": 4, "lora_alpha": 8, "target_modules": ["q"]}],
)
def test_arguments(mapping: dict[str, Any]) -> None:
    assert read(mapping) == (TuningArguments(**mapping), [])


EITHER = {"type": "categorical", "vals": ["lora", "full"]}


@pytest.mark.parametrize(
    ("mapping", "faults"),
    [
        ({"methd": "lora"}, ['t.methd: unknown key; did you mean "method"?']),
        ({"method": "lor"}, [
            't.method: expected one of full, lora, dora, ia3, prompt, p_tuning, prefix, got "lor"; '
            'did you mean "lora"?']),
        ({"method": "lora", "r": 0, "lora_alpha": 0, "lora_dropout": 1.5}, [
            "t.r: expected >= 1, got 0", "t.lora_alpha: expected > 0, got 0.0",
            "t.lora_dropout: expected <= 1, got 1.5"]),
        ({"method": "qlora"}, [
            't.method: expected one of full, lora, dora, ia3, prompt, p_tuning, prefix, got '
            '"qlora"; did you mean "lora"?',
            "t.method: qlora is lora with model_arguments.quantization: nf4"]),
        ({"r": 8}, ["t.r: has no effect with method: full; did you mean lora or dora?"]),
        ({"method": EITHER, "r": 8}, [
            "t.r: has no effect with method: full; did you mean lora or dora?"]),
        ({"method": EITHER}, []),
        ({"method": "prompt", "r": 8, "num_virtual_tokens": 0}, [
            "t.num_virtual_tokens: expected >= 1, got 0",
            "t.r: has no effect with method: prompt; did you mean lora or dora?"]),
        ({"method": "lora", "num_virtual_tokens": 8}, [
            "t.num_virtual_tokens: has no effect with method: lora; did you mean prompt or "
            "p_tuning or prefix?"]),
        ({"method": "prompt", "init": "text"}, [
            "t.init_text: missing: init: text begins with it"]),
        ({"method": "prompt", "init_text": "Be brief."}, [
            "t.init_text: has no effect without init: text"]),
        ({"method": "lora", "adapter": "a", "r": 8}, [
            "t.r: is the adapter's own where adapter names one"]),
        ({"adapter": "a"}, ["t.adapter: has no effect with method: full"]),
    ],
)  # fmt: skip
def test_faults(mapping: dict[str, Any], faults: list[str]) -> None:
    """With a search over both methods r is refused too: a trial that draws full would be."""
    assert read(mapping)[1] == faults
