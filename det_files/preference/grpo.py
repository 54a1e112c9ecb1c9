"""GRPO: group relative policy optimization (Shao et al. 2024, arXiv:2402.03300), by TRL.

Answers are generated to each prompt, scored by functions of the registry (rewards.py), and learned
from as far as they are better than the others to the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object, send_to_device
from trl.trainer.grpo_trainer import GRPOTrainer

from det_files.args import RunArgs
from det_files.faults import ConfigError, Fault
from det_files.preference.arguments import SECTION
from det_files.preference.prompt_sampler import PromptSampler
from det_files.preference.rewards import REWARDS
from det_files.preference.trainer import ExactTrainer

_BUFFER = "generated_rank{}.pt"


class _Trainer(ExactTrainer, GRPOTrainer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._row_of_prompt = {
            text: (data, number)
            for data in (self._data.train, self._data.val)
            for number, text in enumerate(data["prompt"])
        }

    def _make_sampler(self) -> PromptSampler:
        generated_at_once, group = self.args.generation_batch_size, self.args.num_generations
        assert generated_at_once and group  # settled when the configuration was made
        return PromptSampler(
            self._data.order,
            generated_at_once // group,
            group,
            self._steps_of_buffer,
            self.data_seed,
        )

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # The prompts' own tokens: tokenized again as text, they would begin with a second BOS.
        rows = (self._row_of_prompt[text] for text in prompts)
        return [data[number]["prompt_ids"] for data, number in rows], None, {}

    @property
    def _steps_of_buffer(self) -> int:
        """Micro-batches that are learned from what is generated at once."""
        steps = self.args.steps_per_generation
        assert steps is not None  # settled when the configuration was made
        return int(steps * self.num_iterations)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        done = self._step % self._steps_of_buffer
        if done:
            # Answers that are still to be learned from: generated anew, they would be others.
            directory = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            directory.mkdir(parents=True, exist_ok=True)
            kept = {"step": done, "ranks": self.args.world_size, "generated": self._buffered_inputs}
            torch.save(kept, directory / _BUFFER.format(self.args.process_index))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or not any(Path(checkpoint).glob(_BUFFER.format("*"))):
            return
        path = Path(checkpoint) / _BUFFER.format(self.args.process_index)
        kept: dict[str, Any] = {"ranks": 0, "generated": []}
        if path.is_file():
            kept = torch.load(path, map_location="cpu", weights_only=True)
        fits = kept["ranks"] == self.args.world_size
        fits &= len(kept["generated"]) == self.args.steps_per_generation
        if not all(gather_object([fits])):
            reason = (
                "the checkpoint has answers that are still to be learned from, on other ranks or "
                "in other steps: resume with as many slots and the same steps_per_generation"
            )
            raise ConfigError(Fault(SECTION, reason))
        self._step = kept["step"]
        self._buffered_inputs = send_to_device(kept["generated"], self.args.device)


def _for_trl(name: str) -> Callable[..., list[float]]:
    """A reward of the registry as TRL calls it; its name is that of its metric."""

    def rewards(completions: list[str], reference: list[str], **kwargs: Any) -> list[float]:
        return [
            REWARDS[name](answer, text) for answer, text in zip(completions, reference, strict=True)
        ]

    rewards.__name__ = name
    return rewards


def make(run: RunArgs, **common: Any) -> ExactTrainer:
    """The trainer; `common` are the Trainer's own arguments, and `data`."""
    assert run.preference is not None
    data, model = common["data"], common["model"]
    # What ends an answer in training ends it here.
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    model.generation_config.eos_token_id = list(dict.fromkeys([*ends, data.template.end_token_id]))
    return _Trainer(reward_funcs=[_for_trl(name) for name in run.preference.rewards], **common)
