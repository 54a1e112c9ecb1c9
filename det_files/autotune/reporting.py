"""The context around training in which DeepSpeed's autotuning measures, and what it measured.

With `autotuning: {enabled: true}` in its configuration, DeepSpeed writes a JSON file after some
profiled steps and calls `exit()`. This context catches that exit and reports the file as validation
metrics, as `determined.pytorch.dsat.dsat_reporting_context` did until Determined 0.37; 0.38 removed
it. Where it exists, a cluster's trial uses that one: its search waits for what it alone reports.
Without autotuning the context does nothing.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from determined import core

from det_files.cluster.search import first_operation

logger = logging.getLogger(__name__)

# DeepSpeed's names for what it writes, in the order in which they are looked for.
METRIC_FILE = "autotuning_metric.json"
MODEL_INFO_FILE = "autotuning_model_info.json"


def autotuning_file(deepspeed: Mapping[str, Any] | None) -> Path | None:
    """The file that DeepSpeed will write under this configuration; None without autotuning."""
    section = (deepspeed or {}).get("autotuning")
    if not isinstance(section, Mapping):
        return None
    if not section.get("enabled"):
        return None
    info = section.get("model_info") or {}
    if info.get("profile"):
        return Path(section.get("model_info_path") or MODEL_INFO_FILE)
    return Path(section.get("metric_path") or METRIC_FILE)


@contextmanager
def dsat_reporting_context(
    context: core.Context, deepspeed: Mapping[str, Any] | None
) -> Iterator[None]:
    """Reports what DeepSpeed's autotuning measured in the training call inside.

    Raises:
        RuntimeError: DeepSpeed ended the run and left no readable result.
    """
    path = autotuning_file(deepspeed)
    if path is None:
        yield
        return
    if context.distributed.rank == 0:
        path.unlink(missing_ok=True)  # a result of an earlier run must not be taken for this one's
    operation = first_operation(context)
    if operation is not None:
        from determined.pytorch import dsat

        with dsat.dsat_reporting_context(context, operation):
            yield
        return
    try:
        yield
        logger.warning("autotuning was on, but training ended before DeepSpeed measured anything")
    except SystemExit as ended:
        if ended.code is not None:  # DeepSpeed's is a bare exit()
            raise
        if context.distributed.rank == 0:
            _report(context, path, (deepspeed or {})["autotuning"])


def _report(context: core.Context, path: Path, section: Mapping[str, Any]) -> None:
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"DeepSpeed's autotuning left no readable {path}: {error}") from error
    numbers = {k: v for k, v in measured.items() if isinstance(v, int | float)}
    metrics = {k: float(v) for k, v in numbers.items() if math.isfinite(v)}
    step = int(section.get("end_profile_step", 5))
    logger.info("autotuning measured %s", metrics)
    context.train.report_validation_metrics(steps_completed=step, metrics=metrics)
