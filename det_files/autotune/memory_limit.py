"""Running out of memory as a result of a measuring trial: recorded, and not tried again.

On a cluster the rank reports an early exit (INVALID_HP) and the trial is not restarted. Off-cluster
the trial's directory gets a file that says so. Either way the process ends with the error: one
rank that left quietly would let the others wait for it in a collective operation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import determined
from determined import core

from det_files.args import RunArgs
from det_files.autotune.metrics import is_measured
from det_files.out_of_memory import is_out_of_memory
from det_files.trial_files import OUT_OF_MEMORY_FILE

logger = logging.getLogger(__name__)


@contextmanager
def out_of_memory_is_a_result(args: RunArgs, context: core.Context) -> Iterator[None]:
    """Records that what is inside ran out of memory, where the searcher measures; else nothing.

    Raises:
        InvalidHP: of a trial of one rank on a cluster, which then exits with 0.
    """
    try:
        yield
    except Exception as error:
        if not is_measured(args.facts.searcher) or not is_out_of_memory(error):
            raise
        said = str(error).partition("\n")[0]
        logger.warning("out of memory: this configuration does not fit (%s)", said)
        if args.facts.trial_dir is not None:
            record_out_of_memory(args.facts.trial_dir, said)
        if context.info is not None and context.distributed.size == 1:
            raise determined.InvalidHP(f"out of memory: {said}") from error
        if context.info is not None:
            context.train.report_early_exit(core.EarlyExitReason.INVALID_HP)
        raise


def record_out_of_memory(trial_dir: Path, said: str) -> None:
    """Notes in the trial's directory that memory was too small, in the words of who said so."""
    (trial_dir / OUT_OF_MEMORY_FILE).write_text(f"{said}\n", encoding="utf-8")
