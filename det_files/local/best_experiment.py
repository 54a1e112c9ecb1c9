"""What a search leaves to go on with: the experiment with its best hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from det_files.experiment import to_yaml
from det_files.local.run_directory import RunDirectory, write_atomically
from det_files.local.summary import State
from det_files.rungs import WORST

if TYPE_CHECKING:
    from det_files.experiment import Experiment
    from det_files.local.searches import Search

FILE = "best_experiment.yaml"


def write_best_experiment(
    run: RunDirectory, experiment: Experiment, search: Search, summary: Mapping[str, Any]
) -> str | None:
    """Writes the experiment of the best trial that has ended; returns its name, or None.

    It has searcher `single` and runs as it stands, here and on a cluster.
    """
    entries = {entry["trial"]: entry for entry in summary["trials"]}
    best = entries.get(summary["best_trial"])
    metric = experiment.searcher["metric"]
    value = best["best"].get(metric) if best is not None else None
    if best is None or value is None or best["state"] != State.COMPLETED or abs(value) >= WORST:
        return FILE if (run.path / FILE).exists() else None
    trial = next(t for t in search.trials() if t.number == best["trial"])
    config = dict(search.experiment_of(trial).config)
    kept = ("metric", "smaller_is_better")
    searcher = {key: value for key, value in experiment.searcher.items() if key in kept}
    config["searcher"] = {"name": "single", **searcher}
    config["name"] = f"{experiment.name}_best"
    text = (
        f"# The best of {len(entries)} trials of {experiment.name}: trial {best['trial']}, "
        f"{metric} {value:.6g} after {best['best']['steps_completed']} steps.\n"
    )
    text += to_yaml(config)
    path = run.path / FILE
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)
    return FILE
