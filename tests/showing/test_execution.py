"""Parameters are injected as papermill does it, and errors come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from det_files.faults import ConfigError
from det_files.showing.execution import INJECTED, execute, inject, parameter_names, read_notebook

FAULT = "from det_files.faults import ConfigError, Fault\nraise ConfigError(Fault('a.b', 'bad'))"


def notebook(code: str = "(a, b)") -> object:
    parameters = new_code_cell("a = 1\nb = 'x'", metadata={"tags": ["parameters"]})
    return new_notebook(cells=[new_markdown_cell("# t"), parameters, new_code_cell(code)])


def test_values_stand_in_a_cell_behind_the_defaults(tmp_path: Path) -> None:
    own = notebook()
    done = execute(inject(own, {"b": [None, "it's"]}), tmp_path)
    assert parameter_names(own) == ["a", "b"]
    assert len(own.cells) == 3  # type: ignore[attr-defined]
    assert done.cells[2].metadata["tags"] == [INJECTED]
    assert done.cells[3].outputs[0].data["text/plain"] == '(1, [None, "it\'s"])'


def test_unknown_parameters_are_refused_at_once_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        inject(notebook(), {"aa": 1, "zzz": 2})
    assert len(error.value.faults) == 2
    assert "it has a, b" in str(error.value)


def test_a_fault_of_the_configuration_comes_back_as_one(tmp_path: Path) -> None:
    cell = f"import sys\nsys.path.insert(0, {str(Path.cwd())!r})\n{FAULT}"
    with pytest.raises(ConfigError, match=r"^ConfigError: a\.b: bad$"):
        execute(notebook(cell), tmp_path)


def test_any_other_error_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(notebook("1 / 0"), tmp_path)


def test_a_notebook_without_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match='no cell with the tag "parameters"'):
        inject(new_notebook(cells=[]), {})


def test_a_notebook_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such notebook"):
        read_notebook(tmp_path / "no.ipynb")
