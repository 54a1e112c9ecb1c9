"""ExactTrainer: what our runs need of any of TRL's trainers, put before it in the order of classes.

- rows are ours, tokenized, in the order of GlobalBatchSampler: the same for every number of ranks;
- a resumed run logs the rows of an uninterrupted one: what TRL gathers between two logged rows is
  part of a checkpoint;
- nothing calls home, and no model card is written in our place.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch.utils.data import Sampler

from det_files.data.sampler import GlobalBatchSampler
from det_files.preference.dataset import PreferenceData
from det_files.preference.prompt_sampler import PromptSampler
from det_files.resuming import ResumingTrainer
from det_files.trainer import batch_sizes

_GATHERED = "det_files_gathered_metrics"


class ExactTrainer(ResumingTrainer):
    """To be named before one of TRL's trainers: `class DpoTrainer(ExactTrainer, DPOTrainer)`."""

    # Where TRL keeps what it gathers between two logged rows.
    _metrics_attribute = "_metrics"

    def __init__(self, *args: Any, data: PreferenceData, **kwargs: Any) -> None:
        """As TRL's, but that `data` brings the datasets."""
        self._data = data
        super().__init__(*args, train_dataset=data.train, eval_dataset=data.val, **kwargs)

    def _send_telemetry(self) -> None:
        """TRL reports each start to its makers. A trial's start is its owner's business."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL's says nothing of the data and the run; det_files.export writes one."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # tokenized already, as for every other method

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[int]:
        sampler = self._make_sampler()
        # By the number of rows, accelerate would take an epoch's last batch for a filled-up one,
        # and metrics would leave out rows of it; the sampler's batches are whole.
        self.train_dataset.total_dataset_length = len(sampler)
        return sampler

    def _make_sampler(self) -> GlobalBatchSampler | PromptSampler:
        sizes = batch_sizes(self.args)
        return GlobalBatchSampler(
            self._data.order,
            self._data.lengths,
            sizes.global_batch,
            sizes.micro_batch,
            self.data_seed,
            padded=True,
        )

    def drop_reference_copy(self) -> None:
        """Lets the base model be the reference of a new adapter.

        TRL copies an adapter that it is given as the reference; of a new one, which changes
        nothing yet, that is the base model, and the copy would only take memory.
        """
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")

    def match_reference_copy(self) -> None:
        """Gives the copy of an adapter that training goes on with the adapter's precision."""
        trained = dict(self.model.named_parameters())
        for name, parameter in trained.items():
            if (
                ".ref." in name
                and (twin := trained.get(name.replace(".ref.", ".default."))) is not None
            ):
                parameter.data = parameter.data.to(twin.dtype)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        gathered = getattr(self, self._metrics_attribute)
        self.state.stateful_callbacks[_GATHERED] = {
            "metrics": {name: list(values) for name, values in gathered["train"].items()},
            "tokens": getattr(self, "_total_train_tokens", 0),
        }
        super()._save_checkpoint(*args, **kwargs)
        del self.state.stateful_callbacks[_GATHERED]

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        kept = self.state.stateful_callbacks.pop(_GATHERED, None)
        if kept is not None:  # of the checkpoint that training resumed from
            getattr(self, self._metrics_attribute)["train"] = defaultdict(list, kept["metrics"])
            self._total_train_tokens = kept["tokens"]
        super()._run_epoch(*args, **kwargs)
