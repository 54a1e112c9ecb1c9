"""What `hyperparameters.tuning_arguments` may hold, and which of it belongs to which method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from det_files.faults import Faults
from det_files.hyperparameters import representatives
from det_files.schema import check_mapping, fields_of

WEIGHT_UPDATES = ("float32", "stochastic")
INITS = ("random", "text", "vocab")
SECTION = "hyperparameters.tuning_arguments"

_LOW_RANK = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "use_rslora",
    "modules_to_save",
)
# Each method's own arguments.
METHODS: dict[str, tuple[str, ...]] = {
    "full": (),
    "lora": _LOW_RANK,
    "dora": _LOW_RANK,
    "ia3": ("target_modules",),
    "prompt": ("num_virtual_tokens", "init", "init_text"),
    "p_tuning": ("num_virtual_tokens", "encoder_hidden_size"),
    "prefix": ("num_virtual_tokens",),
}
# Methods that put something before a row, so that rows cannot lie end to end.
BEFORE_ROWS = ("prompt", "p_tuning", "prefix")
_COMMON = ("method", "weight_update")


@dataclass(frozen=True)
class TuningArguments:
    """The method and the shape of what it trains.

    - lora: low-rank adapters (Hu et al. 2021, arXiv:2106.09685), scaled by alpha / r, or by
      alpha / sqrt(r) with `use_rslora` (Kalajdzievski 2023, arXiv:2312.03732);
    - dora: the same with magnitude and direction apart (Liu et al. 2024, arXiv:2402.09353);
    - ia3: vectors that scale activations (Liu et al. 2022, arXiv:2205.05638);
    - prompt: embeddings before every row (Lester et al. 2021, arXiv:2104.08691);
    - p_tuning: the same, through a small network (Liu et al. 2021, arXiv:2103.10385);
    - prefix: keys and values before every row, in each layer (Li and Liang 2021, arXiv:2101.00190).
    """

    method: str = field(
        default="full", metadata={"choices": tuple(METHODS), "help": "what is trained"}
    )
    adapter: str | None = field(
        default=None,
        metadata={"help": "a directory or hub id of an adapter of this method to go on with"},
    )
    weight_update: str = field(
        default="float32",
        metadata={
            "choices": WEIGHT_UPDATES,
            "help": "float32: masters of trained weights; stochastic: none, bfloat16 weights are "
            "rounded up or down at random, right on average",
        },
    )
    r: int = field(default=8, metadata={"minimum": 1, "help": "rank of the adapters"})
    lora_alpha: float = field(
        default=16, metadata={"exclusive_minimum": 0, "help": "adapters are scaled by alpha / r"}
    )
    lora_dropout: float = field(
        default=0.0, metadata={"minimum": 0, "maximum": 1, "help": "share of inputs dropped"}
    )
    target_modules: str | list[str] | None = field(
        default=None,
        metadata={
            "help": "names of layers, all-linear, or a regular expression of whole names; "
            "default: all-linear, for ia3 what peft knows of the architecture"
        },
    )
    use_rslora: bool = field(default=False, metadata={"help": "scale by alpha / sqrt(r)"})
    modules_to_save: list[str] = field(
        default_factory=list,
        metadata={"help": "names of modules trained whole beside the adapters, e.g. lm_head"},
    )
    num_virtual_tokens: int = field(
        default=20, metadata={"minimum": 1, "help": "tokens put before every row"}
    )
    init: str = field(
        default="random",
        metadata={"choices": INITS, "help": "where the prompt begins; text: with init_text"},
    )
    init_text: str | None = field(
        default=None, metadata={"help": "repeated or cut to num_virtual_tokens"}
    )
    encoder_hidden_size: int | None = field(
        default=None, metadata={"minimum": 1, "help": "default: the model's hidden size"}
    )

    @property
    def takes_packed_rows(self) -> bool:
        """False where something stands before every row: it would stand before the first alone."""
        return self.method not in BEFORE_ROWS


def read_tuning_arguments(path: str, mapping: Mapping[str, Any], faults: Faults) -> TuningArguments:
    """Returns the typed arguments; notes those that the method does not have."""
    read = check_mapping(path, mapping, fields_of(TuningArguments), faults)
    # Of several methods that are searched over, each is drawn by some trial.
    methods = [method for _, method in representatives(read.get("method", "full"))]
    if "qlora" in methods:
        faults.add(f"{path}.method", "qlora is lora with model_arguments.quantization: nf4")
    for method in dict.fromkeys(method for method in methods if method in METHODS):
        _check_belonging(path, method, read, faults)
    _check_init(path, read, faults)
    return TuningArguments(**read)


def _check_belonging(path: str, method: str, read: Mapping[str, Any], faults: Faults) -> None:
    for key in sorted(set(read) - {*_COMMON, *METHODS[method]}):
        if key == "adapter":
            if method == "full":
                faults.add(f"{path}.adapter", "has no effect with method: full")
            continue
        owners = [name for name, own in METHODS.items() if key in own]
        faults.add(
            f"{path}.{key}",
            f"has no effect with method: {method}; did you mean {' or '.join(owners)}?",
        )
    if read.get("adapter") is not None:
        for key in sorted(set(read) & set(METHODS[method])):
            faults.add(f"{path}.{key}", "is the adapter's own where adapter names one")


def _check_init(path: str, read: Mapping[str, Any], faults: Faults) -> None:
    inits = [init for _, init in representatives(read.get("init", "random"))]
    text = read.get("init_text")
    if "text" in inits and not text:
        faults.add(f"{path}.init_text", "missing: init: text begins with it")
    if text and "text" not in inits:
        faults.add(f"{path}.init_text", "has no effect without init: text")
