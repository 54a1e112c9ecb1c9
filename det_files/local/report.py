"""report.html: one self-contained page about a run, from summary.json and the trials' metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

from det_files.local.curve_page import curve_figures
from det_files.local.metrics import TRAINING, Row, read_rows, series
from det_files.local.page import (
    DASH,
    PAGE,
    chip,
    note,
    number,
    section,
    setting,
    table,
    tile,
)
from det_files.local.progress import duration
from det_files.local.run_directory import RunDirectory, write_atomically
from det_files.local.search_page import (
    rows_of_summary,
    search_facts,
    search_figures,
    search_table,
    search_tiles,
)
from det_files.local.search_rows import searched_names
from det_files.local.summary import without_secrets

Entry = dict[str, Any]


def write_report(run: RunDirectory) -> None:
    """Writes the run's report.html.

    Raises:
        ConfigError: If the summary cannot be read.
        OSError: If the report cannot be written.
    """
    summary = without_secrets(run.read_summary())
    rows = {
        # Not run.trial_directory(): it would make one for a trial that has yet to start.
        trial["trial"]: read_rows(run.path / "trials" / str(trial["trial"]) / "metrics.jsonl")
        for trial in summary["trials"]
    }
    write_atomically(run.report_file, render_report(summary, rows, str(run.path)))


def render_report(summary: Entry, rows: Mapping[int, Sequence[Row]], run_path: str) -> str:
    """Returns the page.

    Args:
        summary: As in summary.json.
        rows: The standing rows of each trial, by its number.
        run_path: Where the run lies.
    """
    states = Counter(trial["state"] for trial in summary["trials"])
    chips = [chip(s, f"{n} {s.lower()}" if "search" in summary else "") for s, n in states.items()]
    return PAGE.substitute(
        title=escape(str(summary["experiment"])),
        run=escape(run_path),
        chips=" ".join(chips),
        body="\n".join(part for part in _sections(summary, rows, run_path) if part),
    )


def _sections(summary: Entry, rows: Mapping[int, Sequence[Row]], run_path: str) -> list[str]:
    trials: list[Entry] = summary["trials"]
    if not trials:
        return [section("Trials", note("None has started.")), _run_table(summary, run_path)]
    best = next((t for t in trials if t["trial"] == summary["best_trial"]), trials[0])
    if "search" in summary:
        varied = searched_names(rows_of_summary(summary))
        head = [search_tiles(summary, rows), _pictures(summary, rows), search_table(summary)]
    else:
        varied = varied_hyperparameters(trials)
        head = [_tiles(summary, best, rows[best["trial"]]), _pictures(summary, rows)]
        head += [_trials_table(summary, varied)] if len(trials) > 1 else []
    return [
        *head,
        _metrics_table(summary, best),
        _hyperparameters_table(summary, best, varied),
        _run_table(summary, run_path),
    ]


def _tiles(summary: Entry, best: Entry, rows: Sequence[Row]) -> str:
    metric = summary["searcher"]["metric"]
    losses = series(rows, TRAINING, "loss")[1]
    speeds = series(rows, TRAINING, "tokens_per_second")[1]
    value, at = best["best"].get(metric), best["best"].get("steps_completed")
    restarts = best["restarts"]
    tiles = [
        tile(f"Best {metric}", number(value), "" if value is None else f"at step {at:,}"),
        tile("Final training loss", number(losses[-1] if losses else None), ""),
        tile(
            "Steps",
            f"{best['steps_completed']:,}",
            f"{restarts} restart{'s' * (restarts != 1)}" if restarts else "",
        ),
        tile("Wall time", duration(summary.get("wall_seconds", 0.0)), ""),
        tile("Tokens per second", number(median(speeds) if speeds else None), "median"),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _pictures(summary: Entry, rows: Mapping[int, Sequence[Row]]) -> str:
    of_search = search_figures(summary, rows) if "search" in summary else []
    curves, missing = curve_figures(summary, rows)
    remark = note(f"Not reported in this run: {', '.join(missing)}.") if missing else ""
    return f'<div class="pictures">{"".join([*of_search, *curves])}</div>{remark}'


def _trials_table(summary: Entry, varied: Sequence[str]) -> str:
    metric = summary["searcher"]["metric"]
    names = [name.rpartition(".")[2] for name in varied]
    head = [
        "Trial",
        "State",
        *names,
        f"Best {metric}",
        "At step",
        f"Final {metric}",
        "Steps",
        "Time",
    ]
    body = []
    for trial in sorted(summary["trials"], key=lambda t: _rank(t, summary["searcher"])):
        flat = flatten(trial["hparams"])
        cells = [str(trial["trial"]), chip(trial["state"])]
        cells += [escape(setting(flat[name])) if name in flat else DASH for name in varied]
        cells += [number(trial["best"].get(metric)), number(trial["best"].get("steps_completed"))]
        cells += [number(trial["final"].get(metric)), number(trial["steps_completed"])]
        cells.append(duration(trial["wall_seconds"]))
        body.append((cells, trial["trial"] == summary["best_trial"]))
    return section("Trials, best first", table(head, body))


def _rank(trial: Entry, searcher: Entry) -> tuple[bool, float]:
    value = trial["best"].get(searcher["metric"])
    sign = 1.0 if searcher["smaller_is_better"] else -1.0
    return (value is None, 0.0 if value is None else sign * value)


def _metrics_table(summary: Entry, trial: Entry) -> str:
    final, best, searcher = trial["final"], trial["best"], summary["searcher"]
    title = "Metrics" if len(summary["trials"]) == 1 else f"Metrics of {_named(summary, trial)}"
    if not final:
        return section(title, note("No metrics were reported."))
    of_searcher = searcher["metric"]
    order = sorted(final, key=lambda name: (name != of_searcher, name not in best, name))
    rows = [([escape(name), number(final[name])], name == of_searcher) for name in order]
    if not best:
        return section(title, table(["Metric", "Final"], rows))
    for name, (cells, _) in zip(order, rows, strict=True):
        cells.append(number(best.get(name)))
    head = ["Metric", "Final", f"At step {best['steps_completed']:,} (best)"]
    direction = "smaller" if searcher["smaller_is_better"] else "larger"
    return section(title, table(head, rows) + note(f"{of_searcher}: {direction} is better."))


def _named(summary: Entry, trial: Entry) -> str:
    return f"trial {trial['trial']}" + " (best)" * (trial["trial"] == summary["best_trial"])


def _hyperparameters_table(summary: Entry, trial: Entry, varied: Sequence[str]) -> str:
    flat = flatten(trial["hparams"])
    if not flat:
        return ""
    body = [([escape(k), escape(setting(value))], k in varied) for k, value in flat.items()]
    of_trial = f" of {_named(summary, trial)}" if varied else ""
    return section("Hyperparameters" + of_trial, table([], body, "names"))


def _run_table(summary: Entry, run_path: str) -> str:
    device = {"cpu": "on the CPU", "gpu": "on GPUs"}.get(summary.get("device", ""), "")
    versions = [f"{name} {value}" for name, value in summary.get("versions", {}).items()]
    facts = [
        ("Command", summary.get("command")),
        *(("Resumed by", command) for command in summary.get("resumed_by", [])),
        ("Run directory", run_path),
        ("Searcher", summary["searcher"]["name"]),
        *(search_facts(summary) if "search" in summary else ()),
        ("Slots", f"{summary.get('slots', DASH)} {device}"),
        ("Started", summary.get("started")),
        ("Ended", summary.get("ended")),
        *(
            (f"Latest checkpoint, trial {t['trial']}", t["latest_checkpoint"])
            for t in summary["trials"]
            if t.get("latest_checkpoint")
            if "search" not in summary or t["trial"] == summary["best_trial"]
        ),
        ("Versions", ", ".join(versions)),
    ]
    body = [([name, f"<code>{escape(str(value or DASH))}</code>"], False) for name, value in facts]
    return section("Run", table([], body, "names"))


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Entry:
    """Returns nested settings by dotted path; lists stay whole."""
    flat: Entry = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def varied_hyperparameters(trials: Sequence[Entry]) -> list[str]:
    """Returns the dotted paths of the hyperparameters that are not the same in all trials."""
    flat = [flatten(trial["hparams"]) for trial in trials]
    names = dict.fromkeys(name for of_trial in flat for name in of_trial)
    return [name for name in names if any(f.get(name) != flat[0].get(name) for f in flat[1:])]
