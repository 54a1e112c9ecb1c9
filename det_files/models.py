"""Loading a language model and its tokenizer: hub id, directory, GGUF file or a config.

torch and transformers are imported inside the functions: this module owns ModelArguments, which
validation reads, and validation must answer within seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault
from det_files.model_faults import explain_load_error, range_fault, start_fault
from det_files.quantization import QUANTIZATIONS, check_quantized, quantized_loading
from det_files.vocabulary import fit_vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

DTYPES = ("bfloat16", "float16", "float32")
SECTION = "hyperparameters.model_arguments"
# Kinds of entrypoints; what a preference method trains is a causal model, or one that scores.
CAUSAL, SEQ2SEQ, PREFERENCE, REWARD = "causal", "seq2seq", "preference", "reward"
_CLASSES = {
    CAUSAL: "AutoModelForCausalLM",
    SEQ2SEQ: "AutoModelForSeq2SeqLM",
    REWARD: "AutoModelForSequenceClassification",
}


@dataclass(frozen=True)
class ModelArguments:
    """Which model, and in which precision. `dtype` is the only place where precision is said."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "hub id, or a directory with config.json"}
    )
    config_name_or_path: str | None = field(
        default=None, metadata={"help": "a config to initialise random weights from instead"}
    )
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "hub id or directory; default: the model's own"}
    )
    model_revision: str = field(default="main", metadata={"help": "branch, tag or commit"})
    gguf_file: str | None = field(
        default=None, metadata={"help": "name of a .gguf file in model_name_or_path"}
    )
    dtype: str = field(
        default="bfloat16",
        metadata={"choices": DTYPES, "help": "sets bf16/fp16 of training and DeepSpeed alike"},
    )
    quantization: str = field(
        default="none",
        metadata={
            "choices": QUANTIZATIONS,
            "help": "nf4: the base model's linear layers in 4 bits, frozen; adapters are trained",
        },
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "eager, sdpa, flash_attention_2, …; default: what transformers chooses"},
    )
    compile: str = field(
        default="none",
        metadata={
            "choices": ("none", "layers"),
            "help": "layers: torch.compile of the repeated one",
        },
    )
    activation_offloading: bool = field(
        default=False,
        metadata={"help": "keep what the backward pass needs in host memory; slower, smaller"},
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run model code from the hub; off unless you say so"}
    )

    @property
    def source(self) -> str:
        """What is loaded: the model's id or directory, else the config's."""
        return self.model_name_or_path or self.config_name_or_path or ""

    @property
    def source_key(self) -> str:
        """The argument that names it."""
        return "model_name_or_path" if self.model_name_or_path else "config_name_or_path"


def gguf_conversion_command(args: ModelArguments) -> str:
    """The command that turns a GGUF file into a directory that every method and stage can use."""
    name = Path(args.gguf_file or "model.gguf").stem
    return (
        f"python -m det_files.gguf_conversion {args.source}/{args.gguf_file} --output models/{name}"
    )


def auto_class(kind: str) -> Any:
    """transformers' class that loads models of a kind: causal, seq2seq or reward."""
    import transformers

    return getattr(transformers, _CLASSES[kind])


