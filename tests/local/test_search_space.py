"""What a search varies: distributions, filled trees, grid points."""

import math
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from det_files.local.search_space import SearchSpace

TREE: dict[str, Any] = {
    "deepspeed_config": {"type": "categorical", "vals": ["a.json", "b.json"]},
    "training_arguments": {
        "max_steps": 5,
        "learning_rate": {"type": "log", "base": 10, "minval": -5, "maxval": -2, "count": 4},
        "warmup_steps": {"type": "int", "minval": 0, "maxval": 8, "count": 3},
    },
    "overwrite_deepspeed_args": {
        "optimizer": {"type": "const", "val": {"type": "AdamW"}},
        "zero": {"type": "categorical", "vals": [{"stage": 2}, {"stage": 3}]},
    },
    "sources": [{"path": "data"}],
}


def test_parameters_are_named_by_their_path() -> None:
    assert SearchSpace(TREE).distributions == {
        "deepspeed_config": CategoricalDistribution(["a.json", "b.json"]),
        "training_arguments.learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "training_arguments.warmup_steps": IntDistribution(0, 8),
        "overwrite_deepspeed_args.zero": CategoricalDistribution(['{"stage": 2}', '{"stage": 3}']),
    }


def test_a_tree_is_filled_and_not_changed() -> None:
    params = {
        "deepspeed_config": "b.json",
        "training_arguments.learning_rate": 1e-3,
        "training_arguments.warmup_steps": 4,
        "overwrite_deepspeed_args.zero": '{"stage": 3}',
    }
    assert SearchSpace(TREE).fill(params) == {
        "deepspeed_config": "b.json",
        "training_arguments": {"max_steps": 5, "learning_rate": 1e-3, "warmup_steps": 4},
        "overwrite_deepspeed_args": {"optimizer": {"type": "AdamW"}, "zero": {"stage": 3}},
        "sources": [{"path": "data"}],
    }
    assert TREE["training_arguments"]["learning_rate"]["type"] == "log"


def test_a_grid_has_all_points_with_both_ends() -> None:
    points = SearchSpace(TREE).grid()
    assert len(points) == 2 * 4 * 3 * 2
    rates = list(dict.fromkeys(point["training_arguments.learning_rate"] for point in points))
    assert rates == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    steps = list(dict.fromkeys(point["training_arguments.warmup_steps"] for point in points))
    assert steps == [0, 4, 8]
    assert points[0]["overwrite_deepspeed_args.zero"] != points[1]["overwrite_deepspeed_args.zero"]


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        # An int's points are rounded, and no more than there are numbers.
        ({"type": "int", "minval": 1, "maxval": 4, "count": 3}, [1, 3, 4]),  # 1, 2.5, 4
        ({"type": "int", "minval": 1, "maxval": 2, "count": 9}, [1, 2]),
        ({"type": "int", "minval": 1, "maxval": 4, "count": 1}, [3]),  # 2.5
        ({"type": "int", "minval": -4, "maxval": -1, "count": 3}, [-4, -3, -1]),  # -2.5
        ({"type": "double", "minval": 0.0, "maxval": 1.0, "count": 1}, [0.5]),
        ({"type": "log", "base": 2, "minval": 0, "maxval": 4, "count": 3}, [1, 4, 16]),
    ],
)
def test_grid_points_are_determineds(parameter: dict[str, Any], expected: list[float]) -> None:
    assert [point["x"] for point in SearchSpace({"x": parameter}).grid()] == expected


def test_choices_that_are_equal_are_kept_apart() -> None:
    space = SearchSpace({"x": {"type": "categorical", "vals": [1, True, None]}})
    labels = list(space.distributions["x"].choices)  # type: ignore[attr-defined]
    assert labels == ["1", "true", "null"]
    assert [space.fill({"x": label})["x"] for label in labels] == [1, True, None]


def test_a_base_below_one_turns_the_ends_round() -> None:
    space = SearchSpace({"x": {"type": "log", "base": 0.5, "minval": 1, "maxval": 3}})
    (distribution,) = space.distributions.values()
    assert math.isclose(distribution.low, 0.125) and distribution.high == 0.5  # type: ignore[attr-defined]
