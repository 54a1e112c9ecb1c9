"""The model card, README.md: what the model is, what it learned from and how, and how good it is.

https://huggingface.co/docs/hub/model-cards. Everything comes from files of the checkpoint; what
looks like a secret is left out, whatever file it stands in.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from det_files.models import REWARD, SEQ2SEQ
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.tuning.arguments import METHODS, TuningArguments
from det_files.vocabulary import MULTIPLE

CARD_FILE = "README.md"
HIDDEN = "(left out)"
_SECRET_NAME = re.compile(r"(^|_)(token|secret|password|passwd|key|credentials?)$", re.IGNORECASE)
# Tokens of the hub, and user:password in an address.
_SECRET_TEXT = re.compile(r"\bhf_[A-Za-z0-9]{10,}|(?<=://)[^/\s@]+@")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SHORTEST_SECRET = 8  # characters; shorter values of variables would blot out ordinary words
_WHAT = {
    "hf": "All weights were trained; they are whole here.",
    "merged": "The adapter is merged into the weights: it loads like any model.",
    "adapter": "This is the adapter alone, to be put on its base model.",
    "gguf": "A GGUF file, as llama.cpp and what builds on it read it.",
}
_LIBRARY = {"adapter": "peft", "gguf": "gguf"}
# Where paths and this machine's habits stand; they are no hyperparameters.
_NO_HYPERPARAMETERS = ("output_dir", "logging_dir", "report_to", "disable_tqdm", "hub_")


def render_card(checkpoint: TrainedCheckpoint, form: str, dtype: str, name: str) -> str:
    """The text of README.md for an export called `name`."""
    from huggingface_hub import ModelCardData

    base = base_model(checkpoint)
    sources = checkpoint.run["data_arguments"].get("sources") or []
    datasets = sorted({s["dataset_name"] for s in sources if _is_hub_id(s.get("dataset_name"))})
    data = ModelCardData(
        base_model=base,
        library_name=_LIBRARY.get(form, "transformers"),
        # Of encoder-decoders the hub has no such task but translation.
        pipeline_tag=_task(checkpoint),
        tags=["det_files", "fine-tuned", checkpoint.method, *(["gguf"] if form == "gguf" else [])],
        datasets=datasets or None,
    )
    started_from = base or Path(checkpoint.model.source).name
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {name}",
        f"`{started_from}`, fine-tuned with `method: {checkpoint.method}` by det_files on "
        f"Determined. {_WHAT[form]} {_precision(form, dtype)}",
        _how_to_load(checkpoint, form),
        "## Data",
        _table(("source", "weight", "rows used for training"), map(_source_row, sources)),
        "## Hyperparameters",
        _table(("argument", "value"), _hyperparameters(checkpoint)),
        "## Metrics",
        _metrics(checkpoint.state),
        "## Made with",
        _table(("what", "version"), _versions(checkpoint.metadata)),
    ]
    return without_secrets("\n\n".join(part for part in parts if part) + "\n")


def _task(checkpoint: TrainedCheckpoint) -> str | None:
    if checkpoint.kind == REWARD:
        return "text-classification"
    if checkpoint.kind != SEQ2SEQ:
        return "text-generation"
    return "translation" if checkpoint.run["data_arguments"].get("target_language") else None


def _precision(form: str, dtype: str) -> str:
    if form == "adapter":
        return f"It was trained on the base model in {dtype}."
    return f"Precision: {dtype}."


def _how_to_load(checkpoint: TrainedCheckpoint, form: str) -> str:
    """What whoever loads it has to know and no file says; nothing where there is nothing."""
    said = []
    if checkpoint.kind == SEQ2SEQ:
        said.append("It is an encoder-decoder: `AutoModelForSeq2SeqLM` loads it.")
    if checkpoint.kind == REWARD:
        said.append(
            "It gives a text one number, its reward: `AutoModelForSequenceClassification` loads it."
        )
    if form == "adapter" and checkpoint.model.tokenizer_name:
        said.append(
            "It was trained with the tokenizer beside it. Where that has more tokens than the base "
            f"model, its tables grow first, to a multiple of {MULTIPLE} rows, new ones being the "
            "mean of the others, as `resize_token_embeddings` does with "
            f"`pad_to_multiple_of={MULTIPLE}` and `det_files.vocabulary` fills them."
        )
    data = checkpoint.run["data_arguments"]
    if data.get("source_language") or data.get("target_language"):
        said.append(
            f"It reads `{data.get('source_language')}` and writes `{data.get('target_language')}`; "
            "the tokenizer and generation_config.json are set so."
        )
    return " ".join(said)


def base_model(checkpoint: TrainedCheckpoint) -> str | None:
    """The hub id of the model that training started from; None for a directory or a config."""
    name = checkpoint.model.model_name_or_path
    return name if _is_hub_id(name) else None


def without_secrets(text: str) -> str:
    """The text without tokens, passwords in addresses, and values of secret-looking variables."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, HIDDEN)
    return _SECRET_TEXT.sub(HIDDEN, text)


