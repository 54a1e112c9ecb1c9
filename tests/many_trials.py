"""Runs several trials one after another in one process group (started by `conftest.run_trials`).

Importing torch, transformers and DeepSpeed takes longer than a tiny trial; this pays for it once.
Each trial goes through its module's `main` unchanged; what is process-wide (accelerate's and
transformers' singletons, the environment) is reset in between, and the process group is kept.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from accelerate.state import AcceleratorState, GradientState
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from det_files.cluster import context


def run(module: str, arguments: list[str]) -> str:
    """The error of one trial, or nothing."""
    before = dict(os.environ)
    sys.argv = [module, *arguments]
    try:
        importlib.import_module(module).main()
        return ""
    except BaseException:
        return traceback.format_exc()
    finally:
        unset_hf_deepspeed_config()
        GradientState._reset_state()
        AcceleratorState._reset_state(True)
        os.environ.clear()
        os.environ.update(before)


def main(jobs_file: Path) -> None:
    context.leave_process_group = lambda: None
    for job in json.loads(jobs_file.read_text()):
        error = run(job["module"], job["arguments"])
        if error:
            print(f"trial {job['name']} failed:\n{error}", flush=True)
            sys.exit(1)
        print(f"trial {job['name']} done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
