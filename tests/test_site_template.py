"""templates/site.yaml: a configuration template that fits under every experiment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from expected_warnings import WARNINGS
from schema import schema_errors

from conftest import ROOT
from det_files.experiment import load_experiment
from det_files.validate import check_experiment

TEMPLATE = ROOT / "templates" / "site.yaml"
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))
# The lists that Determined joins. Of two items that say the same, the experiment's holds.
JOINED = ("bind_mounts", "environment.environment_variables", "log_policies", "resources.devices")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def merged(template: Any, experiment: Any, path: str = "") -> Any:
    """A template under an experiment, as Determined's documentation describes the merge.

    Mappings key by key, lists of `JOINED` one after the other, and else the experiment's value.
    """
    if isinstance(template, dict) and isinstance(experiment, dict):
        below = {k: f"{path}.{k}" if path else k for k in (*template, *experiment)}
        both = {k: merged(template[k], v, below[k]) for k, v in experiment.items() if k in template}
        return template | experiment | both
    if isinstance(template, list) and path in JOINED:
        taken = [item["container_path"] for item in experiment if "container_path" in item]
        free = [x for x in template if not isinstance(x, dict) or x["container_path"] not in taken]
        return free + experiment
    return experiment


def lists(tree: Any, path: str = "") -> Iterator[str]:
    if isinstance(tree, list):
        yield path
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from lists(value, f"{path}.{key}" if path else key)


def write_merged(experiment: Path, directory: Path) -> Path:
    path = directory / experiment.name
    path.write_text(yaml.safe_dump(merged(read(TEMPLATE), read(experiment))))
    return path


def test_merging_follows_determineds_rules() -> None:
    mount = {"host_path": "/a", "container_path": "/x"}
    template = {
        "name": "t",
        "resources": {"resource_pool": "p", "slots_per_trial": 1},
        "bind_mounts": [mount, mount | {"container_path": "/y"}],
        "environment": {"environment_variables": ["A=1"]},
    }
    experiment = {
        "name": "e",
        "resources": {"slots_per_trial": 4},
        "bind_mounts": [mount | {"host_path": "/b"}],
        "environment": {"environment_variables": ["A=2"]},
    }
    assert merged(template, experiment) == {
        "name": "e",
        "resources": {"resource_pool": "p", "slots_per_trial": 4},
        "bind_mounts": [mount | {"container_path": "/y"}, mount | {"host_path": "/b"}],
        # Variables are set in this order: the experiment's comes last and holds.
        "environment": {"environment_variables": ["A=1", "A=2"]},
    }


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_fits_under_every_experiment(path: Path, shared: Path, tmp_path: Path) -> None:
    result = write_merged(path, tmp_path)
    assert schema_errors(result, shared / "expconf" / "v0") == []
    experiment = load_experiment(result)
    check_experiment(experiment, context=ROOT)
    assert experiment.warnings == WARNINGS.get(path.stem, [])
    config = experiment.config
    assert config["environment"]["image"] == read(path)["environment"]["image"]
    assert config["resources"] == read(path)["resources"] | read(TEMPLATE)["resources"]
    assert config["workspace"] and config["project"]


def test_the_schema_refuses_a_wrong_template(shared: Path, tmp_path: Path) -> None:
    wrong = merged({"bind_mount": []}, read(EXPERIMENTS[0]))
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(wrong))
    assert schema_errors(path, shared / "expconf" / "v0")


def test_has_no_list_that_an_experiment_would_replace() -> None:
    assert set(lists(read(TEMPLATE))) <= set(JOINED)


def test_leaves_the_image_to_the_experiments() -> None:
    assert "image" not in read(TEMPLATE)["environment"]


def test_points_hf_home_into_a_mounted_directory() -> None:
    variables = dict(
        v.split("=", 1) for v in read(TEMPLATE)["environment"]["environment_variables"]
    )
    mounts = {m["container_path"]: m for m in read(TEMPLATE)["bind_mounts"]}
    assert variables["HF_HOME"] in mounts
    # The hub's clients lock files there while they read.
    assert not mounts[variables["HF_HOME"]].get("read_only")


def test_what_would_stop_a_cluster_that_lacks_it_is_commented_out() -> None:
    """A wrong interface or proxy stops even one node; both stand there as examples."""
    text = TEMPLATE.read_text()
    given = "\n".join(read(TEMPLATE)["environment"]["environment_variables"])
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "https_proxy", "no_proxy"):
        assert f"# - {name}=" in text and name not in given


def test_holds_no_secrets() -> None:
    config = read(TEMPLATE)
    assert "registry_auth" not in config["environment"]
    assert config["checkpoint_storage"].keys() <= {
        "type",
        "host_path",
        "save_trial_best",
        "save_trial_latest",
    }
    for variable in config["environment"]["environment_variables"]:
        name, _, value = variable.partition("=")
        assert not re.search(r"TOKEN|SECRET|PASSWORD|KEY", name, re.IGNORECASE)
        assert "@" not in value  # a proxy's user and password
    assert not re.search(r"hf_[A-Za-z0-9]{8}|AKIA[0-9A-Z]{16}", TEMPLATE.read_text())
