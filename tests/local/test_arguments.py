"""The local runner's command line."""

from pathlib import Path

import pytest

from det_files.local.arguments import parse_arguments


def test_the_experiment_may_stand_anywhere() -> None:
    words = ["--slots", "2", "--set", "a.b=1", "tiny.yaml", "--set", "c=[x, y]"]
    arguments = parse_arguments(words)
    assert arguments.experiment == Path("tiny.yaml")
    assert arguments.slots == 2
    assert arguments.overrides == ("a.b=1", "c=[x, y]")
    assert arguments.runs_dir == Path("runs")
    assert arguments.resume is None


def test_resuming_needs_no_experiment() -> None:
    arguments = parse_arguments(["--resume", "runs/tiny/1"])
    assert (arguments.experiment, arguments.resume) == (None, Path("runs/tiny/1"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "EXPERIMENT.yaml is needed"),
        (["a.yaml", "b.yaml"], "unrecognized arguments: b.yaml"),
        (["a.yaml", "--slots", "two"], "invalid int value: 'two'"),
    ],
)
def test_a_malformed_command_line_ends_with_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        parse_arguments(words)
    assert error.value.code == 2
    assert message in capsys.readouterr().err
