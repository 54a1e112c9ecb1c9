"""Languages of tokenizers: set where they are known, kept, forced in answers, refused otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from det_files.data.languages import forced_language, language_codes, set_languages
from det_files.faults import ConfigError
from tiny import mbart_tokenizer

# Where the target's language stands in what is generated.
KEYS = {"mbart": "decoder_start_token_id", "mbart50": "forced_bos_token_id"}
FAULT = "hyperparameters.data_arguments"


@pytest.mark.parametrize("kind", KEYS)
def test_a_tokenizer_writes_the_languages_and_keeps_them(kind: str, tmp_path: Path) -> None:
    tokenizer = mbart_tokenizer(kind)
    set_languages(tokenizer, "ja_XX", "fr_XX")
    japanese, french = (tokenizer.convert_tokens_to_ids(code) for code in ("ja_XX", "fr_XX"))
    assert japanese in tokenizer("the cat")["input_ids"]
    assert french in tokenizer(text_target="the cat")["input_ids"]
    assert forced_language(tokenizer) == {KEYS[kind]: french}
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert (again.src_lang, again.tgt_lang) == ("ja_XX", "fr_XX")
    assert again("the cat")["input_ids"] == tokenizer("the cat")["input_ids"]
    assert forced_language(again) == {KEYS[kind]: french}


def test_without_a_target_it_is_the_source_before_anything_is_tokenized() -> None:
    tokenizer = mbart_tokenizer("mbart50")
    set_languages(tokenizer, "de_DE", None)
    assert tokenizer.tgt_lang == "de_DE"


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(("given", "near"), [("ja-XX", "ja_XX"), ("en", "en_XX")])
def test_an_unknown_language_is_refused_with_the_nearest(kind: str, given: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_languages(mbart_tokenizer(kind), None, given)
    assert str(caught.value) == (
        f"ConfigError: {FAULT}.target_language: {given} is no language of the tokenizer's; "
        f'did you mean "{near}"?'
    )


def test_a_tokenizer_without_languages_takes_none(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    set_languages(tokenizer, None, None)
    assert (language_codes(tokenizer), forced_language(tokenizer)) == ([], {})
    with pytest.raises(ConfigError) as caught:
        set_languages(tokenizer, "en_XX", "ja_XX")
    assert [fault.path.rsplit(".", 1)[-1] for fault in caught.value.faults] == [
        "source_language",
        "target_language",
    ]
    assert "writes no language; leave it out" in str(caught.value)
