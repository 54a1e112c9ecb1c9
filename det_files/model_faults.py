"""Why a model cannot be loaded or trained, in a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_OVERFLOWING = ("t5", "mt5", "umt5", "longt5")  # in float16


def explain_load_error(source: str, error: Exception) -> str:
    """One sentence for the user: what could not be loaded, why, and the way out."""
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    if "Unrecognized configuration class" in str(error):
        if "SequenceClassification" in str(error):
            return f"transformers has no model of {source}'s architecture that scores a text"
        entrypoint = "run_clm" if "Seq2Seq" in str(error) else "run_seq2seq"
        return f"{source} is a model of another kind; is it one for det_files.{entrypoint}?"
    if "trust_remote_code" in str(error):
        return f"{source} brings code of its own; trust_remote_code: true would run it"
    if Path(source).is_dir():
        return f"the directory {source} could not be loaded: {first_line}"
    return (
        f"{source} is no directory here (paths are relative to the context directory) and could "
        f"not be had from the hub ({first_line}). Where nodes cannot reach the hub, download it "
        f"once (`HF_HOME=/shared/hf hf download {source}`) and set HF_HOME to the same place in "
        "environment.environment_variables; HF_HOME is honoured"
    )


def start_fault(config: Any, source: str) -> str | None:
    """Why a decoder cannot begin: an encoder-decoder's configuration does not say with what."""
    if config.model_type == "mbart":
        return None  # the language that its tokenizer writes last
    if getattr(config, "decoder_start_token_id", None) is not None:
        return None
    return (
        f"the configuration of {source} has no decoder_start_token_id; T5's is its pad_token_id, "
        "BART's its eos_token_id: add it to config.json"
    )


def range_fault(model_type: str, dtype: str) -> str | None:
    """Why a model cannot be computed with in a precision: T5's activations overflow float16."""
    if dtype != "float16" or model_type not in _OVERFLOWING:
        return None
    return (
        "T5 was trained in bfloat16 and overflows float16's range: the loss becomes NaN; use "
        "bfloat16, or float32 where the GPU has none (V100, T4)"
    )