def load_model(
    args: ModelArguments,
    dtype: torch.dtype | str | None = None,
    seed: int = 42,
    kind: str = CAUSAL,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Returns the model with parameters in `dtype` (default: `args.dtype`) and its tokenizer.

    With `quantization`, linear layers are in 4 bits and multiply in `dtype`.

    `kind` is causal, seq2seq for encoder-decoder models, or reward for those that give a text one
    number, whose last layer is new unless the model has one.

    Without weights to load (`config_name_or_path`), they are drawn from `seed`.

    Under ZeRO-3 the weights are partitioned while they are loaded; for that, TrainingArguments
    must have been made before (transformers asks a global that they set).

    Raises:
        ConfigError: the model or tokenizer cannot be found, read or reached, or they do not
            belong together; its weights cannot be quantised.
    """
    import torch
    import transformers

    wanted = dtype or args.dtype
    torch_dtype = getattr(torch, wanted) if isinstance(wanted, str) else wanted
    tokenizer = load_tokenizer(args)
    options: dict[str, Any] = {
        "dtype": torch_dtype,
        "attn_implementation": args.attn_implementation,
        "trust_remote_code": args.trust_remote_code,
    }
    if kind == REWARD:
        options["num_labels"] = 1
    transformers.set_seed(seed)
    model_class = auto_class(kind)
    if args.quantization == "nf4":
        options |= quantized_loading(torch_dtype)
    if kind in (CAUSAL, REWARD) and args.gguf_file is None:
        _check_is_decoder(args, kind)
    with explained(args):
        if args.model_name_or_path is None:
            config = transformers.AutoConfig.from_pretrained(
                args.config_name_or_path, trust_remote_code=args.trust_remote_code
            )
            config.num_labels = options.pop("num_labels", config.num_labels)
            model = model_class.from_config(config, **options)
        else:
            name = args.model_name_or_path
            model = model_class.from_pretrained(name, **_weights(args), **options)
    if args.quantization == "nf4":
        check_quantized(model)
    if reason := range_fault(model.config.model_type, args.dtype):
        raise ConfigError(Fault(f"{SECTION}.dtype", reason))
    if kind == SEQ2SEQ and (reason := start_fault(model.config, args.source)):
        raise ConfigError(Fault(f"{SECTION}.{args.source_key}", reason))
    extended = args.tokenizer_name is not None
    fit_vocabulary(model, len(tokenizer), f"{SECTION}.tokenizer_name", extended)
    # The key/value cache is of no use in training, and activation checkpointing forbids it.
    model.config.use_cache = False
    if kind == REWARD:  # scores are read at the last token that is no padding
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def load_config(args: ModelArguments, local_only: bool = False) -> PretrainedConfig:
    """The configuration of the model alone, without its weights.

    `local_only` asks the disk and the hub's cache, not the hub.

    Raises:
        ConfigError: it cannot be found, read or reached.
    """
    import transformers

    options: dict[str, Any] = {"trust_remote_code": args.trust_remote_code}
    if local_only:
        options["local_files_only"] = True
    if args.model_name_or_path is not None:
        options["revision"] = args.model_revision
        if args.gguf_file:
            options["gguf_file"] = args.gguf_file
    with explained(args):
        return transformers.AutoConfig.from_pretrained(args.source, **options)


def _check_is_decoder(args: ModelArguments, kind: str) -> None:
    """Refuses BART and its like, of which transformers would load the bare decoder.

    It is the configuration on disk that tells: such a decoder changes its own copy.
    """
    refuse_encoder_decoder(load_config(args), args, kind)


def refuse_encoder_decoder(config: Any, args: ModelArguments, kind: str) -> None:
    """Raises a ConfigError where a decoder is asked for and the configuration is none's."""
    if kind in (CAUSAL, REWARD) and config.is_encoder_decoder:
        way_out = "use det_files.run_seq2seq" if kind == CAUSAL else "it cannot score texts here"
        reason = f"{args.source} is an encoder-decoder model: {way_out}"
        raise ConfigError(Fault(f"{SECTION}.{args.source_key}", reason))


def _weights(args: ModelArguments) -> dict[str, Any]:
    """Where the weights come from: safetensors, or .bin read with weights_only and a warning."""
    options: dict[str, Any] = {"revision": args.model_revision, "weights_only": True}
    directory = Path(args.model_name_or_path or "")
    if args.gguf_file:
        return options | {"gguf_file": args.gguf_file}
    if not any(directory.glob("*.safetensors")) and any(directory.glob("*.bin")):
        logger.warning("%s has no safetensors: loading .bin with weights_only", directory)
        options["use_safetensors"] = False
    return options


def load_tokenizer(args: ModelArguments) -> PreTrainedTokenizerBase:
    """Returns the tokenizer with a padding token (the end-of-text token where it has none).

    Padding never reaches a label through its id: label masks are built from positions.
    """
    import transformers

    name = args.tokenizer_name or args.source
    options: dict[str, Any] = {"trust_remote_code": args.trust_remote_code}
    if args.tokenizer_name is None:
        options["revision"] = args.model_revision
        if args.gguf_file:
            options["gguf_file"] = args.gguf_file
    with explained(args, name):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **options)
    if tokenizer.eos_token_id is None:
        raise ConfigError(Fault(f"{SECTION}.tokenizer_name", f"{name} has no end-of-text token"))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def explained(args: ModelArguments, name: str | None = None) -> Iterator[None]:
    """Turns the errors of loading `name` (default: the model) into one that says what to do."""
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    known = (OSError, ValueError, KeyError, ImportError, UnpicklingError, SafetensorError)
    try:
        yield
    except known as error:
        named_tokenizer = name is not None and name == args.tokenizer_name
        key = "tokenizer_name" if named_tokenizer else args.source_key
        reason = explain_load_error(name or args.source, error)
        raise ConfigError(Fault(f"{SECTION}.{key}", reason)) from error
