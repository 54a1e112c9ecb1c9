"""The runner as a process, with a real torchrun of two ranks: how trials start, end and go on."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.file_baton import FileBaton

from det_files.local.metrics import read_rows
from det_files.local.run_directory import RunDirectory, whole_checkpoints

from .conftest import Context, command_of, wait_for


def summary_of(context: Context) -> dict:
    return json.loads((context.run / "summary.json").read_text())


def test_a_run_completes_and_leaves_all_its_files(context: Context) -> None:
    code, out, err = context.finish(context.start())
    assert code == 0, err
    assert out.splitlines()[-1] == "runs/tiny/1"
    summary = summary_of(context)
    (trial,) = summary["trials"]
    assert trial["state"] == "COMPLETED"
    assert trial["steps_completed"] == 10
    assert trial["restarts"] == 0
    assert trial["final"]["eval_loss"] == 4.5
    assert trial["final"]["loss"] == pytest.approx(0.1)
    assert trial["best"] == {"eval_loss": 0.5, "steps_completed": 4}
    whole = {c.steps_completed: c.uuid for c in whole_checkpoints(context.trial)}
    assert trial["best_checkpoint"] == whole[4]
    assert trial["latest_checkpoint"] == whole[8]
    assert summary["slots"] == 2
    assert summary["best_trial"] == 1
    assert summary["ended"] >= summary["started"]
    assert summary["wall_seconds"] >= trial["wall_seconds"] > 0.5
    assert (context.run / "experiment.yaml").read_text() == (
        context.trial / "experiment.yaml"
    ).read_text()
    assert "step 10/10" in err
    assert "validation:  eval_loss 0.5000" in err
    assert err.count("WARNING: the tiny trial learns nothing") == 1
    assert (context.run / "report.html").read_text().count("data:image/png;base64,") == 3
    assert context.processes() == []

    log = (context.trial / "log.txt").read_text().splitlines()
    for rank in (0, 1):
        assert f"[rank={rank}] rank {rank} starts at step 1; stdin: ''" in log
        assert f"[rank={rank}] rank {rank} has done 10" in log
    seen = json.loads(next(line for line in log if line.startswith('[rank=0] {"'))[9:])
    assert seen["experiment"]
    assert seen["MARK"] == "here"  # the experiment's variable wins over the shell's
    assert seen["LOCAL_SIZE"] == "2"
    assert seen["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)

    code, out, err = context.finish(context.start("--resume", "runs/tiny/1"))
    assert code == 0
    assert "has completed" in err
    assert out.splitlines()[-1] == "runs/tiny/1"
    assert summary_of(context) == summary


def test_a_failed_rank_ends_the_run_with_its_last_words(context: Context) -> None:
    context.write_experiment(fail="raise", fail_at=6)
    code, out, err = context.finish(context.start())
    assert code == 1
    assert out.splitlines()[-1] == "runs/tiny/1"
    assert "resume with: " in out
    assert "  [rank=0] rank 0 starts at step 1; stdin: ''" in err.splitlines()
    assert "  [rank=1] ValueError: rank 1 is ill" in err.splitlines()
    assert "The whole log: runs/tiny/1/trials/1/log.txt" in err
    assert "[rank=1] ValueError: rank 1 is ill" in (context.trial / "log.txt").read_text()
    (trial,) = summary_of(context)["trials"]
    assert trial["state"] == "ERROR"
    assert trial["restarts"] == 0
    assert context.processes() == []


def test_a_failed_trial_is_restarted_from_its_last_whole_checkpoint(context: Context) -> None:
    context.write_experiment(max_restarts=2, fail="raise_once", fail_at=7)
    code, _, err = context.finish(context.start())
    assert code == 0, err
    assert "restarting from step 4; 1 of 2 restarts left" in err
    assert "[rank=1] rank 1 starts at step 5" in (context.trial / "log.txt").read_text()
    (trial,) = summary_of(context)["trials"]
    assert (trial["state"], trial["restarts"]) == ("COMPLETED", 1)
    rows = [
        row.steps for row in read_rows(context.trial / "metrics.jsonl") if row.group == "training"
    ]
    assert rows == list(range(1, 11))
    assert context.steps() > 10  # the steps after the checkpoint were reported twice


def test_a_rank_that_is_killed_fails_the_trial_after_all_restarts(context: Context) -> None:
    context.write_experiment(max_restarts=1, fail="kill", fail_at=6)
    code, _, err = context.finish(context.start())
    assert code == 1
    (trial,) = summary_of(context)["trials"]
    assert (trial["state"], trial["restarts"]) == ("ERROR", 1)
    assert err.count("failed (exit code 1)") == 2
    assert "restarting from step 4; 0 of 1 restarts left" in err


def test_a_config_error_of_the_trial_is_not_retried(context: Context) -> None:
    context.write_experiment(max_restarts=3, fail="config_error", fail_at=1)
    code, out, err = context.finish(context.start())
    assert code == 2
    assert "ConfigError: data: no rows" in err.splitlines()
    assert "resume with" not in out
    assert out.splitlines()[-1] == "runs/tiny/1"
    (trial,) = summary_of(context)["trials"]
    assert (trial["state"], trial["restarts"]) == ("ERROR", 0)


def test_one_sigterm_waits_for_a_save_that_takes_longer_than_torchruns_patience(
    context: Context,
) -> None:
    context.write_experiment(steps=400, save_s=40)
    runner = context.start()
    wait_for(lambda: context.steps() >= 5)
    runner.send_signal(signal.SIGTERM)
    code, out, err = context.finish(runner, seconds=70)
    assert code == 0, err
    assert "Once more stops at once" in err
    (trial,) = summary_of(context)["trials"]
    stopped_at = trial["steps_completed"]
    assert trial["state"] == "STOPPED"
    assert trial["wall_seconds"] > 40
    assert whole_checkpoints(context.trial)[-1].steps_completed == stopped_at < 400
    assert out.splitlines()[-2].startswith("resume with: ")
    assert out.splitlines()[-2].endswith(" -m det_files.local --resume runs/tiny/1")
    assert out.splitlines()[-1] == "runs/tiny/1"
    assert context.processes() == []

    # The rest would take long; a second stop shows that it went on where it had stopped.
    summary = summary_of(context) | {"evaluation": {"exact_match": 0.25}}
    (context.run / "summary.json").write_text(json.dumps(summary))
    before = context.steps()
    text = (context.trial / "experiment.yaml").read_text()
    (context.run / "experiment.yaml").write_text(text.replace("TINY_SAVE_S=40", "TINY_SAVE_S=0"))
    runner = context.start("--resume", "runs/tiny/1", "--set", "name=other", "--slots", "1")
    wait_for(lambda: context.steps() > before)
    runner.send_signal(signal.SIGINT)
    code, out, err = context.finish(runner)
    assert code == 0, err
    assert "--set is ignored" in err
    assert f"starts at step {stopped_at + 1};" in (context.trial / "log.txt").read_text()
    resumed = summary_of(context)
    assert resumed["trials"][0]["state"] == "STOPPED"
    assert resumed["trials"][0]["steps_completed"] > stopped_at
    assert resumed["wall_seconds"] > summary["wall_seconds"]
    assert resumed["slots"] == 1
    assert resumed["evaluation"] == {"exact_match": 0.25}
    assert resumed["command"] == summary["command"]
    assert resumed["resumed_by"][0].endswith("--set name=other --slots 1")


def test_a_second_signal_stops_at_once_and_leaves_nothing_behind(context: Context) -> None:
    context.write_experiment(steps=400, save_s=1000)
    runner = context.start()
    wait_for(lambda: context.steps() >= 5)
    assert len(context.ranks()) == 2
    runner.send_signal(signal.SIGINT)
    wait_for(lambda: (context.trial / "stop").exists())
    runner.send_signal(signal.SIGINT)
    code, out, _ = context.finish(runner, seconds=15)
    assert code == 1
    assert context.processes() == []
    assert summary_of(context)["trials"][0]["state"] == "KILLED"
    assert "resume with: " in out
    assert out.splitlines()[-1] == "runs/tiny/1"

    context_file = (context.run / "experiment.yaml").read_text()
    (context.run / "experiment.yaml").write_text(context_file.replace("STEPS=400", "STEPS=8"))
    code, _, err = context.finish(context.start("--resume", "runs/tiny/1"))
    assert code == 0, err
    assert summary_of(context)["trials"][0]["state"] == "COMPLETED"
    assert not (context.trial / "stop").exists()


def test_a_stop_during_a_build_says_what_is_waited_for(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators = tmp_path / "operators"
    (operators / "cpu_adam").mkdir(parents=True)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(operators))
    baton = FileBaton(str(operators / "cpu_adam" / "lock"))
    assert baton.try_acquire()
    context.write_experiment(step_s=4)
    runner = context.start()
    assert runner.stderr is not None
    seen = [next(line for line in runner.stderr if "is being built" in line)]
    runner.send_signal(signal.SIGINT)
    code, _, err = context.finish(runner)
    assert code == 0, err
    waited = "stopping once it has started (it is building cpu_adam) and a checkpoint is saved."
    assert waited in err
    assert not any("is being built" in line for line in err.splitlines()), seen
    baton.release()


def test_a_measurement_that_was_stopped_is_announced_from_the_start(context: Context) -> None:
    context.write_experiment(steps=400)
    path = context.path / "tiny.yaml"
    path.write_text(path.read_text().replace("metric: eval_loss", "metric: throughput"))
    runner = context.start()
    wait_for(lambda: context.steps() >= 5)
    runner.send_signal(signal.SIGINT)
    code, _, err = context.finish(runner)
    assert code == 0, err
    assert whole_checkpoints(context.trial)
    runner = context.start("--resume", "runs/tiny/1")
    before = context.steps()
    wait_for(lambda: context.steps() > before)
    runner.send_signal(signal.SIGINT)
    _, _, err = context.finish(runner)
    assert "from the start (a measurement is not resumed); log: " in err
    assert "it would then resume from the start (a measurement is not resumed)." in err
    assert "from step" not in err


def test_ctrl_c_on_a_terminal_stops_and_the_progress_is_one_line(context: Context) -> None:
    context.write_experiment(steps=400)
    master, slave = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first terminal opened becomes ours

    runner = context.start(
        stdin=slave, stderr=slave, stdout=subprocess.PIPE, preexec_fn=own_terminal
    )
    os.close(slave)
    shown = b""

    def read() -> bytes:
        nonlocal shown
        while select.select([master], [], [], 0)[0]:
            try:
                shown += os.read(master, 1 << 16)
            except OSError:  # EIO: the other side is closed
                break
        return shown

    wait_for(lambda: b"tokens/s  ETA" in read())
    os.write(master, b"\x03")  # the terminal makes it a SIGINT to the whole foreground group
    wait_for(lambda: read() and runner.poll() is not None)
    assert runner.returncode == 0
    assert summary_of(context)["trials"][0]["state"] == "STOPPED"
    text = read().decode()
    rewritten = [part for part in text.split("\r\x1b[K") if "loss" in part and "\n" not in part]
    assert len(rewritten) >= 2
    os.close(master)


def test_nothing_outlives_a_runner_that_was_killed(context: Context) -> None:
    context.write_experiment(steps=400)
    runner = context.start()
    wait_for(lambda: context.steps() >= 5)
    assert len(context.ranks()) == 2
    other = context.start("--resume", "runs/tiny/1")
    code, out, err = context.finish(other)
    assert code == 2
    assert f"in use by another runner (process {runner.pid})" in err
    assert out == ""
    assert len(context.ranks()) == 2  # not disturbed

    runner.kill()
    wait_for(lambda: not context.processes(), seconds=15)
    assert summary_of(context)["trials"][0]["state"] == "RUNNING"
    steps = max(context.steps(), 12) + 4
    (context.run / "experiment.yaml").write_text(
        (context.run / "experiment.yaml").read_text().replace("STEPS=400", f"STEPS={steps}")
    )
    with open(context.trial / "metrics.jsonl", "a") as file:
        file.write('{"time": 17')  # as if it had been killed while writing
    checkpoint = whole_checkpoints(context.trial)[-1].steps_completed
    code, _, err = context.finish(context.start("--resume", "runs/tiny/1"))
    assert code == 0, err
    assert f"from step {checkpoint};" in err
    assert summary_of(context)["trials"][0]["state"] == "COMPLETED"
    rows = read_rows(context.trial / "metrics.jsonl")
    assert [row.steps for row in rows if row.group == "training"] == list(range(1, steps + 1))


def test_nothing_outlives_a_keeper_that_was_killed(context: Context) -> None:
    context.write_experiment(steps=400)
    runner = context.start()
    wait_for(lambda: context.steps() >= 2)
    (keeper,) = [p for p in context.processes() if b"det_files.local.keeper" in command_of(p)]
    os.kill(keeper, signal.SIGKILL)
    code, out, _ = context.finish(runner, seconds=20)
    assert code == 1
    assert context.processes() == []
    assert summary_of(context)["trials"][0]["state"] == "ERROR"
    assert out.splitlines()[-1] == "runs/tiny/1"


def test_two_runs_at_once_do_not_meet(context: Context) -> None:
    runners = [context.start(), context.start()]
    outcomes = [context.finish(runner) for runner in runners]
    assert [code for code, _, _ in outcomes] == [0, 0]
    assert {out.splitlines()[-1] for _, out, _ in outcomes} == {"runs/tiny/1", "runs/tiny/2"}


def test_nothing_is_made_before_all_faults_are_known(context: Context) -> None:
    words = ["tiny.yaml", "--slots", "0", "--set", "searcher.name=adaptive_asha"]
    words += ["--set", "searcher.max_length.records=5"]
    code, out, err = context.finish(context.start(*words, "--set", "hyperparameters.wrong=1"))
    assert code == 2
    assert out == ""
    assert "searcher.max_length.records: rungs in records are not counted here" in err
    assert "--slots: expected at least 1, got 0" in err
    assert "hyperparameters.wrong: unknown key, at 1 slots" in err
    assert "Traceback" not in err
    assert not (context.path / "runs").exists()


def test_a_directory_that_is_no_run_is_refused(context: Context) -> None:
    code, out, err = context.finish(context.start("--resume", "."))
    assert (code, out) == (2, "")
    assert "no run directory: it holds no experiment.yaml and no summary.json" in err
    code, out, err = context.finish(context.start("--resume", "runs/tiny/7"))
    assert (code, out) == (2, "")
    assert "it does not exist" in err


def test_runs_that_cannot_be_written_are_a_fault(context: Context) -> None:
    (context.path / "file").touch()
    code, out, err = context.finish(context.start("tiny.yaml", "--runs-dir", "file"))
    assert (code, out) == (2, "")
    assert "--runs-dir: no run can be written to file/tiny: " in err


def test_a_resumed_run_goes_back_to_where_it_was_started(context: Context) -> None:
    elsewhere = context.path / "elsewhere"
    elsewhere.mkdir()
    context.write_experiment(fail="raise_once", fail_at=3)
    assert context.finish(context.start())[0] == 1
    code, out, err = context.finish(context.start("--resume", str(context.run), cwd=elsewhere))
    assert code == 0, err  # tiny_trial is found in the directory of the first start only
    assert out.splitlines()[-1] == str(context.run)
    assert RunDirectory(context.run).read_summary()["directory"] == str(context.path)
