"""ZeRO's settings, as transformers and DeepSpeed fill them in."""

import json
from pathlib import Path

from det_files.memory.zero import Zero, zero_of

CONFIGS = Path(__file__).resolve().parents[2] / "ds_configs"


def test_auto_follows_the_hidden_size() -> None:
    config = json.loads((CONFIGS / "ds_config_stage_3.json").read_text())
    zero = zero_of(config, hidden=100)
    assert (zero.reduce_bucket, zero.prefetch_bucket) == (10_000, 9_000)
    assert (zero.persistence_threshold, zero.max_reuse_distance) == (1000, 10**9)
    assert zero.partitions_weights


def test_overlapping_communication_takes_a_second_bucket_below_stage_3() -> None:
    for stage, buckets in ((1, 1), (2, 2), (3, 1)):
        config = json.loads((CONFIGS / f"ds_config_stage_{stage}.json").read_text())
        assert zero_of(config, 64).buckets == buckets


def test_defaults_are_deepspeeds() -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    config = {"zero_optimization": {"stage": 3}}
    defaults = DeepSpeedZeroConfig(stage=3)
    zero = zero_of(config, 64)
    assert zero.reduce_bucket == defaults.reduce_bucket_size
    assert zero.prefetch_bucket == defaults.prefetch_bucket_size
    assert zero.persistence_threshold == defaults.param_persistence_threshold
    assert zero.max_reuse_distance == defaults.max_reuse_distance
    assert zero.max_live == defaults.max_live_parameters
    assert zero.sub_group == defaults.sub_group_size
    assert zero_of(None, 64) == Zero()
