"""The published models that predictions are made for have the parameters that they are known by."""

from pathlib import Path

import pytest
from memory_runs import run_args

from benchmarks.memory_predictions import PREDICTIONS, PUBLISHED, predict, write_config
from det_files.memory.reading import read_shape

MORE_TOKENS = 43_176 - 32_000  # Swallow's vocabulary over Llama 2's, in both tables
KNOWN = {
    "swallow_7b": 6_738_415_616 + 2 * MORE_TOKENS * 4096,
    "swallow_13b": 13_015_864_320 + 2 * MORE_TOKENS * 5120,
    "swallow_70b": 69_159_755_776,
    "flan_t5_xl": 2_849_757_184,
    "bloom_3b": 3_002_557_440,
    "gpt_neox_20b": 20_554_567_680,
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_published_model_has_its_known_number_of_parameters(model: str, tmp_path: Path) -> None:
    kind = "seq2seq" if model == "flan_t5_xl" else "causal"
    directory = write_config(model, tmp_path / model)
    shape = read_shape(run_args(kind=kind, model={"model_name_or_path": str(directory)}))
    assert shape.trained == KNOWN[model]
    assert not shape.notes


def test_adam_takes_16_bytes_a_parameter_on_one_rank(tmp_path: Path) -> None:
    """Weights and gradients in 2 bytes, masters and two states in 4: 48 GB of 3 billion."""
    from benchmarks.memory_predictions import Prediction

    directory = write_config("bloom_3b", tmp_path)
    found = predict(Prediction("bloom_3b_ds3", "bloom_3b", "80GB", slots=1), directory)
    resting = found["estimate"].resting
    adam = sum(resting.values()) - resting["buffers"]
    assert adam == pytest.approx(16 * KNOWN["bloom_3b"], rel=1e-3)


def test_every_prediction_is_of_an_experiment_that_is_there() -> None:
    directory = Path(__file__).resolve().parents[2] / "experiments"
    assert all((directory / f"{one.experiment}.yaml").is_file() for one in PREDICTIONS)
