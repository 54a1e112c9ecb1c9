"""vLLM as the engine, where it is installed: whole models, and LoRA adapters on their base.

Written for the interface of vLLM's `LLMEngine` (add_request, step), as its example
multilora_inference.py uses it: requests end one by one, as the journal wants them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault, Faults
from det_files.generation.answers import Answer, end_ids_of, make_answer
from det_files.generation.sampling import Sampling
from det_files.models import SEQ2SEQ
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.model import BASE
from det_files.trained.tokenizer import tokenizer_of
from det_files.tuning.adapters import ADAPTER_FILE

if TYPE_CHECKING:
    from transformers import GenerationConfig

_LORA_ID = 1


def find_vllm_faults(checkpoint: TrainedCheckpoint, which: str, ranks: int, faults: Faults) -> None:
    """Notes why vLLM cannot answer with this checkpoint, or is not there."""
    if find_spec("vllm") is None:
        faults.add("--engine", "vllm is not installed: pip install vllm")
    if ranks > 1:
        faults.add("--engine", "vllm uses all GPUs by itself: start it without a launcher")
    reason = ""
    if checkpoint.kind == SEQ2SEQ:
        reason = "an encoder-decoder"
    elif checkpoint.model.quantization != "none":
        reason = f"an adapter on a base in {checkpoint.model.quantization}"
    elif checkpoint.model.gguf_file:
        reason = "a model in GGUF"
    elif which != BASE and checkpoint.method not in ("full", "lora"):
        reason = f"an adapter of method {checkpoint.method}"
    elif which != BASE and not checkpoint.is_adapter and not checkpoint.has_whole_weights:
        reason = "ZeRO shards (export them first: python -m det_files.export … --to hf)"
    if reason:
        faults.add("--engine", f"vllm does not take {reason}; --engine transformers does")


def sampling_arguments(sampling: Sampling, number: int, ends: Sequence[int]) -> dict[str, Any]:
    """The arguments of vLLM's SamplingParams for the row of a number.

    Its draws depend on the seed and the number alone; they are not those of `decode`.
    """
    drawn: dict[str, Any] = {}
    if sampling.draws:
        key = f"{sampling.seed} {number}".encode()
        seed = int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "big") >> 1
        drawn = {"top_k": sampling.top_k or -1, "top_p": sampling.top_p, "min_p": sampling.min_p}
        drawn |= {"seed": seed}
    return {
        "n": sampling.num_return_sequences,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "repetition_penalty": sampling.repetition_penalty,
        "stop_token_ids": list(ends),
        **drawn,
    }


class VllmEngine:
    """vLLM's engine on all GPUs of this machine."""

    def __init__(self, checkpoint: TrainedCheckpoint, which: str, dtype: str | None) -> None:
        """Loads the model; `find_vllm_faults` has been asked.

        Raises:
            ConfigError: vLLM does not load it.
        """
        import torch
        from vllm import EngineArgs, LLMEngine
        from vllm.lora.request import LoRARequest

        self.tokenizer = tokenizer_of(checkpoint)
        with_adapter = which != BASE and checkpoint.is_adapter
        whole = checkpoint.model.model_name_or_path
        if which != BASE and not checkpoint.is_adapter:
            whole = str(checkpoint.path)
        self._lora = None
        arguments: dict[str, Any] = {}
        if with_adapter:
            self._lora = LoRARequest("tuned", _LORA_ID, str(checkpoint.path))
            config = json.loads((checkpoint.path / ADAPTER_FILE).read_text(encoding="utf-8"))
            # The ranks that it has kernels for; it refuses others.
            rank = next((r for r in (8, 16, 32, 64, 128, 256, 320, 512) if r >= config["r"]), 512)
            arguments = {"enable_lora": True, "max_lora_rank": rank}
        try:
            self._engine = LLMEngine.from_engine_args(
                EngineArgs(
                    model=whole,
                    tokenizer=self.tokenizer.name_or_path,
                    dtype=dtype or checkpoint.model.dtype,
                    trust_remote_code=checkpoint.model.trust_remote_code,
                    tensor_parallel_size=max(1, torch.cuda.device_count()),
                    **arguments,
                )
            )
        except (OSError, ValueError) as error:
            raise ConfigError(Fault("--engine", f"vllm: {error}")) from error
        self._ends = end_ids_of(_generation_config(whole), self.tokenizer)

    @property
    def positions(self) -> int | None:
        return int(self._engine.get_model_config().max_model_len)

    @property
    def longest_prompt(self) -> int | None:
        assert self.positions is not None
        return self.positions - 1  # the last token has a position here

    def answers(
        self,
        prompts: Sequence[Sequence[int]],
        numbers: Sequence[int],
        sampling: Sampling,
        batch_size: int | None,
    ) -> Iterator[Answer]:
        """Yields the answers to prompts as they end; vLLM makes batches by itself."""
        from vllm import SamplingParams

        for number, prompt in zip(numbers, prompts, strict=True):
            wanted = SamplingParams(**sampling_arguments(sampling, number, self._ends))
            given = {"prompt_token_ids": list(prompt)}
            self._engine.add_request(str(number), given, wanted, lora_request=self._lora)
        while self._engine.has_unfinished_requests():
            for request in self._engine.step():
                if not request.finished:
                    continue
                for output in request.outputs:
                    ids, number = list(output.token_ids), int(request.request_id)
                    yield make_answer(self.tokenizer, self._ends, ids, number, output.index)


def _generation_config(model: str | None) -> GenerationConfig | None:
    """The model's own, where it has one."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(str(model))
    except OSError:
        return None
