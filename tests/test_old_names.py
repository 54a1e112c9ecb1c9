"""Old names: accepted with one warning each, today's name wins, nothing given is changed."""

import copy
from typing import Any

import pytest

from det_files.old_names import OLD_NAMES, modernise, put


@pytest.mark.parametrize(
    ("old", "value", "expected"),
    [
        ("evaluation_strategy", "steps", {"training_arguments": {"eval_strategy": "steps"}}),
        ("warmup_ratio", 0.1, {"training_arguments": {"warmup_steps": 0.1}}),
        ("warmup_ratio", 1.0, {"training_arguments": {"warmup_steps": 0.999999}}),
        ("warmup_ratio", 0, {"training_arguments": {"warmup_steps": 0}}),
        ("torch_dtype", "float16", {"model_arguments": {"dtype": "float16"}}),
        ("use_lora", True, {"tuning_arguments": {"method": "lora"}}),
        ("use_lora", False, {"tuning_arguments": {"method": "full"}}),
        ("use_lora", "yes", {"tuning_arguments": {"method": "yes"}}),  # refused as a method
        ("deepspeed", "a.json", {"deepspeed_config": "a.json"}),
        ("dataset_name", "d", {"data_arguments": {"sources": [{"dataset_name": "d"}]}}),
        ("overwrite_output_dir", True, {}),
        ("logging_dir", "x", {}),
    ],
)
def test_an_old_name_moves_with_one_warning(old: str, value: Any, expected: dict) -> None:
    warnings: list[str] = []
    found = modernise({"training_arguments": {old: value, "seed": 1}}, warnings)
    seed = {"training_arguments": {"seed": 1} | expected.get("training_arguments", {})}
    assert found == expected | seed
    assert len(warnings) == 1 and warnings[0].startswith(f"training_arguments.{old} is ")
    path = OLD_NAMES[old].path
    assert (path.split(".")[-1] if path else "ignored") in warnings[0]


def test_old_names_point_at_fields_that_exist() -> None:
    from det_files.entrypoint import flag_fields

    known = set(flag_fields()) | {"dataset_name", "dataset_config"}
    targets = {old.path.split(".")[-1] for old in OLD_NAMES.values() if old.path}
    assert targets <= known


def test_todays_name_wins() -> None:
    given = {"model_arguments": {"torch_dtype": "float16", "dtype": "float32"}}
    assert modernise(given, []) == {"model_arguments": {"dtype": "float32"}}


def test_a_search_over_an_old_name_goes_on() -> None:
    given = {"tuning_arguments": {"use_lora": {"type": "categorical", "vals": [True, False]}}}
    method = {"type": "categorical", "vals": ["lora", "full"]}
    assert modernise(given, []) == {"tuning_arguments": {"method": method}}


@pytest.mark.parametrize(
    "given",
    [
        {"data_arguments": {"sources": [{"path": "a"}], "dataset_name": "d"}},
        {"data_arguments": {"sources": []}, "model_arguments": {"dataset_name": "d"}},
        {"data_arguments": {"sources": 5, "dataset_name": "d"}},
        {"data_arguments": {"sources": {"path": "a"}, "dataset_name": "d"}},
        {"tuning_arguments": 7, "training_arguments": {"use_lora": True}},
        {"training_arguments": {"type": "x"}, "model_arguments": {"evaluation_strategy": "no"}},
    ],
)
def test_nothing_given_is_changed_whatever_stands_in_the_way(given: dict[str, Any]) -> None:
    kept = copy.deepcopy(given)
    warnings: list[str] = []
    modernise(given, warnings)
    assert given == kept
    assert len(warnings) == 1


def test_what_stands_in_the_way_is_kept_to_be_refused() -> None:
    given = {"tuning_arguments": 7, "training_arguments": {"use_lora": True}}
    assert modernise(given, [])["tuning_arguments"] == 7


def test_a_section_without_content_hides_no_flag() -> None:
    given = {"training_arguments": None, "deepspeed_config": None, "unknown": None}
    assert modernise(given, []) == {"deepspeed_config": None, "unknown": None}


def test_put_makes_its_way() -> None:
    tree: dict[str, Any] = {"d": {"sources": [{"path": "p"}]}}
    put(tree, "d.sources.0.name", "n")
    put(tree, "a.b", 1)
    assert tree == {"d": {"sources": [{"path": "p", "name": "n"}]}, "a": {"b": 1}}
