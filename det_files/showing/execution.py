"""A notebook executed with parameters of one's own, as papermill does it, and exported as HTML.

A cell with the tag "parameters" has the names and their defaults; a cell behind it, with the tag
"injected-parameters", sets other values. The file itself stays as it is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from det_files.faults import ConfigError, Fault, Faults, did_you_mean

PARAMETERS, INJECTED = "parameters", "injected-parameters"
_PACKAGES = "nbclient nbconvert ipykernel"
_WIDTH = "<style>body { max-width: 1120px; margin: 0 auto !important; }</style>"
# Of formulas, diagrams and widgets, which come from elsewhere and are not used.
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)


def read_notebook(path: Path) -> Any:
    """The notebook of a file, as nbformat has it.

    Raises:
        ConfigError: there is none, or the packages that run it are not installed.
    """
    try:
        import ipykernel  # noqa: F401
        import nbclient  # noqa: F401
        import nbconvert  # noqa: F401
        import nbformat
    except ImportError as error:
        raise ConfigError(Fault(str(error.name), f"pip install {_PACKAGES}")) from error
    if not path.is_file():
        raise ConfigError(Fault(str(path), "no such notebook"))
    return nbformat.read(path, as_version=4)


def parameter_names(notebook: Any) -> list[str]:
    """The names that the cell with the tag "parameters" assigns."""
    tree = ast.parse(notebook.cells[_parameters_place(notebook)].source)
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return [t.id for node in assigned for t in node.targets if isinstance(t, ast.Name)]


def inject(notebook: Any, values: Mapping[str, Any]) -> Any:
    """A copy of the notebook with these values, which must be literals.

    Raises:
        ConfigError: the notebook has no parameters of such names; all of them at once.
    """
    import copy

    from nbformat.v4 import new_code_cell

    faults, known = Faults(), parameter_names(notebook)
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
            faults.add(name, f"the notebook has no such parameter{hint}")
    faults.raise_if_any()
    changed = copy.deepcopy(notebook)
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    cell = new_code_cell(source, id="injected", metadata={"tags": [INJECTED]})
    changed.cells.insert(_parameters_place(notebook) + 1, cell)
    return changed


def execute(notebook: Any, directory: Path) -> Any:
    """The notebook with its outputs, run from a directory by a kernel of this interpreter.

    Raises:
        ConfigError: a cell raised one.
        nbclient.exceptions.CellExecutionError: a cell raised another error.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        extra_arguments=["--log-level=40"],  # errors of the kernel itself, no advice
        resources={"metadata": {"path": str(directory)}},
    )
    try:
        return client.execute()
    except CellExecutionError as error:
        if error.ename == "ConfigError":
            raise ConfigError(error.evalue.removeprefix("ConfigError: ")) from error
        raise


def to_html(notebook: Any, title: str) -> str:
    """A page of its own, which loads nothing from elsewhere."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="lab",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    return _SCRIPT.sub("", page).replace("</head>", f"{_WIDTH}</head>", 1)


def _parameters_place(notebook: Any) -> int:
    for place, cell in enumerate(notebook.cells):
        if PARAMETERS in cell.metadata.get("tags", []):
            return place
    raise ConfigError(f'the notebook has no cell with the tag "{PARAMETERS}"')
