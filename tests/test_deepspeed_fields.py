"""ZeRO's keys read from DeepSpeed's source agree with its model; our own files use known keys."""

import json
from pathlib import Path

import pytest

from det_files.deepspeed_fields import TOP_LEVEL_KEYS, zero_fields

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "ds_configs").glob("*.json"))


def test_zero_fields_agree_with_deepspeed() -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    model = DeepSpeedZeroConfig.model_fields
    aliases = {field.alias for field in model.values() if field.alias}
    assert len(aliases) > 5
    assert zero_fields() == set(model) | aliases


def test_top_level_keys_have_those_that_deepspeed_names() -> None:
    from deepspeed.runtime import constants

    names = "TRAIN_BATCH_SIZE TRAIN_MICRO_BATCH_SIZE_PER_GPU GRADIENT_ACCUMULATION_STEPS OPTIMIZER "
    names += "SCHEDULER FP16 BFLOAT16 BFLOAT16_OLD GRADIENT_CLIPPING STEPS_PER_PRINT "
    names += "PRESCALE_GRADIENTS COMMUNICATION_DATA_TYPE WALL_CLOCK_BREAKDOWN DUMP_STATE"
    assert {getattr(constants, name) for name in names.split()} <= TOP_LEVEL_KEYS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_our_own_files_use_known_keys(path: Path) -> None:
    config = json.loads(path.read_text())
    assert set(config) <= TOP_LEVEL_KEYS
    assert set(config["zero_optimization"]) <= zero_fields()
