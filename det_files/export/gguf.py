"""`gguf`: a Llama-like model as one GGUF file, as llama.cpp and what builds on it read it.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What is written here is what can be read
back and compared: plain Llama, Mistral, Qwen2 and Qwen3. All else is llama.cpp's own converter's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.export.gguf_vocabulary import Vocabulary, read_vocabulary
from det_files.export.merging import export_merged
from det_files.export.whole_model import export_whole
from det_files.faults import ConfigError, Fault, Faults
from det_files.model_faults import explain_load_error
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.stored_tensors import StoredTensor, read_safetensors
from det_files.trained.tokenizer import tokenizer_of
from det_files.trained.weights import CONFIG_FILE

if TYPE_CHECKING:
    import gguf
    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerBase

# transformers' model type → GGUF's architecture; llama.cpp computes Mistral as a Llama.
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
OTHERWISE = "use llama.cpp's convert_hf_to_gguf.py on the directory of --to hf or --to merged"
# llama.cpp's converter has T5 alone of these, whose tokens it reads from SentencePiece's own file.
_T5 = f"{OTHERWISE}, with the base model's spiece.model put beside it"
_BART = "llama.cpp and its convert_hf_to_gguf.py have T5 alone of these"
_ENCODER_DECODERS = {"t5": _T5, "mt5": _T5, "umt5": _T5, "bart": _BART, "mbart": _BART}
_FILE_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def find_gguf_faults(checkpoint: TrainedCheckpoint, faults: Faults) -> None:
    """Notes why this model or its tokenizer cannot be written, before anything is merged."""
    try:
        config = _config_of(checkpoint)
        reasons = unwritable(config)
        for reason in reasons:
            faults.add("--to", f"gguf: {reason}: {otherwise(config)}")
        if not reasons:
            tokenizer = tokenizer_of(checkpoint)
            rows = max(config.vocab_size, len(tokenizer))  # tables grow with the vocabulary
            read_vocabulary(tokenizer, rows, OTHERWISE)
    except ConfigError as error:
        faults.extend(error)


def export_gguf(checkpoint: TrainedCheckpoint, output: Path, dtype: str) -> None:
    """Writes model-<type>.gguf: weights in `dtype` (norms and biases in float32), tokenizer and
    chat template. An adapter is merged first.

    Raises:
        ConfigError: see `find_gguf_faults`, `export_whole` and `export_merged`.
    """
    from transformers import AutoConfig

    tokenizer = tokenizer_of(checkpoint)
    whole = output / ".whole"
    whole.mkdir()
    try:
        export = export_merged if checkpoint.is_adapter else export_whole
        export(checkpoint, whole, dtype, "5GB")
        # Of what is written: tables of a larger vocabulary have more rows than the base model's.
        config = AutoConfig.from_pretrained(whole)
        vocabulary = read_vocabulary(tokenizer, config.vocab_size, OTHERWISE)
        file = output / f"model-{_FILE_TYPES[dtype]}.gguf"
        write_gguf(file, config, read_safetensors(whole), dtype, vocabulary, tokenizer)
    finally:
        shutil.rmtree(whole)


def unwritable(config: Any) -> list[str]:
    """What of a model's config GGUF files of these architectures, as read back here, cannot say."""
    if config.is_encoder_decoder:
        return [f"{config.model_type} is an encoder-decoder, and those are not written here"]
    if config.model_type not in ARCHITECTURES:
        return [f"the architecture {config.model_type} is none of {', '.join(ARCHITECTURES)}"]
    found = []
    rope = dict(config.rope_parameters or {})
    if rope.get("rope_type", "default") != "default" or rope.keys() - {"rope_theta", "rope_type"}:
        found.append(f"rotary positions are scaled ({rope.get('rope_type')})")
    for name in ("attention_bias", "mlp_bias"):
        if getattr(config, name, False):
            found.append(f"there are biases ({name})")
    windows = getattr(config, "use_sliding_window", config.model_type == "mistral")
    if windows and getattr(config, "sliding_window", None) is not None:
        found.append(f"attention has a window of {config.sliding_window} tokens")
    if config.hidden_act != "silu":
        found.append(f"the activation is {config.hidden_act}")
    return found


def otherwise(config: Any) -> str:
    """Which tool writes what is not written here."""
    return _ENCODER_DECODERS.get(config.model_type, OTHERWISE)


def permute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """A query's or key's rows in the order of GGUF's llama, whose rotary pairs are neighbours.

    transformers' Llama pairs row i of a head with row i + half of it. `weight` is [heads * D, …].
    """
    half = weight.shape[0] // heads // 2
    pairs = weight.reshape(heads, 2, half, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(
    file: Path,
    config: Any,
    tensors: dict[str, StoredTensor],
    dtype: str,
    vocabulary: Vocabulary,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Writes one GGUF file, its tensors one after another."""
    import gguf

    writer = gguf.GGUFWriter(str(file), ARCHITECTURES[config.model_type])
    _add_shape(writer, config)
    writer.add_file_type(gguf.LlamaFileType[_file_type_name(dtype)])
    vocabulary.add_to(writer, tokenizer)
    arch = next(
        a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == ARCHITECTURES[config.model_type]
    )
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    kinds = {name: _kind(tensor, dtype) for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if written is None:
            raise ConfigError(Fault("--to", f"gguf: {name} has no place in GGUF: {OTHERWISE}"))
        raw = gguf.GGMLQuantizationType[_FILE_TYPES[kinds[name]]]
        size = tensor.written_bytes(_torch_dtype(kinds[name]))
        writer.add_tensor_info(written, tensor.shape, _placeholder(), size, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, tensor in tensors.items():
        writer.write_tensor_data(_bytes_of(name, tensor, kinds[name], config))
    writer.close()


def _config_of(checkpoint: TrainedCheckpoint) -> Any:
    """The config of the model to be written: the checkpoint's own, or the base model's."""
    from transformers import AutoConfig

    args = checkpoint.model
    own = not checkpoint.is_adapter or (checkpoint.path / CONFIG_FILE).is_file()
    name = str(checkpoint.path) if own else args.source
    options: dict[str, Any] = {"trust_remote_code": args.trust_remote_code}
    if not own:
        options["revision"] = args.model_revision
        if args.gguf_file:
            options["gguf_file"] = args.gguf_file
    try:
        return AutoConfig.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(Fault(name, explain_load_error(name, error))) from error


def _add_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_type("model")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_vocab_size(config.vocab_size)


def _file_type_name(dtype: str) -> str:
    return "ALL_F32" if dtype == "float32" else f"MOSTLY_{_FILE_TYPES[dtype]}"


def _kind(tensor: StoredTensor, dtype: str) -> str:
    """llama.cpp multiplies matrices in any type, but adds and scales by vectors of float32."""
    return "float32" if len(tensor.shape) == 1 else dtype


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _placeholder() -> np.dtype[Any]:
    """numpy has no bfloat16: GGUF's own type says what the bytes are, and this nothing."""
    import numpy as np

    return np.dtype(np.int16)


def _bytes_of(name: str, tensor: StoredTensor, kind: str, config: Any) -> np.ndarray[Any, Any]:
    import torch

    values = tensor.read_as(_torch_dtype(kind))
    if ARCHITECTURES[config.model_type] == "llama":
        if ".q_proj." in name:
            values = permute(values, config.num_attention_heads)
        elif ".k_proj." in name:
            values = permute(values, config.num_key_value_heads)
    array: np.ndarray[Any, Any] = values.contiguous().reshape(-1).view(torch.uint8).numpy()
    return array
