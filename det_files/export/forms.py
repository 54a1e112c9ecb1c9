"""What a checkpoint can become, and why it cannot become the rest."""

from __future__ import annotations

from det_files.faults import Faults
from det_files.model_faults import range_fault
from det_files.models import REWARD, SEQ2SEQ
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.weights import CONFIG_FILE
from det_files.tuning.arguments import BEFORE_ROWS

FORMS = ("merged", "adapter", "hf", "gguf")


def find_form_faults(checkpoint: TrainedCheckpoint, form: str, faults: Faults) -> None:
    """Notes why this checkpoint cannot become `form`, with the form that it can."""
    method = checkpoint.method
    if method in BEFORE_ROWS and form in ("merged", "gguf"):
        reason = f"a {method} stands before the text and is in no weight: say --to adapter"
    elif checkpoint.is_adapter and form == "hf":
        reason = f"{method} trained an adapter, not a whole model: say --to merged or --to adapter"
    elif not checkpoint.is_adapter and form in ("merged", "adapter"):
        reason = "the whole model was trained and there is no adapter: say --to hf"
    elif checkpoint.kind == REWARD and form == "gguf":
        reason = "a reward model gives one number, which llama.cpp has no form for: say --to hf"
    else:
        return
    faults.add("--to", reason)


def find_range_fault(checkpoint: TrainedCheckpoint, dtype: str | None) -> str | None:
    """Why the model cannot be computed with in a precision that is asked for; None where it can."""
    if dtype is None or checkpoint.kind != SEQ2SEQ:
        return None
    return range_fault(str(_model_type(checkpoint)), dtype)


def _model_type(checkpoint: TrainedCheckpoint) -> str | None:
    """transformers' name of the model's architecture; None where its config cannot be read."""
    import transformers

    own = (checkpoint.path / CONFIG_FILE).is_file()
    args = checkpoint.model
    try:
        config = transformers.AutoConfig.from_pretrained(
            str(checkpoint.path) if own else args.source,
            revision=args.model_revision,
            trust_remote_code=args.trust_remote_code,
        )
    except (OSError, ValueError, KeyError):
        return None  # loading it will say why
    return str(config.model_type)
