"""The reference model, from which a preference method keeps the trained one from straying."""

from __future__ import annotations

from typing import TYPE_CHECKING

from det_files.args import RunArgs
from det_files.models import load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def reference_model(args: RunArgs) -> PreTrainedModel | None:
    """The model as it was before training, frozen; None where no second one is needed.

    With an adapter the reference is the same model without it (or with a copy of the adapter that
    training goes on with). Where its scores are computed before training, it is the model itself.
    Under ZeRO-3 it is partitioned while it is loaded, as the trained one is.
    """
    assert args.preference is not None
    if args.tuning.method != "full" or args.preference.options.get("precompute_ref_log_probs"):
        return None
    # With the same seed: without weights to load, they are drawn from it.
    model, _ = load_model(args.model, args.load_dtype, args.training["seed"])
    return model.eval().requires_grad_(False)
