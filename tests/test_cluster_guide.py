"""docs/cluster.md: its commands are ones that det knows, and what it names exists."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest
import yaml
from determined.cli import add_args
from determined.cli.cli import all_args_description

from conftest import ROOT
from det_files.throughput import PEAK_FLOPS

GUIDE = (ROOT / "docs" / "cluster.md").read_text()
TEMPLATE = (ROOT / "templates" / "site.yaml").read_text()
NOTEBOOK = (ROOT / "notebooks" / "notebook.yaml").read_text()


def commands() -> list[str]:
    """Every `det …` of the guide, in blocks and in sentences, and of two YAML files' headers."""
    blocks = re.findall(r"^```bash\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    spans = re.findall(r"`(det [^`]+)`", re.sub(r"\s+", " ", GUIDE))
    headers = re.findall(r"^#   (det .+)$", TEMPLATE + NOTEBOOK, re.MULTILINE)
    found = [line for line in lines if line.startswith("det ")] + spans + headers
    # A command's bare name in a sentence is no command line.
    return sorted({c for c in found if not any(other.startswith(f"{c} ") for other in found)})


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_args(made, all_args_description)
    return made


@pytest.mark.parametrize("command", commands())
def test_det_knows_the_command(
    command: str, parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # files named on the command line are opened
    # The copy of the template, which the reader makes.
    command = command.replace("~/site.yaml", "templates/site.yaml")
    words = ["7" if word == "ID" else word for word in shlex.split(command)[1:]]
    assert parser.parse_args(words).func is not None


def test_the_parser_refuses_what_det_does_not_know(parser: argparse.ArgumentParser) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["experiment", "create", "--tmeplate", "site"])


def test_commands_are_not_overlooked() -> None:
    assert len(commands()) > 20
    assert any(command.startswith("det notebook start") for command in commands())


def test_files_are_there() -> None:
    named = re.findall(r"(?:experiments|templates|notebooks)/[\w./-]+\.yaml", GUIDE)
    assert named and all((ROOT / name).is_file() for name in named)


def test_what_it_says_of_the_files_is_so() -> None:
    experiment = yaml.safe_load((ROOT / "experiments/swallow_70b_ds3.yaml").read_text())
    assert f"`{experiment['environment']['image']}`" in GUIDE
    assert f"`max_restarts` is {experiment['max_restarts']}:" in GUIDE
    given = experiment["hyperparameters"]["training_arguments"]
    rows = experiment["resources"]["slots_per_trial"] * given["per_device_train_batch_size"]
    text = re.sub(r"\s+", " ", GUIDE)
    assert f"trains {given['max_steps']} steps of {rows} rows" in text
    sampled = experiment["hyperparameters"]["data_arguments"]["max_eval_samples"]
    assert f"evaluates {sampled} rows every {given['eval_steps']} steps" in text
    model = experiment["hyperparameters"]["model_arguments"]["model_name_or_path"]
    assert GUIDE.count(model) == 3
    source = experiment["hyperparameters"]["data_arguments"]["sources"][0]
    assert f'load_dataset("{source["dataset_name"]}")' in GUIDE


def test_names_the_gpus_whose_utilisation_is_known() -> None:
    sentence = re.search(r"peak is known: ([^)]+)\)", GUIDE)
    assert sentence is not None
    listed = {name.strip() for name in sentence[1].replace("\n", " ").split(",")}
    assert listed == {name for name in PEAK_FLOPS if " " not in name and name != "GH200"}


@pytest.mark.parametrize(
    "message",
    [
        "could not be had from the hub",
        "could not be loaded",
        "taking the one before it",
        "every checkpoint of this trial is damaged",
    ],
)
def test_quotes_messages_of_ours(message: str) -> None:
    source = "".join(path.read_text() for path in sorted((ROOT / "det_files").rglob("*.py")))
    # A message may be broken over two lines of source.
    assert message in GUIDE and message in re.sub(r'"\s*\n\s*f?"', "", source)