def _is_hub_id(name: Any) -> bool:
    return isinstance(name, str) and bool(_HUB_ID.fullmatch(name)) and not Path(name).exists()


def _source_row(source: Mapping[str, Any]) -> tuple[str, str, str]:
    config = source.get("dataset_config")
    name = source.get("dataset_name") or f"local: {Path(source.get('path') or '?').name}"
    weight, limit = source.get("weight"), source.get("max_train_samples")
    return (
        f"{name} ({config})" if config else str(name),
        "by its rows" if weight is None else f"{weight:g}",
        "all" if limit is None else f"the first {limit}",
    )


def _hyperparameters(checkpoint: TrainedCheckpoint) -> list[tuple[str, str]]:
    run = checkpoint.run
    own = ("weight_update", *METHODS.get(checkpoint.method, ()))
    defaults = TuningArguments()
    tuning = {
        name: value
        for name, value in run["tuning_arguments"].items()
        if name in own and (value is not None or getattr(defaults, name, None) is not None)
    }
    data = {
        name: run["data_arguments"].get(name)
        for name in ("packing", "block_size", "max_input_tokens", "max_output_tokens")
    }
    if data["packing"] != "blocks":
        del data["block_size"]
    stage = ((run.get("deepspeed") or {}).get("zero_optimization") or {}).get("stage")
    if checkpoint.model.quantization != "none":
        tuning["quantization"] = checkpoint.model.quantization
    layout = {"ranks": run.get("slots"), "zero_stage": stage}
    training = {
        name: value
        for name, value in run["training_arguments"].items()
        if not name.startswith(_NO_HYPERPARAMETERS)
    }
    rows = {"method": checkpoint.method} | tuning | data | layout | training
    return [
        (f"`{name}`", f"`{value}`")
        for name, value in rows.items()
        if value not in (None, {}, []) and not _SECRET_NAME.search(name)
    ]


def _metrics(state: Mapping[str, Any]) -> str:
    """The last validation and the one of the lowest eval_loss, from the Trainer's history."""
    history = [row for row in state.get("log_history") or [] if isinstance(row, dict)]
    validations = [row for row in history if math.isfinite(row.get("eval_loss", math.nan))]
    losses = [row for row in history if "loss" in row]
    step = state.get("global_step")
    text = f"At step {step}" + (f" of {state['max_steps']}." if state.get("max_steps") else ".")
    if losses:
        text += f" Training loss {losses[-1]['loss']:.4g}."
    if not validations:
        return f"{text} There was no validation."
    last, best = validations[-1], min(validations, key=lambda row: row["eval_loss"])
    names = [name for name in last if name.startswith("eval_") and not _is_timing(name)]
    header = (
        "metric",
        f"last (step {last['step']})",
        f"best by eval_loss (step {best['step']})",
    )
    rows = [(f"`{name}`", f"{last[name]:.4g}", f"{best.get(name, 0):.4g}") for name in names]
    return f"{text}\n\n{_table(header, rows)}"


def _is_timing(name: str) -> bool:
    return name.endswith(("_runtime", "_per_second"))


def _versions(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, str(number)) for name, number in (metadata.get("versions") or {}).items()]
    if commit := metadata.get("git_commit"):
        rows.append(("git commit of the code", f"`{commit}`"))
    if tokens := metadata.get("tokens_seen"):
        rows.append(("tokens seen in training", f"{tokens:,}"))
    return rows


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; nothing where there are no rows."""
    lines = [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in r) for r in rows]
    if not lines:
        return ""
    return "\n".join(
        f"| {line} |" for line in [" | ".join(header), " | ".join("---" for _ in header), *lines]
    )
