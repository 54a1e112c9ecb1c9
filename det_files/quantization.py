"""The base model in 4 bits, nf4, and back (QLoRA: Dettmers et al. 2023, arXiv:2305.14314).

Of each block of 64 weights the largest is kept, and of every weight one of 16 levels between it and
its negative, those of a normal distribution; the largest ones are kept in 8 bits, 256 by 256
("double quantisation"): 4.13 bits a weight. Linear layers are stored so. Each multiplies with its
weights in the model's dtype, made for the moment. Embeddings, norms and the output layer stay in
dtype.

peft.prepare_model_for_kbit_training is left out on purpose: it keeps all that is not quantised in
float32 (embeddings and output layer are gigabytes, and `dtype` alone decides), freezes what
adapters freeze anyway, and sets up activation checkpointing, which the Trainer does.

torch and transformers are imported inside the functions: validation reads this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

QUANTIZATIONS = ("none", "nf4")
PACKAGE = "bitsandbytes"
REQUIREMENT = "bitsandbytes==0.50.2"
SECTION = "hyperparameters.model_arguments"


def quantized_loading(dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `from_pretrained` for a model in nf4 that computes in `dtype`.

    It is loaded to the device that this rank trains on: a weight is quantised where it arrives.

    Raises:
        ConfigError: bitsandbytes is missing here.
    """
    from importlib.util import find_spec

    if find_spec(PACKAGE) is None:
        reason = f"nf4 needs a package that is missing: pip install {REQUIREMENT}"
        raise ConfigError(Fault(f"{SECTION}.quantization", reason))
    from accelerate import PartialState
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": PartialState().device}}


def check_quantized(model: PreTrainedModel) -> None:
    """Refuses a model whose weights were not quantised here, and steadies its layers.

    Raises:
        ConfigError: the files hold quantised weights already, in whatever precision of their own.
    """
    quantizer = model.hf_quantizer
    if quantizer is not None and quantizer.pre_quantized:
        reason = (
            f"{model.config.name_or_path} is quantised already "
            f"({model.config.quantization_config.quant_method}); name the model that it was made of"
        )
        raise ConfigError(Fault(f"{SECTION}.model_name_or_path", reason))
    for layer in _quantized_layers(model).values():
        # On CPUs with AVX512-BF16 an evaluation would repack the weights for a kernel without
        # gradients, which training would then go on with.
        layer.support_avx512bf16_for_cpu = False


def is_quantized(parameter: torch.Tensor) -> bool:
    """Whether this is a weight in 4 bits."""
    return getattr(parameter, "quant_state", None) is not None


def quantized_modules(model: nn.Module) -> set[str]:
    """Names of modules that are a layer in 4 bits, or hold one."""
    inner = _quantized_layers(model)
    return {
        ".".join(name.split(".")[:depth])
        for name in inner
        for depth in range(1, name.count(".") + 2)
    }


def dequantize(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Makes a quantised model a plain one in `dtype` on the CPU, in place, and returns it.

    Its weights are those that the quantised layers multiply with, to the last digit: in the
    precision in which they were loaded, and then in `dtype`. One layer at a time: memory is that of
    the model in `dtype`. (transformers' `dequantize` makes linear layers of GPT-2's transposed
    ones, and what it then saves cannot be loaded.)
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from transformers.pytorch_utils import Conv1D

    for name, layer in _quantized_layers(model).items():
        weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        weight = weight.to("cpu", dtype)  # [out, in]
        with torch.device("meta"):
            if layer.source_cls is Conv1D:
                plain: Any = Conv1D(layer.out_features, layer.in_features)
                weight = weight.T.contiguous()
            else:
                plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
        plain.weight = torch.nn.Parameter(weight, requires_grad=False)
        plain.bias = layer.bias
        model.set_submodule(name, plain)
    model.hf_quantizer.remove_quantization_config(model)
    model.is_loaded_in_4bit = False
    model.to("cpu")
    # Not by `to`, which would round buffers too, those of rotary positions among them.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _quantized_layers(model: nn.Module) -> dict[str, Any]:
    """Name → layer in 4 bits, in the model's order."""
    return {
        name: module
        for name, module in model.named_modules()
        if is_quantized(module._parameters.get("weight"))  # type: ignore[arg-type]
    }
