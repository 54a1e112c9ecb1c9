"""Languages of mBART's tokenizers: set, kept when saved, and said to what generates."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from det_files.data.languages import generation_options, set_languages
from det_files.faults import ConfigError
from tiny import make_mbart_tokenizer

KEYS = {"mbart": "decoder_start_token_id", "mbart50": "forced_bos_token_id"}


@pytest.mark.parametrize("kind", KEYS)
def test_the_target_is_said_to_what_generates_and_kept(kind: str, tmp_path: Path) -> None:
    tokenizer = make_mbart_tokenizer(tmp_path / "tokenizer", kind)
    set_languages(tokenizer, "de_DE", "ja_XX")
    german, japanese = (tokenizer.convert_tokens_to_ids(name) for name in ("de_DE", "ja_XX"))
    assert german != japanese
    assert german in tokenizer("red")["input_ids"]
    assert japanese in tokenizer(text_target="red")["input_ids"]
    assert generation_options(tokenizer) == {KEYS[kind]: japanese}
    tokenizer.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert (again.src_lang, again.tgt_lang) == ("de_DE", "ja_XX")
    assert again("red")["input_ids"] == tokenizer("red")["input_ids"]
    assert generation_options(again) == {KEYS[kind]: japanese}


def test_without_a_target_it_is_the_source_before_anything_is_tokenized(tmp_path: Path) -> None:
    tokenizer = make_mbart_tokenizer(tmp_path, "mbart50")
    set_languages(tokenizer, "de_DE", None)
    assert tokenizer.tgt_lang == "de_DE"


def test_an_unknown_language_is_refused_with_the_nearest(tmp_path: Path) -> None:
    tokenizer = make_mbart_tokenizer(tmp_path, "mbart50")
    with pytest.raises(ConfigError) as caught:
        set_languages(tokenizer, "de_XX", "ja_JP")
    assert [fault.path.rsplit(".", 1)[-1] for fault in caught.value.faults] == [
        "source_language",
        "target_language",
    ]
    assert 'did you mean "ja_XX"?' in str(caught.value)


def test_a_tokenizer_without_languages_has_none(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    set_languages(tokenizer, None, None)
    assert generation_options(tokenizer) == {}
    with pytest.raises(ConfigError, match="target_language: has no effect"):
        set_languages(tokenizer, None, "ja_XX")
