"""Languages of mBART's tokenizers: set for all that tokenizes, and said to what generates.

Such a tokenizer writes the language of a text beside it, and a model that is not told the target's
answers in whichever it likes.
"""

from __future__ import annotations

from typing import Any

from det_files.faults import ConfigError, Fault, Faults, did_you_mean

SECTION = "hyperparameters.data_arguments"
# The tokenizer's attribute → the argument that it is set from.
_ARGUMENTS = {"src_lang": "source_language", "tgt_lang": "target_language"}


def set_languages(tokenizer: Any, source: str | None, target: str | None) -> None:
    """Sets the languages of a tokenizer, which is then also saved with them.

    Without a target, mBART's own rule is made plain: the source's language.

    Raises:
        ConfigError: the tokenizer writes no languages, or knows none of this code.
    """
    faults = Faults()
    writes_languages = hasattr(tokenizer, "src_lang") and hasattr(tokenizer, "tgt_lang")
    for attribute, language in (("src_lang", source), ("tgt_lang", target)):
        where = f"{SECTION}.{_ARGUMENTS[attribute]}"
        if language is None:
            continue
        if not writes_languages:
            faults.add(where, "has no effect: the model's tokenizer writes no languages")
        elif _token_id(tokenizer, language) is None:
            known = [str(token) for token in tokenizer.all_special_tokens]
            reason = f"{language} is no language of the tokenizer{did_you_mean(language, known)}"
            faults.add(where, reason)
        else:
            _set(tokenizer, attribute, language)
    faults.raise_if_any()
    if writes_languages and tokenizer.tgt_lang is None and tokenizer.src_lang is not None:
        _set(tokenizer, "tgt_lang", tokenizer.src_lang)


def generation_options(tokenizer: Any) -> dict[str, int]:
    """What `generate` is told of the target's language; {} for tokenizers that write none.

    mBART-50's targets begin with it (forced_bos_token_id); the first mBART's end with it, and its
    decoder starts from it (decoder_start_token_id).

    Raises:
        ConfigError: the tokenizer's target is no language of it.
    """
    language = getattr(tokenizer, "tgt_lang", None)
    if language is None:
        return {}
    number = _token_id(tokenizer, language)
    if number is None:
        reason = f"{language} is no language of the tokenizer"
        raise ConfigError(Fault(f"{SECTION}.target_language", reason))
    first = tokenizer(text_target="a")["input_ids"][0]
    return {"forced_bos_token_id" if first == number else "decoder_start_token_id": number}


def _set(tokenizer: Any, attribute: str, language: str) -> None:
    setattr(tokenizer, attribute, language)
    tokenizer.init_kwargs[attribute] = language  # what is saved


def _token_id(tokenizer: Any, language: str) -> int | None:
    # M2M100's codes are not its tokens.
    token = getattr(tokenizer, "lang_code_to_token", {}).get(language, language)
    number = tokenizer.convert_tokens_to_ids(token)
    return None if number is None or number == tokenizer.unk_token_id else int(number)
