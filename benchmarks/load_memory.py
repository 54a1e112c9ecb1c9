"""Host memory while a model is loaded under ZeRO-3: does every rank hold a copy?

    python -m benchmarks.load_memory --model models/smollm2-135m-instruct

For 1 and 2 ranks and each dtype: the growth of PSS (proportional set size, which shares out pages
that several processes map) of all ranks together, over what they held after their imports, at its
peak; all parameters are touched, so that nothing counts as loaded that is only mapped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

MEBIBYTE = 1024 * 1024
SAMPLE_S = 0.01


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process, from /proc/<pid>/smaps_rollup; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split("\nPss:")[1].split()[0]) * 1024


def load_as_rank(model: str, dtype: str, meeting: Path) -> None:
    """What one rank does: import, say so, wait, load, touch every parameter, say so, wait."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from det_files.cluster.distributed import join_process_group, leave_process_group
    from det_files.deepspeed_config import complete, load_deepspeed_config
    from det_files.models import ModelArguments, load_model, load_tokenizer
    from det_files.training_arguments import make_training_arguments

    join_process_group(deepspeed=True, cpu=True, timeout_s=300)
    config = complete(load_deepspeed_config(Path("ds_configs/ds_config_stage_3.json")))
    values = {"bf16": dtype == "bfloat16", "report_to": "none", "per_device_train_batch_size": 1}
    arguments = make_training_arguments(values, config, meeting, on_cpu=True)
    chosen = ModelArguments(model_name_or_path=model, dtype=dtype)
    # The model's own modules are imported lazily, and the tokenizer is each rank's own: neither is
    # a copy of the weights, so both stand before the baseline.
    AutoModelForCausalLM._model_mapping[type(AutoConfig.from_pretrained(model))]
    load_tokenizer(chosen)
    _meet(meeting, "imported")
    loaded, _ = load_model(chosen)
    for parameter in loaded.parameters():
        partition = getattr(parameter, "ds_tensor", parameter)
        partition.sum()
    _meet(meeting, "loaded")
    del arguments
    leave_process_group()


def _meet(meeting: Path, name: str) -> None:
    (meeting / f"{name}-{os.getpid()}").touch()
    while not (meeting / f"{name}-go").exists():
        time.sleep(SAMPLE_S)


def measure(model: str, dtype: str, ranks: int) -> int:
    """Peak growth in bytes of all ranks together."""
    with tempfile.TemporaryDirectory() as directory:
        meeting = Path(directory)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc_per_node", str(ranks), "-m", "benchmarks.load_memory"]
        command += ["--rank", str(meeting), "--model", model, "--dtypes", dtype]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            pids = _pids(meeting, "imported", ranks, process)
            baseline = sum(map(pss_bytes, pids))
            peak = baseline
            (meeting / "imported-go").touch()
            while len(list(meeting.glob("loaded-[0-9]*"))) < ranks and process.poll() is None:
                peak = max(peak, sum(map(pss_bytes, pids)))
                time.sleep(SAMPLE_S)
            peak = max(peak, sum(map(pss_bytes, pids)))
            (meeting / "loaded-go").touch()
            if process.wait() != 0:
                raise RuntimeError(f"loading with {ranks} ranks failed")
            return peak - baseline
        finally:
            process.kill()


def _pids(meeting: Path, name: str, count: int, process: subprocess.Popen[bytes]) -> list[int]:
    while process.poll() is None:
        found = list(meeting.glob(f"{name}-[0-9]*"))
        if len(found) == count:
            return [int(path.name.rsplit("-", 1)[1]) for path in found]
        time.sleep(SAMPLE_S)
    raise RuntimeError("a rank ended before it had loaded anything")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load_memory", description=__doc__)
    parser.add_argument("--model", required=True, help="a directory of safetensors")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many is shown")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.rank:
        load_as_rank(options.model, options.dtypes[0], options.rank)
        return 0
    results = {}
    for dtype in options.dtypes:
        growth = {
            ranks: sorted(measure(options.model, dtype, ranks) for _ in range(options.repeats))[
                options.repeats // 2
            ]
            for ranks in (1, 2)
        }
        ratio = growth[2] / growth[1]
        print(
            f"{dtype}: 1 rank {growth[1] / MEBIBYTE:.0f} MiB, "
            f"2 ranks together {growth[2] / MEBIBYTE:.0f} MiB, ratio {ratio:.2f}",
            flush=True,
        )
        results[dtype] = {"bytes": growth, "ratio": ratio}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
