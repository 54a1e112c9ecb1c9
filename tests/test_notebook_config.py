"""notebooks/notebook.yaml, and the context directory that goes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from determined.common import context
from schema import part_errors

from conftest import ROOT

# Determined has no schema for notebooks; these are the keys of its job configuration reference.
KEYS = {
    "bind_mounts",
    "debug",
    "description",
    "environment",
    "idle_timeout",
    "notebook_idle_type",
    "pbs",
    "resources",
    "slurm",
    "work_dir",
}
RESOURCES = {"devices", "priority", "resource_pool", "shm_size", "slots"}
IDLE_TYPES = {"activity", "kernel_connections", "kernels_or_terminals"}


def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "notebooks/notebook.yaml").read_text())
    return found


def test_has_keys_that_determined_knows() -> None:
    assert config().keys() <= KEYS
    assert config()["resources"].keys() <= RESOURCES
    assert config()["notebook_idle_type"] in IDLE_TYPES
    assert "work_dir" not in config()  # refused together with --context


def test_its_parts_pass_the_experiments_schemas(shared: Path) -> None:
    schemas = shared / "expconf" / "v0"
    for part in ("environment", "resources"):
        assert part_errors(config()[part], part, schemas) == []
    assert part_errors({"imgae": ""}, "environment", schemas)


def test_the_context_has_what_a_notebook_needs() -> None:
    sent = {file.path for file in context.read_v1_context(ROOT)}
    needed = ["startup-hook.sh", "requirements.txt", "data/quickstart"]
    needed += ["notebooks/requirements.txt", "det_files/evaluation/compare.py"]
    needed += [f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert {path.rstrip("/") for path in sent} >= set(needed)
    assert not any(path.startswith((".git/", ".venv", "models/", "runs/")) for path in sent)
