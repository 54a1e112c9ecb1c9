"""The notebook runs as it is, on a tiny run and on the quickstart's, and its numbers are right."""

from __future__ import annotations

import ast
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from det_files.evaluation.bootstrap import compare, estimate
from det_files.evaluation.perplexity import score_texts
from det_files.evaluation.text_metrics import text_statistics
from det_files.faults import ConfigError
from det_files.generation.decoding import generate_answers
from det_files.notebook import NOTEBOOK, main
from det_files.showing.execution import (
    INJECTED,
    PARAMETERS,
    execute,
    inject,
    read_notebook,
    to_html,
)
from det_files.showing.forgetting import general_texts
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import BASE, MODELS, TUNED, load_trained

LONGEST_CELL = 8  # lines


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook: Any) -> list[str]:
    """The text of each output, in order."""
    return [
        output.data["text/plain"]
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type in ("execute_result", "display_data")
    ]


def table_row(outputs: list[str], name: str) -> list[str]:
    """The cells of the table row that begins with a name."""
    lines = [line for text in outputs for line in text.splitlines()]
    return next(line.split("\t") for line in lines if line.startswith(f"{name}\t"))


@pytest.fixture(scope="module")
def executed(tiny_run: Path) -> Any:
    """The notebook of the repository, of which parameters alone were set."""
    values = {"run": str(tiny_run), "sample": 4, "languages": ["Japanese", "English"]}
    return execute(inject(read_notebook(NOTEBOOK), values), NOTEBOOK.parent)


def test_is_a_narrative_of_short_cells_without_outputs() -> None:
    notebook = read_notebook(NOTEBOOK)
    assert notebook.cells[0].cell_type == "markdown"
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        assert "markdown" in (before.cell_type, cell.cell_type)  # no code without a word on it
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= LONGEST_CELL
        assert all(len(line) <= 100 for line in cell.source.splitlines())
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not any(isinstance(node, kinds) for node in ast.walk(ast.parse(cell.source)))
        assert cell.outputs == []
        assert cell.execution_count is None


def test_values_stand_in_the_parameters_cell_alone() -> None:
    notebook = read_notebook(NOTEBOOK)
    tagged = [cell for cell in code_cells(notebook) if PARAMETERS in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    others = [c for c in code_cells(notebook)[1:] if c is not tagged[0]]
    for cell in others:
        constants = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Constant)]
        assert all(constant.value is None for constant in constants)


def test_runs_without_errors_warnings_or_bars(executed: Any) -> None:
    for cell in code_cells(executed):
        for output in cell.outputs:
            assert output.output_type == "execute_result", output
    assert len(texts(executed)) == 9
    assert "object at 0x" not in "".join(texts(executed))


def test_nothing_but_parameters_was_changed(executed: Any) -> None:
    own = [cell.source for cell in read_notebook(NOTEBOOK).cells]
    ran = [c.source for c in executed.cells if INJECTED not in c.metadata.get("tags", [])]
    assert ran == own


def test_scores_are_those_of_the_rows_answered_anew(
    executed: Any, tiny_run: Path, tiny_data: Path
) -> None:
    rows = [json.loads(line) for line in (tiny_data / "test" / "rows.jsonl").open()]
    drawn = [rows[n] for n in sorted(random.Random(0).sample(range(len(rows)), 4))]
    references = [row["output"] for row in drawn]
    trained = load_trained(open_checkpoint(tiny_run))
    prompts = [trained.prompts().tokens(row) for row in drawn]
    lengths = [len(trained.tokenizer(text)["input_ids"]) for text in references]
    answers = {}
    for which in MODELS:
        with trained.answering_as(which) as model:
            limit = int(1.5 * max(lengths)) + 1
            answers[which] = generate_answers(
                model, trained.tokenizer, prompts, max_new_tokens=limit
            )
    assert answers[BASE] != answers[TUNED]
    base, tuned = (text_statistics(answers[which], references)["chrf"] for which in MODELS)
    found = table_row(texts(executed), "chrf, %")
    difference = compare(base, tuned)
    assert found[1:3] == [estimate(base).show(), estimate(tuned).show()]
    assert found[3] == difference.show().partition(", p")[0]
    assert found[4] == (f"{difference.p_value:.2g}" if difference.p_value > 0.001 else "< 0.001")


def test_perplexities_are_those_of_a_forward_pass(executed: Any, tiny_run: Path) -> None:
    trained = load_trained(open_checkpoint(tiny_run))
    for language in ("English", "Japanese"):
        found = table_row(texts(executed), language)
        for which, cell in zip(MODELS, found[2:4], strict=True):
            with trained.answering_as(which) as model:
                losses = score_texts(model, trained.tokenizer, general_texts(language))
            assert cell == estimate(losses.perplexity()).show(2)
            # One document by hand: the model's own loss over it is the sum that was made.
            first = losses.documents[0]
            assert first.tokens == len(trained.tokenizer(general_texts(language)[0])["input_ids"])


def test_the_merged_model_is_found_to_be_the_same(executed: Any) -> None:
    assert "The merged model computes what base and adapter compute." in texts(executed)[-1]


def test_the_page_loads_nothing_and_shows_all(executed: Any) -> None:
    page = to_html(executed, "title")
    assert "<title>title</title>" in page
    for part in ("日本で一番高い山", "Scores", "data:image/png;base64"):
        assert part in page
    assert "<script" not in page
    assert 'rel="stylesheet"' not in page
    assert not re.search(r'(?:src|href)="https?:', page)


def test_the_command_writes_the_page_of_a_checkpoint(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = next((tiny_run / "trials" / "1" / "checkpoints").glob("[!.]*"))
    output = tmp_path / "page.html"
    settings = ["--set", "sample=2", "--set", "prompts=[]", "--set", "merge=false"]
    assert main([str(checkpoint), "--output", str(output), *settings]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(output)
    page = output.read_text()
    assert "2 test rows" in page
    assert "Nothing was asked." in page
    assert "the check was left out" in page


def test_the_quickstarts_run_is_shown(tmp_path: Path) -> None:
    runs = sorted((ROOT / "runs" / "smollm2_135m_quickstart").glob("*/summary.json"))
    if not runs:
        pytest.skip("runs/smollm2_135m_quickstart is not here: make quickstart")
    output = tmp_path / "page.html"
    arguments = [str(runs[-1].parent), "--output", str(output), "--set", "sample=4"]
    assert main(arguments) == 0
    page = output.read_text()
    assert "exact match, %" in page
    assert "The merged model computes what base and adapter compute." in page


def test_all_faults_are_told_at_once_and_nothing_is_run(tmp_path: Path) -> None:
    output = tmp_path / "no" / "page.html"
    settings = ["--set", "sampel=3", "--set", "seed"]
    with pytest.raises(ConfigError) as error:
        main([str(tmp_path / "gone"), "--output", str(output), *settings])
    text = str(error.value)
    for part in ("gone: no such directory", "--output", 'did you mean "sample"', "NAME=VALUE"):
        assert part in text
    assert list(tmp_path.iterdir()) == []
