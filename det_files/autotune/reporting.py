"""The context around training in which DeepSpeed's autotuning measures, and what it measured.

With `autotuning: {enabled: true}` in its configuration, DeepSpeed writes a JSON file after some
profiled steps (or, for a profile of the model, in the first one) and calls `exit()`. This context
catches that exit and reports the file as validation metrics, under DeepSpeed's names and those of
Determined's DeepSpeed Autotune, whose search waits for them up to 0.37. It takes the place of
`determined.pytorch.dsat.dsat_reporting_context`, which 0.38 removed, and which knows neither
today's names nor a machine without a GPU. Without autotuning the context does nothing.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from determined import core

from det_files.args import RunArgs
from det_files.autotune.dsat_names import DEVICE_MEMORY, SEARCHER, as_searched, with_dsat_names
from det_files.cluster.search import first_operation, searcher_of
from det_files.deepspeed_config import merge
from det_files.rungs import WORST, smaller_is_better

logger = logging.getLogger(__name__)

# DeepSpeed's names for what it writes.
METRIC_FILE = "autotuning_metric.json"
MODEL_INFO_FILE = "autotuning_model_info.json"


def _section(deepspeed: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The autotuning section where it is enabled, else an empty one."""
    section = (deepspeed or {}).get("autotuning")
    return section if isinstance(section, Mapping) and section.get("enabled") else {}


def _profiles_model(section: Mapping[str, Any]) -> bool:
    return bool((section.get("model_info") or {}).get("profile"))


def autotuning_file(deepspeed: Mapping[str, Any] | None) -> Path | None:
    """The file that DeepSpeed will write under this configuration; None without autotuning."""
    section = _section(deepspeed)
    if not section:
        return None
    if _profiles_model(section):
        return Path(section.get("model_info_path") or MODEL_INFO_FILE)
    return Path(section.get("metric_path") or METRIC_FILE)


def with_results_in(args: RunArgs, directory: Path) -> RunArgs:
    """The same arguments, DeepSpeed's autotuning files in that directory unless placed elsewhere.

    DeepSpeed writes into the working directory, which trials on one machine share.
    """
    section = _section(args.deepspeed)
    if not section:
        return args
    paths = {
        "metric_path": section.get("metric_path") or METRIC_FILE,
        "model_info_path": section.get("model_info_path") or MODEL_INFO_FILE,
    }
    placed = {"autotuning": {key: str(directory / name) for key, name in paths.items()}}
    return dataclasses.replace(args, deepspeed=merge(args.deepspeed or {}, placed))


@contextmanager
def dsat_reporting_context(
    context: core.Context, deepspeed: Mapping[str, Any] | None
) -> Iterator[None]:
    """Reports what DeepSpeed's autotuning measured in the training call inside.

    Raises:
        RuntimeError: DeepSpeed ended the run and left no readable result; or training has ended
            before it measured anything, and a searcher waits for that.
    """
    path = autotuning_file(deepspeed)
    if path is None:
        yield
        return
    if context.distributed.rank == 0:
        path.unlink(missing_ok=True)  # a result of an earlier run must not be taken for this one's
    try:
        yield
    except SystemExit as ended:
        if ended.code is not None:  # DeepSpeed's is a bare exit()
            raise
        metrics = None
        if context.distributed.rank == 0:
            metrics = _report(context, path, _section(deepspeed))
        _complete_operation(context, metrics)
        return
    reason = "autotuning was on, but training ended before DeepSpeed measured anything"
    if first_operation(context) is not None and not context.preempt.should_preempt(auto_ack=False):
        raise RuntimeError(f"{reason}: the searcher would wait for ever")
    logger.warning(reason)


def _report(context: core.Context, path: Path, section: Mapping[str, Any]) -> dict[str, float]:
    """Reports the numbers of DeepSpeed's file, and returns them; only the chief calls this."""
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"DeepSpeed's autotuning left no readable {path}: {error}") from error
    numbers = {k: v for k, v in measured.items() if isinstance(v, int | float)}
    metrics = with_dsat_names({k: v for k, v in numbers.items() if math.isfinite(v)})
    step = int(section.get("end_profile_step", 5))
    if _profiles_model(section):
        metrics[DEVICE_MEMORY] = device_bytes(context)
        step = 1  # DeepSpeed ends in its forward pass
    logger.info("autotuning measured %s", metrics)
    context.train.report_validation_metrics(steps_completed=step, metrics=metrics)
    return metrics


def device_bytes(context: core.Context) -> int:
    """The memory of this rank's device in bytes; on a CPU, its share of the machine's."""
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    total = int(accelerator.total_memory())
    if accelerator.device_name() != "cpu":
        return total
    return total // max(context.distributed.local_size, 1)


def _complete_operation(context: core.Context, metrics: Mapping[str, float] | None) -> None:
    """Up to 0.37: ends the searcher's operation; all ranks call this, the chief with metrics.

    DSAT's search wants all of them, Determined's own searchers the one that they search over.
    """
    operation = first_operation(context)
    if operation is None or metrics is None:
        return
    searcher = searcher_of(context)
    if searcher.get("name") == SEARCHER:
        operation.report_completed(as_searched(metrics))
    else:
        worst = WORST if smaller_is_better(searcher) else -WORST
        name = searcher.get("metric")
        if name not in metrics:
            logger.warning("autotuning measures no %s: reported as the worst, %g", name, worst)
        operation.report_completed(metrics.get(str(name), worst))
    # There will be no other operation: the trial may leave before the master has closed it.
    context.searcher.acknowledge_out_of_ops()
