"""open_core: the one place that knows whether the trial runs on a cluster."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from determined import core

from det_files.args import RunArgs
from det_files.cluster.checkpoint_directory import DirectoryCheckpointContext
from det_files.cluster.distributed import (
    control_channel,
    join_process_group,
    leave_process_group,
    on_cpu,
)
from det_files.cluster.manifest import MANIFEST_FILE, damage
from det_files.cluster.metrics import JsonlTrainContext
from det_files.cluster.preemption import StopFilePreemptContext
from det_files.cluster.resume import download_latest, make_private
from det_files.cluster.trial import cluster_trial
from det_files.deepspeed_config import nvme_needs, nvme_paths
from det_files.faults import ConfigError, Fault
from det_files.trial_files import CONFIG_ERROR_FILE, directory_name, make_next_directory

logger = logging.getLogger(__name__)

RUNS_DIR = "runs"
# urllib3's Retry for requests to the master: as Determined's own, and for what a proxy answers
# while the master restarts, which would otherwise end the trial.
MASTER_RETRIES = {
    "total": 20,
    "backoff_factor": 0.5,
    "allowed_methods": False,
    "status_forcelist": [502, 503],  # not 504: so ends a long poll through a proxy
}


@dataclass(frozen=True)
class TrialCore:
    """A determined core Context with the trial's own places beside it.

    `latest_checkpoint` is a local directory, checked whole; `output_dir` is where checkpoints are
    staged before they are uploaded, private to this trial. `trial_dir` is where off-cluster its
    results lie, and on a cluster the container's working directory.
    """

    context: core.Context
    latest_checkpoint: Path | None
    output_dir: Path
    trial_dir: Path
    tensorboard_dir: Path
    on_cpu: bool

    @property
    def is_chief(self) -> bool:
        return self.context.distributed.rank == 0

    def agree_on(self, what: str, mine: str) -> None:
        """Returns when every rank has come here; no collective of torch's times out meanwhile.

        Raises:
            ConfigError: the ranks have come with different values of `mine`.
        """
        if len(set(self.context.distributed.allgather(mine))) > 1:
            raise ConfigError(f"the ranks do not have the same {what}: are all hosts' files alike?")


@contextmanager
def open_core(args: RunArgs) -> Iterator[TrialCore]:
    """Joins the trial's ranks and gives them a core Context, on a cluster or off it.

    Off-cluster, metrics go to metrics.jsonl, checkpoints to checkpoints/ and a request to stop
    comes from a file, all in the trial's directory; no other module can tell the difference.

    Raises:
        ConfigError: the machine lacks what the configuration needs, or a checkpoint that was
            named is not whole.
    """
    cpu = on_cpu(bool(args.training.get("use_cpu")))
    timeout_s = int(args.training.get("ddp_timeout", 1800))
    join_process_group(args.deepspeed is not None, cpu, timeout_s)
    distributed = control_channel()
    rank = distributed.rank if distributed is not None else 0
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING)
    if rank:  # what is said of the data and the model is the same on every rank
        for name in ("det_files.data", "det_files.loss_head"):
            logging.getLogger(name).setLevel(logging.ERROR)
    if cluster_trial() is not None:
        os.environ.setdefault("DET_RETRY_CONFIG", json.dumps(MASTER_RETRIES))
        with core.init(distributed=distributed) as context:
            yield from _on_cluster(args, context, cpu)
    else:
        yield from _off_cluster(args, distributed or core.DummyDistributedContext(), cpu)
    # Not after a failure: leaving NCCL's group waits for ranks that may never come, and the error
    # would be shown only then. The launcher ends the others once this one has exited.
    leave_process_group()


def _on_cluster(args: RunArgs, context: core.Context, cpu: bool) -> Iterator[TrialCore]:
    _check_nvme(args)
    base = Path(args.training["output_dir"]) if args.training.get("output_dir") else None
    if base is not None:
        base.mkdir(parents=True, exist_ok=True)
    # A restart must go on from its own last checkpoint, whatever the file named for the start.
    latest = download_latest(context, base) or _explicit_checkpoint(args)
    staging = make_private(context, "staging", base)
    tensorboard = context.train.get_tensorboard_path()
    yield TrialCore(context, latest, staging, Path.cwd(), tensorboard, cpu)
    context.distributed.allgather(None)
    if context.distributed.local_rank == 0:
        shutil.rmtree(staging, ignore_errors=True)


def _off_cluster(
    args: RunArgs, distributed: core.DistributedContext, cpu: bool
) -> Iterator[TrialCore]:
    trial_dir = distributed.broadcast(trial_directory(args) if distributed.rank == 0 else None)
    keep = args.training.get("save_total_limit")
    checkpoint = DirectoryCheckpointContext(distributed, trial_dir, keep)
    context = core.Context(
        checkpoint=checkpoint,
        distributed=distributed,
        preempt=StopFilePreemptContext(distributed, trial_dir),
        train=JsonlTrainContext(trial_dir, distributed.rank == 0),
    )
    base = args.training.get("output_dir")
    # Two trials with one output_dir must not meet in it.
    staging = (Path(base) / _flat(trial_dir)) if base else trial_dir / "staging"
    try:
        _check_nvme(args)
        with context:
            _empty(distributed, staging)
            latest = checkpoint.latest_whole() or _explicit_checkpoint(args)
            tensorboard = trial_dir / "tensorboard"
            yield TrialCore(context, latest, staging, trial_dir, tensorboard, cpu)
            # Everything in it is published by now; after a failure it is left to be looked at.
            _empty(distributed, staging, remake=False)
    except ConfigError as error:
        (trial_dir / CONFIG_ERROR_FILE).write_text(f"{error}\n", encoding="utf-8")
        raise


def _empty(distributed: core.DistributedContext, directory: Path, remake: bool = True) -> None:
    distributed.allgather(None)
    if distributed.rank == 0:
        shutil.rmtree(directory, ignore_errors=True)
        if remake:
            directory.mkdir(parents=True, exist_ok=True)
    distributed.allgather(None)


def _flat(path: Path) -> str:
    return "-".join(part for part in path.resolve().parts if part not in ("/", "\\"))


def trial_directory(args: RunArgs) -> Path:
    """The directory given, made if need be; else the next runs/<name>/<number>/trials/1.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        if args.facts.trial_dir is not None:
            args.facts.trial_dir.mkdir(parents=True, exist_ok=True)
            return args.facts.trial_dir.resolve()
        run = make_next_directory(Path(RUNS_DIR) / directory_name(args.facts.name))
        trial_dir = (run / "trials" / "1").resolve()
        trial_dir.mkdir(parents=True)
    except OSError as error:
        place = args.facts.trial_dir or Path(RUNS_DIR)
        raise ConfigError(Fault("--trial_dir", f"{place}: {error.strerror}")) from error
    print(f"results go to {trial_dir}", flush=True)
    return trial_dir


def _explicit_checkpoint(args: RunArgs) -> Path | None:
    """`resume_from_checkpoint` as a whole checkpoint directory, or a ConfigError."""
    named = args.training.get("resume_from_checkpoint")
    if not named:
        return None
    path = Path(named)
    where = "hyperparameters.training_arguments.resume_from_checkpoint"
    if not path.is_dir():
        raise ConfigError(Fault(where, f"{path} is no directory"))
    missing = [] if (path / "trainer_state.json").is_file() else ["trainer_state.json is missing"]
    if (path / MANIFEST_FILE).exists():
        missing += damage(path)
    if missing:
        raise ConfigError(Fault(where, f"{path} is incomplete: {'; '.join(missing)}"))
    return path


def _check_nvme(args: RunArgs) -> None:
    """Refuses NVMe offload on a machine without the drive, before anything is loaded."""
    for path in nvme_paths(args.deepspeed):
        if not os.access(path, os.W_OK):
            where = "hyperparameters.deepspeed_config.zero_optimization"
            reason = f"{path} is not a writable directory; {nvme_needs(args.deepspeed or {})}"
            raise ConfigError(Fault(where, reason))
