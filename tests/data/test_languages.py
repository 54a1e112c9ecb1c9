"""Languages of tokenizers: set where they are known, forced in answers, refused otherwise."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from det_files.data.arguments import DataArguments
from det_files.data.languages import forced_language, language_codes, set_languages
from det_files.faults import ConfigError
from tiny import mbart_tokenizer

KINDS = ["MBartTokenizer", "MBart50Tokenizer"]
FAULT = "hyperparameters.data_arguments"


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_writes_the_languages_of_the_arguments(kind: str) -> None:
    tokenizer = mbart_tokenizer(kind)
    set_languages(tokenizer, DataArguments(source_language="ja_XX", target_language="fr_XX"))
    japanese, french = (tokenizer.convert_tokens_to_ids(code) for code in ("ja_XX", "fr_XX"))
    assert japanese in tokenizer("the cat")["input_ids"]
    assert french in tokenizer(text_target="the cat")["input_ids"]
    start = "forced_bos_token_id" if kind == "MBart50Tokenizer" else "decoder_start_token_id"
    assert forced_language(tokenizer) == {start: french}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("given", "near"), [("ja-XX", "ja_XX"), ("en", "en_XX")])
def test_an_unknown_language_is_refused_with_the_nearest(kind: str, given: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_languages(mbart_tokenizer(kind), DataArguments(target_language=given))
    assert str(caught.value) == (
        f"ConfigError: {FAULT}.target_language: {given} is no language of the tokenizer's; "
        f'did you mean "{near}"?'
    )


def test_a_tokenizer_without_languages_takes_none(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    set_languages(tokenizer, DataArguments())
    assert (language_codes(tokenizer), forced_language(tokenizer)) == ([], {})
    with pytest.raises(ConfigError) as caught:
        set_languages(tokenizer, DataArguments(source_language="en_XX", target_language="ja_XX"))
    assert [fault.path.rsplit(".", 1)[-1] for fault in caught.value.faults] == [
        "source_language",
        "target_language",
    ]
    assert "writes no language; leave it out" in str(caught.value)
