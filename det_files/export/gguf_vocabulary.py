"""A tokenizer as GGUF has it: tokens with types, and merges (byte-level BPE) or scores
(SentencePiece).

How text is split before merging is not in a GGUF file, only the name of a way that llama.cpp knows;
a tokenizer that splits otherwise would cut text otherwise, and is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    import gguf
    from transformers import PreTrainedTokenizerBase

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "▁"  # SentencePiece's
# Names of ways to split, among those that transformers reads back.
_SPLITS = ("llama-bpe", "qwen2", "tekken", "gpt-4o")
_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "pad", "unk": "unk"}


@dataclass(frozen=True)
class Vocabulary:
    """What GGUF keeps of a tokenizer; lists are in the order of token ids."""

    model: str  # gpt2: byte-level BPE; llama: SentencePiece's BPE
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]

    def add_to(self, writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
        """Writes the vocabulary, the special tokens and the chat template into a file's header."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores:
            writer.add_token_scores(self.scores)
            writer.add_add_space_prefix(True)
        if self.merges:
            writer.add_token_merges(self.merges)
        for name, kind in _SPECIAL.items():
            token_id = getattr(tokenizer, f"{name}_token_id")
            if token_id is not None:
                getattr(writer, f"add_{kind}_token_id")(token_id)
        ids = tokenizer("a")["input_ids"]
        writer.add_add_bos_token(ids[0] == tokenizer.bos_token_id)
        writer.add_add_eos_token(ids[-1] == tokenizer.eos_token_id)
        if isinstance(tokenizer.chat_template, str):
            writer.add_chat_template(tokenizer.chat_template)


def read_vocabulary(
    tokenizer: PreTrainedTokenizerBase, vocabulary_size: int, otherwise: str
) -> Vocabulary:
    """The vocabulary of a tokenizer, filled up with unused tokens to the model's rows.

    Args:
        tokenizer: a fast one, of byte-level BPE or SentencePiece's BPE.
        vocabulary_size: rows of the model's embedding.
        otherwise: what to do with another one, for the error.

    Raises:
        ConfigError: it is another one, splits text in a way that has no name in GGUF, or has more
            tokens than the model.
    """
    import gguf

    backend = getattr(tokenizer, "backend_tokenizer", None)
    described: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    model = described.get("model") or {}
    pre = _split_name(described) if model.get("type") == "BPE" else None
    if pre is None:
        reason = f"gguf: the tokenizer's way to split text has no name in GGUF here: {otherwise}"
        raise ConfigError(Fault("--to", reason))
    if len(tokenizer) > vocabulary_size:
        reason = f"gguf: the tokenizer has {len(tokenizer)} tokens, the model {vocabulary_size}"
        raise ConfigError(Fault("--to", reason))
    tokens, types = _tokens(described, vocabulary_size)
    pairs = [
        tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)
        for merge in model["merges"]
    ]
    if not model.get("byte_fallback"):
        merges = [" ".join(pair) for pair in pairs]
        return Vocabulary("gpt2", pre, tokens, types, merges, [])
    # SentencePiece joins the pair whose token has the highest score: the earlier merge, the higher.
    rank: dict[str, int] = {}
    for index, pair in enumerate(pairs):
        rank.setdefault("".join(pair), index)
    types = [
        int(gguf.TokenType.UNKNOWN) if token == model.get("unk_token") else kind
        for token, kind in zip(tokens, types, strict=True)
    ]
    scores = [-float(rank.get(token, len(pairs))) for token in tokens]
    return Vocabulary("llama", pre, tokens, types, [], scores)


def _split_name(described: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of how a tokenizer splits text; None where it has none here."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    splitter = described.get("pre_tokenizer") or {}
    if described["model"].get("byte_fallback"):
        return "default" if _is_sentencepiece(described) else None
    if (described.get("normalizer") or {"type": "NFC"})["type"] != "NFC":
        return None
    if splitter.get("type") == "ByteLevel" and not splitter.get("add_prefix_space"):
        return "gpt-2" if splitter.get("use_regex", True) else None
    parts = splitter.get("pretokenizers") or []
    if [part.get("type") for part in parts] != ["Split", "ByteLevel"]:
        return None
    isolated = parts[0].get("behavior") == "Isolated" and not parts[0].get("invert")
    pattern = (parts[0].get("pattern") or {}).get("Regex")
    plain = not parts[1].get("use_regex") and not parts[1].get("add_prefix_space")
    found = [name for name in _SPLITS if GGUF_PRE_TOKENIZER_SPLITS[name] == pattern]
    return found[0] if found and isolated and plain else None


def _is_sentencepiece(described: Mapping[str, Any]) -> bool:
    """Whether spaces become ▁ and one is put before a text, and nothing else is done to it."""
    splitter, normalizer = described.get("pre_tokenizer"), described.get("normalizer")
    if splitter is not None:
        return normalizer is None and (
            (splitter.get("type"), splitter.get("replacement"), splitter.get("split"))
            == ("Metaspace", _SPACE, False)
            and splitter.get("prepend_scheme") in ("first", "always")
        )
    steps = (normalizer or {}).get("normalizers") or []
    return [step.get("type") for step in steps] == ["Prepend", "Replace"]


def _tokens(described: Mapping[str, Any], vocabulary_size: int) -> tuple[list[str], list[int]]:
    """Tokens and their GGUF types by id."""
    import gguf

    by_id = {index: token for token, index in described["model"]["vocab"].items()}
    kinds = {
        index: gguf.TokenType.BYTE
        for index, token in by_id.items()
        if described["model"].get("byte_fallback") and _BYTE.fullmatch(token)
    }
    for added in described.get("added_tokens") or []:
        by_id[added["id"]] = added["content"]
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        kinds[added["id"]] = kind
    tokens, types = [], []
    for index in range(vocabulary_size):
        tokens.append(by_id.get(index, f"[PAD{index}]"))
        normal = gguf.TokenType.NORMAL if index in by_id else gguf.TokenType.UNUSED
        types.append(int(kinds.get(index, normal)))
    return tokens, types
