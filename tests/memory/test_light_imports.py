"""Imports that are left out: the answer is the same, and what is left out can still be had."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from det_files.memory.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
# The command itself, and at its end the modules that its process has.
COMMAND = """
import atexit, json, runpy, sys
names = lambda: [name for name, module in sys.modules.items() if module]
atexit.register(lambda: print(json.dumps(names()), file=sys.stderr))
runpy.run_module("det_files.memory", run_name="__main__")
"""
HEAVY = {"torch._dynamo.eval_frame", "torch.distributed.tensor", "torch.distributed.fsdp", "boto3"}


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("method", ["lora", "full", "prefix"])
def test_the_command_says_what_it_would_say_with_all_imports(
    method: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(ROOT)
    words = ["experiments/smollm2_135m_ds3.yaml", "--json", "--gpu-memory", "80GiB"]
    words += ["--set", f"hyperparameters.model_arguments.model_name_or_path={tiny_model}"]
    words += ["--set", f"hyperparameters.tuning_arguments.method={method}"]
    assert main(words) == 0
    done = run(COMMAND, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == capsys.readouterr().out
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert "transformers.modeling_utils" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize(
    "first_use",
    ["torch._dynamo.config", "torch._dynamo.reset()", "from torch._dynamo.utils import counters"],
)
def test_the_compiler_is_imported_where_it_is_used(first_use: str) -> None:
    done = run(
        "from det_files.memory.light_imports import import_lightly\n"
        "import_lightly()\n"
        "import sys, torch\n"
        "assert torch.compiler.disable(len) is len\n"
        "assert torch.compiler.disable(recursive=False)(len) is len\n"
        "assert 'torch._dynamo.eval_frame' not in sys.modules\n"
        f"{first_use}\n"
        "double = torch.compile(lambda x: x * 2, backend='eager')\n"
        "print(double(torch.ones(2)).tolist(), torch.compiler.disable(len) is len)\n"
        "assert sys.modules['torch._dynamo.utils'].__spec__.origin.endswith('utils.py')\n"
    )
    assert done.stdout == "[2.0, 2.0] False\n", done.stderr[-2000:]
