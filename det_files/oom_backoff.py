"""`oom_backoff`: out of memory, a trial goes on with a smaller micro-batch, the same global one.

One rank runs out of memory while the others wait for it in a collective operation, so nothing can
be repaired within the processes. The rank that fails, whichever it is, records the smaller
micro-batch in the trial's metadata and ends its process; the launcher ends the others, the master
or the local runner starts the trial again, and all ranks read the record before anything is made of
the batch sizes. From the last checkpoint on, the same rows are learned from in the same steps.

B is the micro-batch, rows of a forward pass on one rank (per_device_train_batch_size), and A the
accumulation, forward passes in an optimizer step (gradient_accumulation_steps): B x A is kept.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.deepspeed_config import merge
from det_files.models import PREFERENCE
from det_files.out_of_memory import is_out_of_memory
from det_files.trial_files import METADATA_FILE

if TYPE_CHECKING:
    from determined import core

    from det_files.args import RunArgs
    from det_files.resuming import ResumingTrainer

logger = logging.getLogger(__name__)

_KEY = "oom_backoff"  # in the trial's metadata, which others write to as well
_EXIT = 1
# The log policies of our experiments cancel all retries at this text.
_CANCELS_RETRIES = re.compile(r"torch\.(cuda\.)?OutOfMemoryError: *")


@dataclass(frozen=True)
class Batches:
    """Rows of a forward pass in training (B, of which A are accumulated) and in evaluation."""

    micro_batch: int
    accumulation: int
    eval_batch: int

    def smaller(self, evaluating: bool) -> Batches | None:
        """About half of the rows at once, of what failed; None where it is one row already.

        B becomes the largest divisor of B x A that is no more than half of it.
        """
        if evaluating:
            half = self.eval_batch // 2
            return dataclasses.replace(self, eval_batch=half) if half else None
        if self.micro_batch < 2:
            return None
        rows = self.micro_batch * self.accumulation
        half = next(size for size in range(self.micro_batch // 2, 0, -1) if rows % size == 0)
        return dataclasses.replace(self, micro_batch=half, accumulation=rows // half)

    def describe(self, since: Batches) -> str:
        """The arguments that differ from those of `since`, as in an experiment file."""
        names = {
            "micro_batch": "per_device_train_batch_size",
            "accumulation": "gradient_accumulation_steps",
            "eval_batch": "per_device_eval_batch_size",
        }
        pairs = [(names[key], getattr(self, key), getattr(since, key)) for key in names]
        return ", ".join(f"{name} {now} (was {old})" for name, now, old in pairs if now != old)


@dataclass(frozen=True)
class Backoff:
    """What was configured, what is in force after `count` out-of-memory errors."""

    configured: Batches
    in_force: Batches
    count: int = 0

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> Backoff | None:
        """The record in a trial's metadata; None where there is none.

        The master keeps numbers as floats.
        """
        found = metadata.get(_KEY)
        if not isinstance(found, Mapping):
            return None
        try:
            configured, in_force = (
                Batches(**{name: int(value) for name, value in found[key].items()})
                for key in ("configured", "in_force")
            )
            return cls(configured, in_force, int(found["count"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # not ours

    def after(self, evaluating: bool) -> Backoff | None:
        """The record of one error more; None where nothing can be made smaller."""
        smaller = self.in_force.smaller(evaluating)
        return Backoff(self.configured, smaller, self.count + 1) if smaller else None


def read_backoff(trial_dir: Path) -> Backoff | None:
    """The record of a trial off-cluster; None where it has not backed off."""
    try:
        metadata = json.loads((trial_dir / METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Backoff.read(metadata) if isinstance(metadata, Mapping) else None


def count_backoffs(trial_dir: Path) -> int:
    """How often a trial off-cluster has backed off."""
    found = read_backoff(trial_dir)
    return found.count if found else 0


class OomBackoff:
    """The back-offs of a trial: those of its earlier starts, and perhaps one of this start."""

    def __init__(self, args: RunArgs, context: core.Context) -> None:
        """Reads what the trial's earlier starts have recorded; all ranks call this in step.

        Raises:
            RuntimeError: the master did not tell; trying again may help.
        """
        training = args.training
        self.enabled = bool(training.get("oom_backoff"))
        self._args, self._context = args, context
        configured = Batches(
            training["per_device_train_batch_size"],
            training["gradient_accumulation_steps"],
            training["per_device_eval_batch_size"],
        )
        self._state = Backoff(configured, configured)
        recorded = _recorded(context) if self.enabled else None
        # A record of other sizes is of a file that has been changed since: begin with its sizes.
        if recorded is not None and recorded.configured == configured:
            self._state = recorded
            changes = recorded.in_force.describe(configured)
            logger.info(
                "oom_backoff: out of memory so far: %d; %s; the global batch and its rows are the "
                "same",
                recorded.count,
                changes,
            )

    @property
    def args(self) -> RunArgs:
        """The arguments with the batch sizes in force, in the DeepSpeed configuration, too."""
        batches, deepspeed = self._state.in_force, self._args.deepspeed
        if batches == self._state.configured:
            return self._args
        if deepspeed is not None:
            sizes = {
                "train_micro_batch_size_per_gpu": batches.micro_batch,
                "gradient_accumulation_steps": batches.accumulation,
            }
            # What is "auto" is filled from the training arguments; train_batch_size is the same.
            stated = {k: v for k, v in sizes.items() if deepspeed.get(k, "auto") != "auto"}
            deepspeed = merge(deepspeed, stated)
        training = self._args.training | {
            "per_device_train_batch_size": batches.micro_batch,
            "gradient_accumulation_steps": batches.accumulation,
            "per_device_eval_batch_size": batches.eval_batch,
        }
        return dataclasses.replace(self._args, training=training, deepspeed=deepspeed)

    @contextmanager
    def watching(self, trainer: ResumingTrainer) -> Iterator[None]:
        """Ends the process where training inside runs out of memory and less of it can do.

        Raises:
            SystemExit: out of memory; the record is made, and one line of the log says so.
        """
        if not self.enabled:
            yield
            return
        trainer.batch_metrics = {
            "micro_batch_size": self._state.in_force.micro_batch,
            "oom_backoffs": self._state.count,
        }
        try:
            yield
        except Exception as error:
            following = self._following(trainer.phase) if is_out_of_memory(error) else None
            if following is None or not self._record(following):
                raise
            print(self._said(error, trainer.phase, following), file=sys.stderr, flush=True)
            raise SystemExit(_EXIT) from None

    def _following(self, phase: str) -> Backoff | None:
        if phase == "preparing":
            return None  # the model and its optimizer are too large, whatever the micro-batch
        evaluating = phase == "evaluation"
        if evaluating and self._args.facts.kind == PREFERENCE:
            return None  # TRL's metrics are means over batches: smaller ones would change them
        return self._state.after(evaluating)

    def _record(self, following: Backoff) -> bool:
        """Records it; several ranks that fail at once record the same."""
        train = self._context.train
        try:
            metadata = dict(train.get_metadata() or {})
            train.set_metadata(metadata | {_KEY: dataclasses.asdict(following)})
        except Exception as error:  # a client's or a disk's; what led here is raised instead
            logger.warning("oom_backoff: could not be recorded, %s: %s", type(error), error)
            return False
        return True

    def _said(self, error: Exception, phase: str, following: Backoff) -> str:
        reason = _CANCELS_RETRIES.sub("", str(error).strip().partition("\n")[0])
        rank = self._context.distributed.rank
        changes = following.in_force.describe(self._state.in_force)
        return (
            f"oom_backoff: rank {rank} ran out of memory in {phase} ({reason or 'no details'}). "
            f"The trial's next start goes on from its last checkpoint with {changes}"
        )


def _recorded(context: core.Context) -> Backoff | None:
    """What the metadata has, asked for by the chief and known to all ranks."""
    found: tuple[dict[str, Any], str] | None = None
    if context.distributed.rank == 0:
        try:
            found = (dict(context.train.get_metadata() or {}), "")
        except Exception as error:  # passed on to every rank below
            found = ({}, f"{type(error).__name__}: {error}")
    metadata, failure = context.distributed.broadcast(found)
    if failure:
        raise RuntimeError(f"the trial's metadata could not be read: {failure}")
    return Backoff.read(metadata)
