"""The experiment file: read as `det` reads it, overridden, written so that it reads the same."""

import copy
from pathlib import Path
from typing import Any

import pytest

from det_files.experiment import (
    Experiment,
    apply_override,
    load_experiment,
    parse_yaml,
    to_yaml,
    with_hyperparameters,
)
from det_files.faults import ConfigError, Faults

GOOD = """
searcher: {name: single, metric: eval_loss}
entrypoint: python -m det_files.run_clm --seed 1
hyperparameters: {training_arguments: {learning_rate: 1e-5}}
"""


def load(directory: Path, text: str | bytes, *overrides: str) -> Experiment:
    path = directory / "e.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_experiment(path, overrides)


def refusal(directory: Path, text: str | bytes, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, text, *overrides)
    return str(caught.value).replace(str(directory / "e.yaml"), "FILE")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("no", "no"),
        ("off", "off"),
        ("false", False),
        ("010", 10),
        ("1:30", "1:30"),
        ("{a: [1, null]}", {"a": [1, None]}),
    ],
)
def test_yaml_1_2(text: str, value: Any) -> None:
    assert parse_yaml(f"key: {text}", "FILE") == {"key": value}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (GOOD + "name: a\nname: b\n", 'FILE, line 6, column 1: found duplicate key "name"'),
        ("name: a\nsearcher: {name: b\n", "FILE, line 3, column 1: "),
        ("a: b: c\n", "FILE, line 1, column 5: mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", "FILE, line 2, column 1: "),
        ("a: 1\n---\nb: 2\n", "FILE, line 2, column 1: "),
        ("a: !!python/object:os.system x", "FILE, line 1, column 4: "),
        ("a: 2024-13-45", "FILE: month must be in 1..12"),
        ("a: \x01", "FILE: unacceptable character"),
        (b"a: \xff\xfe", "FILE: is not UTF-8 text"),
        ("", "FILE: expected a mapping at the top level"),
        ("# only a comment\n", "FILE: expected a mapping at the top level"),
        ("- a\n", "FILE: expected a mapping at the top level"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str | bytes, start: str) -> None:
    assert refusal(tmp_path, text).startswith(f"ConfigError: {start}")


def test_a_missing_file_is_refused_with_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").touch()
    with pytest.raises(ConfigError, match=r"No such file or directory; there are: other\.yaml$"):
        load_experiment(tmp_path / "e.yaml")


def test_all_faults_of_the_top_level_at_once(tmp_path: Path) -> None:
    text = """
    sercher: {name: single}
    hyperparameters: [1]
    resources: {slots_per_trial: 0}
    max_restarts: -1
    reproducibility: {experiment_seed: x}
    7: 8
    """
    assert refusal(tmp_path, text).splitlines() == [
        "ConfigError: 8 faults in FILE",
        "  entrypoint: missing: name a module to run, such as det_files.run_clm",
        '  sercher: unknown key; did you mean "searcher"?',
        "  7: unknown key",
        "  hyperparameters: expected a mapping, got [1]",
        "  searcher: missing: {name: single, metric: eval_loss} runs one trial",
        "  resources.slots_per_trial: expected a whole number >= 1, got 0",
        "  max_restarts: expected a whole number >= 0, got -1",
        '  reproducibility.experiment_seed: expected a whole number >= 0, got "x"',
    ]


@pytest.mark.parametrize("slots", ["0", "-1", "true", "1.5", "two", "[2]"])
def test_slots_that_are_no_number_of_slots(tmp_path: Path, slots: str) -> None:
    text = refusal(tmp_path, f"{GOOD}resources: {{slots_per_trial: {slots}}}")
    assert "resources.slots_per_trial: expected a whole number >= 1, got " in text


