"""Short names and values."""

from typing import Any

import pytest

from det_files.local.short_text import abbreviated, short_names, short_value


def test_names_are_shortened_to_what_tells_them_apart() -> None:
    paths = ["training_arguments.learning_rate", "a.b.r", "a.c.r", "r"]
    assert list(short_names(paths).values()) == ["learning_rate", "b.r", "c.r", "r"]


def test_abbreviations_fit_and_differ() -> None:
    names = ["learning_rate", "r", "per_device_train_batch_size", "per_device_test_batch_size"]
    assert abbreviated(names, [10, 10, 14, 14]) == [
        "learn_rate",
        "r",
        "pe_de_tr_ba_si",
        "pe_de_te_ba_si",
    ]
    assert abbreviated(["learning_rate"], [8]) == ["lea_rat"]
    assert len(set(abbreviated(names, [4] * 4))) == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.2e-4, "3.2e-4"),
        (0.00030000000000000003, "3e-4"),
        (1e-5, "1e-5"),
        (0.05, "0.05"),
        (16, "16"),
        (16.0, "16"),
        (12345.6, "12346"),
        (-2.5e7, "-2.5e7"),
        (0.0, "0"),
        (True, "true"),
        (None, "null"),
        ("lora", "lora"),
        (float("nan"), "nan"),
    ],
)
def test_values_are_short(value: Any, text: str) -> None:
    assert short_value(value) == text


def test_of_a_long_path_the_end_stays_and_else_the_beginning() -> None:
    assert short_value("cosine_with_restarts", 7) == "cosine…"
    assert short_value("cosine", 6) == "cosine"
    assert short_value("HuggingFaceTB/SmolLM2-135M", 13) == "…SmolLM2-135M"
