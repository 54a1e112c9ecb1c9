"""Languages that a tokenizer writes beside a text: mBART's, mBART-50's, NLLB's, M2M-100's.

An answer of such a model begins with the language that it is to be in. mBART-50's targets begin
with it themselves, so that it is the first token to be generated; mBART's targets end with it, and
its decoder starts from it.
"""

from __future__ import annotations

import re
from typing import Any

from det_files.data.arguments import SECTION
from det_files.faults import Faults, did_you_mean


def set_languages(tokenizer: Any, source: str | None, target: str | None) -> None:
    """Lets a tokenizer write these languages, and keep them where it is saved.

    Without a target, mBART's own rule is made plain: the source's language.

    Raises:
        ConfigError: it writes none, or does not know one of these (with the nearest that it knows).
    """
    faults = Faults()
    codes = language_codes(tokenizer)
    for name, attribute, code in (
        ("source_language", "src_lang", source),
        ("target_language", "tgt_lang", target),
    ):
        if code is None:
            continue
        if not hasattr(tokenizer, attribute):
            reason = f"has no effect: {type(tokenizer).__name__} writes no language; leave it out"
            faults.add(f"{SECTION}.{name}", reason)
        elif code not in codes:
            hint = did_you_mean(code, codes) or _of_same_language(code, codes)
            faults.add(f"{SECTION}.{name}", f"{code} is no language of the tokenizer's{hint}")
        else:
            _set(tokenizer, attribute, code)
    faults.raise_if_any()
    if codes and tokenizer.tgt_lang is None and tokenizer.src_lang is not None:
        _set(tokenizer, "tgt_lang", tokenizer.src_lang)


def _set(tokenizer: Any, attribute: str, code: str) -> None:
    setattr(tokenizer, attribute, code)
    tokenizer.init_kwargs[attribute] = code  # what is saved


def languages_of(tokenizer: Any) -> list[str | None]:
    """(source, target) that a tokenizer writes; None for what it does not."""
    return [getattr(tokenizer, name, None) for name in ("src_lang", "tgt_lang")]


def language_codes(tokenizer: Any) -> list[str]:
    """The codes that a tokenizer takes; none of one that writes no language."""
    if not hasattr(tokenizer, "src_lang"):
        return []
    named = getattr(tokenizer, "lang_code_to_id", None)
    if named is None:
        special = tokenizer.all_special_tokens
        named = [t for t in special if re.fullmatch(r"__\w+__|[a-z]{2,3}_[A-Za-z]{2,4}", t)]
    # Some stand between underscores in the vocabulary, and are given without.
    return sorted({form for code in named for form in (code, code.strip("_"))})


def _of_same_language(code: str, codes: list[str]) -> str:
    near = next((known for known in codes if known.startswith(code[:2].lower())), None)
    return "" if near is None else f'; did you mean "{near}"?'


def forced_language(tokenizer: Any) -> dict[str, int]:
    """What makes `generate` answer in the tokenizer's target language; nothing for others."""
    if not hasattr(tokenizer, "tgt_lang"):
        return {}
    target = tokenizer(text_target="a")["input_ids"]  # where none was said, this settles it
    # M2M-100's codes are not its tokens.
    token = getattr(tokenizer, "lang_code_to_token", {}).get(tokenizer.tgt_lang, tokenizer.tgt_lang)
    language = tokenizer.convert_tokens_to_ids(token)
    key = "forced_bos_token_id" if target[0] == language else "decoder_start_token_id"
    return {key: language}
