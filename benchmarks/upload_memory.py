"""Host memory while a checkpoint is uploaded: does a file ever stand in memory whole?

    python -m benchmarks.upload_memory

For 1 and 2 ranks on one host: a checkpoint of 1 GiB in 8 files is digested, uploaded in shards to
a directory through Determined's CheckpointContext, downloaded and checked. Growth of the ranks'
resident memory without the page cache's file mappings (RssAnon) over what they held before; the
ranks' peaks are added up, though they need not meet. Object stores' own clients are not covered.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

MEBIBYTE = 1024 * 1024
ROOT = Path(__file__).resolve().parent.parent


def resident_bytes() -> int:
    """Anonymous resident memory of this process, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon: this needs Linux")


class Peak(threading.Thread):
    """Samples this process's memory every 2 ms; `grown` is the peak over the start."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._start, self.grown, self._ended = resident_bytes(), 0, threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            self.grown = max(self.grown, resident_bytes() - self._start)
            time.sleep(0.002)

    def end(self) -> int:
        self._ended.set()
        self.join()
        return self.grown


def rank(directory: Path) -> None:
    """What one rank does: upload and download as in training."""
    from determined import core
    from determined.common.storage import SharedFSStorageManager

    from det_files.cluster.checkpoints import download, upload
    from det_files.cluster.distributed import (
        control_channel,
        join_process_group,
        leave_process_group,
    )

    join_process_group(deepspeed=False, cpu=True, timeout_s=300)
    distributed = control_channel()
    assert distributed is not None
    storage = SharedFSStorageManager(str(directory / "storage"))
    context = core.Context(
        core.DummyCheckpointContext(distributed, storage), distributed=distributed
    )

    def measured(name: str, work: Callable[[], object]) -> str:
        distributed.allgather(None)
        peak, began = Peak(), time.perf_counter()
        peak.start()
        result = str(work())
        grown = distributed.allgather(peak.end())
        if distributed.rank == 0:
            seconds, together = time.perf_counter() - began, sum(grown) / MEBIBYTE
            print(f"| {distributed.size} | {name} | {together:.1f} MiB | {seconds:.1f} s |")
        return result

    with context:
        metadata = {"steps_completed": 1}
        uuid = measured("upload", lambda: upload(context, directory / "checkpoint", metadata))
        measured("download", lambda: download(context, uuid, directory / "copy"))
    leave_process_group()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gibibytes", type=float, default=1.0)
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.rank is not None:
        rank(chosen.rank)
        return
    print("| ranks | what | memory grew by, all ranks | took |\n|---|---|---|---|", flush=True)
    for ranks in (1, 2):
        directory = Path(tempfile.mkdtemp(prefix="upload-memory-"))
        try:
            (directory / "checkpoint").mkdir()
            (directory / "storage").mkdir()
            for index in range(8):
                with (directory / "checkpoint" / f"shard_{index}.bin").open("wb") as stream:
                    for _ in range(int(chosen.gibibytes * 1024 / 8)):
                        stream.write(os.urandom(MEBIBYTE))
            launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            trial = ["-m", "benchmarks.upload_memory", "--rank", str(directory)]
            subprocess.run(
                [*launcher, "--nproc_per_node", str(ranks), *trial],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                check=True,
            )
        finally:
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
