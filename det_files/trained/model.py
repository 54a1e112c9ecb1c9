"""A trained model that is ready to answer, and the base model that it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from det_files.data.arguments import DataArguments
from det_files.data.reading import read_data_arguments
from det_files.faults import ConfigError, Fault, Faults
from det_files.models import REWARD, SEQ2SEQ
from det_files.preference.answering import answered_data
from det_files.trained.adapted import FROM_RANDOM, load_base_model, load_with_adapter
from det_files.trained.checkpoint import TOKENIZER_FILE, TrainedCheckpoint, as_from_here
from det_files.trained.prompts import Prompts
from det_files.trained.tokenizer import tokenizer_of
from det_files.trained.whole_model import load_whole

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

BASE, TUNED = "base", "tuned"
MODELS = (BASE, TUNED)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A checkpoint's model, in evaluation mode, with what its prompts are made by.

    Attributes:
        model: of transformers, or a peft model with its adapter on.
        tokenizer: the one of training.
        data: the run's data arguments; `chat_template` is "auto" where the tokenizer has it.
        checkpoint: what was loaded.
        has_base: whether this one copy of the weights also answers as the base model.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    data: DataArguments
    checkpoint: TrainedCheckpoint
    has_base: bool

    @property
    def kind(self) -> str:
        """causal or seq2seq."""
        return self.checkpoint.kind

    def prompts(self, source: str | None = None) -> Prompts:
        """What makes the prompts of training; see `Prompts`."""
        return Prompts(self.data, self.tokenizer, self.kind == SEQ2SEQ, source)

    @contextmanager
    def answering_as(self, which: str) -> Iterator[Any]:
        """The model as `base` or `tuned`, in the block alone.

        Raises:
            ValueError: it is no adapter, and the base model is asked for: see `load_base`.
        """
        if which == BASE and not self.has_base:
            raise ValueError("the whole model was trained: the base model is another one")
        with self.model.disable_adapter() if which == BASE else nullcontext():
            yield self.model


def load_trained(checkpoint: TrainedCheckpoint, dtype: str | None = None) -> TrainedModel:
    """The model of a checkpoint on this process's device, its base in `dtype` (the run's).

    A base in 4 bits stays so, since its adapter was trained on it.

    Raises:
        ConfigError: it gives no answers; weights cannot be had, or are not whole.
    """
    wanted = _dtype(checkpoint, dtype)
    if checkpoint.is_adapter:
        model = load_with_adapter(checkpoint, checkpoint.path, wanted, as_quantized=True)
    else:
        model = load_whole(checkpoint, wanted)
    return _ready(model, checkpoint, has_base=checkpoint.is_adapter)


def find_missing_base(checkpoint: TrainedCheckpoint, names: Sequence[str], faults: Faults) -> None:
    """Notes that models of a checkpoint, of those named, need a base model that is nowhere."""
    if checkpoint.model.model_name_or_path is None and (BASE in names or checkpoint.is_adapter):
        remedy = "" if checkpoint.is_adapter else " (--model tuned)"
        faults.add(str(checkpoint.path), f"{FROM_RANDOM}{remedy}")


def load_base(checkpoint: TrainedCheckpoint, dtype: str | None = None) -> TrainedModel:
    """The model that a checkpoint's run started from, alone, with the run's prompts.

    Raises:
        ConfigError: it cannot be had, or the run started from random weights.
    """
    model = load_base_model(checkpoint, _dtype(checkpoint, dtype), as_quantized=True)
    return _ready(model, checkpoint, has_base=False)


def _ready(model: Any, checkpoint: TrainedCheckpoint, has_base: bool) -> TrainedModel:
    if not getattr(model, "is_quantized", False):  # bitsandbytes has placed those
        model.to(_device())
    data = answering_data(checkpoint)
    return TrainedModel(model.eval(), tokenizer_of(checkpoint), data, checkpoint, has_base)


def answering_data(checkpoint: TrainedCheckpoint) -> DataArguments:
    """The run's data arguments, as they are for rows that are to be answered.

    Raises:
        ConfigError: run_args.yaml has faults there; what was trained gives no answers.
    """
    if checkpoint.kind == REWARD:
        reason = "is a reward model, which scores answers and gives none"
        raise ConfigError(Fault(str(checkpoint.path), reason))
    faults = Faults()
    data = read_data_arguments("data_arguments", checkpoint.run["data_arguments"], faults)
    faults.raise_if_any(str(checkpoint.path))
    if checkpoint.preference_method:
        data = answered_data(data, checkpoint.preference_method)
    if data.chat_template != "none" and (checkpoint.path / TOKENIZER_FILE).is_file():
        # The tokenizer was saved with the template of training, whatever file that came from.
        data = dataclasses.replace(data, chat_template="auto")
    return data


def data_from_here(checkpoint: TrainedCheckpoint) -> DataArguments:
    """The run's data arguments; relative paths are those of where the run was started."""
    data = answering_data(checkpoint)
    sources = [
        dataclasses.replace(source, path=as_from_here(source.path, checkpoint.path))
        for source in data.sources
    ]
    return dataclasses.replace(data, sources=sources)


def _dtype(checkpoint: TrainedCheckpoint, dtype: str | None) -> torch.dtype:
    import torch

    wanted: torch.dtype = getattr(torch, dtype or checkpoint.model.dtype)
    # Not every CPU computes in float16, as in training (args.fit_to_machine).
    slow = wanted == torch.float16 and dtype is None and not torch.cuda.is_available()
    return torch.float32 if slow else wanted


def _device() -> torch.device:
    """This rank's GPU, or the CPU."""
    import os

    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
