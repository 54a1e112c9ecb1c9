"""What det_files.memory predicts for published models, as a Markdown table.

    python -m benchmarks.memory_predictions

The experiments are our own, with their settings; the models are made of the numbers in their
published configurations, written down here, so that nothing is downloaded.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT

GIGABYTE = 10**9
_LLAMA = {"vocab_size": 43176, "max_position_embeddings": 4096}
# Llama 2 (Touvron et al. 2023, arXiv:2307.09288) with Swallow's vocabulary (Fujii et al. 2024,
# arXiv:2404.17790); T5 1.1 XL (google/flan-t5-xl); BLOOM (Le Scao et al. 2022, arXiv:2211.05100;
# bigscience/bloom-3b); GPT-NeoX-20B (Black et al. 2022, arXiv:2204.06745).
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "swallow_7b": (
        "llama",
        _LLAMA
        | {
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
    ),
    "swallow_13b": (
        "llama",
        _LLAMA
        | {
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
        },
    ),
    "swallow_70b": (
        "llama",
        _LLAMA
        | {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
        },
    ),
    "flan_t5_xl": (
        "t5",
        {
            "vocab_size": 32128,
            "d_model": 2048,
            "d_kv": 64,
            "d_ff": 5120,
            "num_layers": 24,
            "num_decoder_layers": 24,
            "num_heads": 32,
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
            "decoder_start_token_id": 0,
        },
    ),
    "bloom_3b": ("bloom", {"vocab_size": 250880, "hidden_size": 2560, "n_layer": 30, "n_head": 32}),
    "gpt_neox_20b": (
        "gpt_neox",
        {
            "vocab_size": 50432,
            "hidden_size": 6144,
            "intermediate_size": 24576,
            "num_hidden_layers": 44,
            "num_attention_heads": 64,
            "max_position_embeddings": 2048,
        },
    ),
}


@dataclass(frozen=True)
class Prediction:
    """An experiment (of another model's file, where `model` has none of its own) and its device."""

    experiment: str
    model: str
    gpu: str
    slots: int | None = None


PREDICTIONS = [
    Prediction("swallow_7b_ds1", "swallow_7b", "40GB"),
    Prediction("swallow_7b_ds2", "swallow_7b", "40GB"),
    Prediction("swallow_7b_ds2_offload", "swallow_7b", "24GB"),
    Prediction("swallow_7b_ds3", "swallow_7b", "24GB"),
    Prediction("swallow_13b_ds2", "swallow_13b", "80GB"),
    Prediction("swallow_13b_ds3", "swallow_13b", "40GB"),
    Prediction("swallow_13b_qlora", "swallow_13b", "24GB"),
    Prediction("swallow_70b_ds3", "swallow_70b", "80GB"),
    Prediction("swallow_70b_ds3_offload", "swallow_70b", "40GB"),
    Prediction("flan_t5_xl_ds1", "flan_t5_xl", "80GB"),
    Prediction("flan_t5_xl_ds2", "flan_t5_xl", "80GB"),
    Prediction("flan_t5_xl_ds3", "flan_t5_xl", "40GB"),
    Prediction("bloom_3b_ds2", "bloom_3b", "40GB"),
    Prediction("bloom_3b_ds3", "bloom_3b", "40GB"),
    # No experiment of its own: full tuning as BLOOM's, on as many slots as its states ask for.
    Prediction("bloom_3b_ds3", "gpt_neox_20b", "80GB", 8),
]


def write_config(model: str, directory: Path) -> Path:
    """A directory with the published configuration of a model, and nothing else."""
    import transformers

    kind, settings = PUBLISHED[model]
    transformers.AutoConfig.for_model(kind, **settings).save_pretrained(directory)
    return directory


def predict(prediction: Prediction, directory: Path) -> dict[str, Any]:
    """The estimate of a prediction, with what fits into its device."""
    from det_files.experiment import load_experiment
    from det_files.memory.estimate import estimate_run, read_shape
    from det_files.memory.fitting import fewest_slots, largest_micro_batch
    from det_files.memory.table import parse_bytes
    from det_files.validate import check_experiment

    path = ROOT / "experiments" / f"{prediction.experiment}.yaml"
    where = f"hyperparameters.model_arguments.model_name_or_path={directory}"
    args = check_experiment(load_experiment(path, [where]), prediction.slots, ROOT)
    shape = read_shape(args)
    memory = parse_bytes(prediction.gpu, "gpu")
    return {
        "shape": shape,
        "estimate": estimate_run(shape, args),
        "micro_batch": largest_micro_batch(shape, args, memory),
        "slots": fewest_slots(shape, args, memory),
        "memory": memory,
    }


def show(prediction: Prediction, found: dict[str, Any]) -> str:
    """A line of the table, in GB."""
    estimate, shape = found["estimate"], found["shape"]
    own = prediction.experiment.startswith(prediction.model)
    name = (
        f"`{prediction.experiment}`" if own else f"{prediction.model}, as `{prediction.experiment}`"
    )
    cells = [
        name,
        f"{(shape.trained + shape.frozen) / GIGABYTE:.2f}",
        str(estimate.slots),
        str(estimate.micro_batch),
        f"{estimate.resting_bytes / GIGABYTE:.1f}",
        f"**{estimate.device_bytes / GIGABYTE:.1f}**",
        f"{estimate.device['margin'] / GIGABYTE:.1f}",
        estimate.peak,
        f"{prediction.gpu[:-2]}: {'fits' if estimate.device_bytes <= found['memory'] else 'no'}",
        str(found["micro_batch"]),
        str(found["slots"] or "none"),
        f"{estimate.host_bytes / GIGABYTE:.1f}",
        f"{estimate.checkpoint_bytes / GIGABYTE:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


HEADINGS = (
    "experiment",
    "10⁹ parameters",
    "slots",
    "micro-batch",
    "between steps",
    "peak",
    "of it margin",
    "when",
    "GPU",
    "largest micro-batch",
    "fewest slots",
    "host a rank",
    "checkpoint",
)


def main() -> int:
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    with tempfile.TemporaryDirectory() as temporary:
        for prediction in PREDICTIONS:
            directory = write_config(prediction.model, Path(temporary) / prediction.model)
            print(show(prediction, predict(prediction, directory)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
