"""docs/dsat.md: its commands are ones that Determined 0.37 knows."""

from __future__ import annotations

import re
import shlex

import pytest

from conftest import ROOT
from det_files.autotune.dsat_names import METRIC_NAMES
from det_files.cluster.search import OPERATIONS

GUIDE = (ROOT / "docs" / "dsat.md").read_text()
PROGRAM = "python -m determined.pytorch.dsat "
COMMANDS = re.findall(f"^{re.escape(PROGRAM)}(.+)$", GUIDE, re.MULTILINE)


@pytest.mark.skipif(not OPERATIONS, reason="Determined 0.38 has no determined.pytorch.dsat")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str) -> None:
    from determined.pytorch import dsat

    given = dsat.get_full_parser().parse_args(shlex.split(command))
    assert (given.config_path, given.model_dir) == ("my_experiment.yaml", ".")


def test_names() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"random", "binary", "asha"}
    for name, dsats in METRIC_NAMES.items():
        assert f"| `{dsats}` | `{name}` |" in GUIDE