def test_what_an_experiment_says(tmp_path: Path) -> None:
    bare = load(tmp_path, GOOD)
    assert (bare.name, bare.slots, bare.max_restarts, bare.seed) == ("e", 1, 5, None)
    assert (bare.module, bare.entrypoint.flags) == ("det_files.run_clm", ["--seed", "1"])
    assert bare.hyperparameters == {"training_arguments": {"learning_rate": 1e-5}}
    full = load(
        tmp_path,
        GOOD,
        "name=n",
        "resources.slots_per_trial=4",
        "max_restarts=0",
        "reproducibility.experiment_seed=7",
        "environment.environment_variables=[A=1=2, B=]",
    )
    assert (full.name, full.slots, full.max_restarts, full.seed) == ("n", 4, 0, 7)
    assert full.environment_variables == {"A": "1=2", "B": ""}


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("name=x", "name", "x"),
        ("a.b.c=1e-5", "a.b.c", 1e-5),
        ("a.b=no", "a.b", "no"),
        ("a.b=[1, {c: 2}]", "a.b", [1, {"c": 2}]),
        ("a.b={c: {d: x}}", "a.b", {"c": {"d": "x"}}),
        ("a.b=k=v", "a.b", "k=v"),
        ("a.b=", "a.b", None),
        ("sources[0].path=new", "sources", [{"path": "new", "weight": 1}, {"path": "q"}]),
        ("sources[1].columns.input=i", "sources", [
            {"path": "p", "weight": 1}, {"path": "q", "columns": {"input": "i"}}]),
        ("sources[1]=7", "sources", [{"path": "p", "weight": 1}, 7]),
        ("deep[0][1]=5", "deep", [[1, 5]]),
    ],
)  # fmt: skip
def test_overrides(override: str, path: str, value: Any) -> None:
    config: dict[str, Any] = {
        "sources": [{"path": "p", "weight": 1}, {"path": "q"}],
        "deep": [[1, 2]],
    }
    faults = Faults()
    apply_override(config, override, faults)
    assert faults.found == []
    node: Any = config
    for part in path.split("."):
        node = node[part]
    assert node == value


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("name", "--set name: expected dotted.path=value"),
        ("=1", "--set =1: expected dotted.path=value"),
        (".=1", "--set .=1: expected dotted.path=value"),
        ("a..b=1", "--set a..b=1: expected dotted.path=value"),
        ("a.b.=1", "--set a.b.=1: expected dotted.path=value"),
        ("s[x].p=1", "--set s[x].p=1: expected dotted.path=value"),
        ("s[0=1", "--set s[0=1: expected dotted.path=value"),
        ("s[1].p=1", "--set s[1].p: there is no 1 to go into"),
        ("s[1]=1", "--set s[1]: there is no 1 to set"),
        ("s.p=1", '--set s.p: there is no "p" to set'),
        ("new[0]=1", "--set new[0]: there is no 0 to set"),
        ("a=[1", "--set a, line 1, column 3: expected ',' or ']', but got '<stream end>'"),
    ],
)
def test_malformed_overrides_are_faults(override: str, fault: str) -> None:
    config: dict[str, Any] = {"s": [{"p": 0}]}
    faults = Faults()
    apply_override(config, override, faults)
    (found,) = [str(fault) for fault in faults.found]
    assert found == fault
    assert config["s"] == [{"p": 0}]


def test_faults_of_overrides_and_file_come_together(tmp_path: Path) -> None:
    assert refusal(tmp_path, GOOD, "x", "y=1", "max_restarts=-1").splitlines() == [
        "ConfigError: 3 faults in FILE",
        "  --set x: expected dotted.path=value",
        "  y: unknown key",
        "  max_restarts: expected a whole number >= 0, got -1",
    ]


def test_what_is_written_reads_the_same(tmp_path: Path) -> None:
    words = {"a": "no", "b": "1e-5", "c": 1e-5, "d": "null", "e": None, "f": "true", "g": "é: #"}
    tree = {"z": words, "y": [1, {"x": [words]}], "empty": {}, "none": []}
    assert parse_yaml(to_yaml(tree), "x") == tree
    assert list(parse_yaml(to_yaml(tree), "x")) == list(tree)
    experiment = load(tmp_path, GOOD, "name=no")
    experiment.write(tmp_path / "again.yaml")
    assert load_experiment(tmp_path / "again.yaml").config == experiment.config


def test_a_trial_has_its_own_hyperparameters_and_the_experiment_keeps_its(tmp_path: Path) -> None:
    experiment = load(tmp_path, GOOD)
    kept, drawn = copy.deepcopy(experiment.config), {"a": {"optimizer": {"type": "AdamW"}}}
    trial = with_hyperparameters(experiment, drawn)
    # The literal is wrapped: Determined, and we, would read it as a hyperparameter.
    assert trial.hyperparameters == {
        "a": {"optimizer": {"type": "const", "val": {"type": "AdamW"}}}
    }
    assert (experiment.config, trial.searcher) == (kept, experiment.searcher)
