"""Swallow's models, and those that are asked to, have a section in Japanese and English."""

from __future__ import annotations

import pytest

from det_files.faults import ConfigError
from det_files.showing.languages import QUESTIONS, languages_to_show


def test_swallow_has_both_languages() -> None:
    assert languages_to_show("tokyotech-llm/Swallow-7b-instruct-v0.1", None) == list(QUESTIONS)
    assert languages_to_show("HuggingFaceTB/SmolLM2-135M-Instruct", None) == []
    assert languages_to_show("any", ["Japanese"]) == ["Japanese"]
    assert languages_to_show("swallow", []) == []


def test_a_language_without_questions_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match='"Japanese"'):
        languages_to_show("any", ["Japanes"])
    with pytest.raises(ConfigError, match="'Klingon'; there are in Japanese, English"):
        languages_to_show("any", ["Klingon"])
    with pytest.raises(ConfigError, match=r"expected a list, as in \[Japanese\]"):
        languages_to_show("any", "Japanese")
