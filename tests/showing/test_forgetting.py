"""General text ships with the package, and both models are measured on it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from export_checkpoints import Adapters

from conftest import ROOT
from det_files.evaluation.text_metrics import is_unspaced
from det_files.showing.forgetting import LANGUAGES, general_texts, probe_forgetting
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.pair import Pair


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_many_different_and_of_their_language(language: str) -> None:
    texts = general_texts(language)
    assert len(set(texts)) == len(texts) >= 18
    assert 8_000 < len("".join(texts).encode()) < 15_000
    assert all("\n" not in text for text in texts)
    assert [is_unspaced([text]) for text in texts] == [language == "Japanese"] * len(texts)
    if language == "English":
        assert "".join(texts).isascii()


def test_the_texts_say_where_they_are_from_and_are_package_data() -> None:
    folder = files("det_files.showing") / "general_text"
    assert "Apache-2.0" in (folder / "README.md").read_text()
    assert '"det_files.showing" = ["general_text/*"]' in (ROOT / "pyproject.toml").read_text()


def test_another_language_is_refused() -> None:
    with pytest.raises(ValueError, match="none in Latin"):
        general_texts("Latin")


def test_training_on_random_words_is_seen(adapters: Adapters, tiny_model: Path) -> None:
    (probe,) = probe_forgetting(Pair(open_checkpoint(adapters("lora"))), ["English"])
    assert probe.tokens > 2_000
    assert probe.base.low < probe.base.value < probe.base.high
    difference = probe.tuned.value - probe.base.value
    assert probe.difference.value == pytest.approx(difference)
    assert probe.growth == pytest.approx(100 * difference / probe.base.value)
