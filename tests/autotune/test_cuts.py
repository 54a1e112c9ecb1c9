"""What validation refuses, data do not fill or memory cannot hold is cut, with its reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from det_files.autotune import cuts
from det_files.autotune.cuts import Memory, cut, memory_of_machine, with_true_lengths
from det_files.autotune.plan import _derive
from det_files.autotune.space import Axes
from det_files.experiment import load_experiment
from det_files.faults import ConfigError
from det_files.validate import check_experiment

ASKED = {"metric": "throughput", "steps": 4, "warmup_steps": 1}


@dataclasses.dataclass
class Estimate:
    """1 GiB a row, 4 for stage 1 and 2 for stage 3."""

    device_bytes: float
    host_bytes: float = 2**30
    on_cpu: bool = False

    @property
    def needed_bytes(self) -> float:
        return self.device_bytes


def estimate(shape: Any, args: Any, slots: int) -> Estimate:
    rows = args.training["per_device_train_batch_size"]
    return Estimate((rows + {1: 4, 3: 2}[args.stage]) * 2**30)


@pytest.fixture
def setting(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tiny_data: Path
) -> tuple[Any, Any, Any]:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cuts, "read_shape", lambda args, device: "a shape")
    monkeypatch.setattr(cuts, "estimate_run", estimate)
    model = f"hyperparameters.model_arguments={{model_name_or_path: {tiny_model}, dtype: float32}}"
    data = f"hyperparameters.data_arguments={{sources: [{{path: {tiny_data}}}]}}"
    experiment = load_experiment(ROOT / "experiments/smollm2_135m_ds2.yaml", [model, data])
    args = check_experiment(experiment)
    return args, experiment, lambda candidate: _derive(experiment, args, ASKED, candidate)


def test_each_is_cut_for_its_own_reason(setting: Any) -> None:
    *_, derive = setting
    candidates = Axes((1, 3), ("none",), (False,), (None,), (1, 4, 64)).candidates(1, None)
    found = cut(candidates, derive, check_experiment, 2, Memory("cuda", 6 * 2**30, None))
    # 1.1 x 6 GiB: 4 + 1 fits and 4 + 4 does not; 2 + 4 does. 64 x 2 rows are more than 40.
    kept = [(c.combination.stage, c.micro_batch) for c in found.candidates]
    assert kept == [(1, 1), (3, 1), (3, 4)]
    reasons = {(c.combination.stage, c.micro_batch): why for c, why in found.reasons.items()}
    assert reasons[1, 4] == "needs about 8.0 GiB of GPU memory a rank, there are 6.0"
    assert reasons[3, 64] == "40 training rows do not fill a step of 128"


def test_what_is_refused_is_cut_in_the_words_of_the_refusal(setting: Any) -> None:
    *_, derive = setting

    def check(experiment: Any, slots: int) -> Any:
        args = check_experiment(experiment, slots)
        if args.stage == 3:
            raise ConfigError("no stage 3 here")
        return args

    candidates = Axes((1, 3), ("none",), (False,), (None,), (1,)).candidates(1, None)
    found = cut(candidates, derive, check, 2, Memory("cuda", None, None))
    assert [c.combination.stage for c in found.candidates] == [1]
    assert list(found.reasons.values()) == ["no stage 3 here"]


def test_without_an_estimate_nothing_is_cut_for_memory(
    setting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(args: Any, device: str) -> None:
        raise ConfigError("the hub cannot be reached")

    *_, derive = setting
    monkeypatch.setattr(cuts, "read_shape", fail)
    candidates = Axes((1, 3), ("none",), (False,), (None,), (1, 4)).candidates(1, None)
    found = cut(candidates, derive, check_experiment, 2, Memory("cuda", 1.0, None))
    assert len(found.candidates) == 4 and "the hub cannot be reached" in found.notes[0]


def test_rows_are_as_long_as_the_data(setting: Any) -> None:
    args, *_ = setting
    bounded, rows = with_true_lengths(args)
    (source,) = bounded.data.sources
    assert rows == 40
    assert source.max_input_tokens + source.max_output_tokens < 256


def test_memory_of_this_machine() -> None:
    one, two = memory_of_machine(1, 0, None), memory_of_machine(2, 0, None)
    assert one.device == "cpu" and one.host_bytes and two.host_bytes
    assert two.host_bytes == pytest.approx(one.host_bytes / 2, rel=0.2)
    assert memory_of_machine(1, 0, 5.0).host_bytes == 5.0
    assert memory_of_machine(1, 1, 5.0).device_bytes == 5.0
