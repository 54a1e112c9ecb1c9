"""How a machine is shared out among trials."""

import pytest

from det_files.local.resources import Resources, trials_at_once


@pytest.mark.parametrize(
    ("slots", "gpus", "cores", "limit", "expected"),
    [
        (1, 8, 64, None, 8),
        (2, 8, 64, 3, 3),
        (3, 8, 64, 16, 2),
        (8, 8, 64, 16, 1),
        (1, 0, 8, None, 1),  # a CPU's memory is one
        (1, 0, 8, 4, 4),
        (1, 0, 2, 16, 2),
        (4, 0, 2, 16, 1),
        (1, 0, 8, 0, 1),  # 0: Determined's own choice
    ],
)
def test_as_many_trials_run_at_once_as_there_is_room(
    slots: int, gpus: int, cores: int, limit: int | None, expected: int
) -> None:
    assert trials_at_once(slots, gpus, cores, limit) == expected


def test_cores_are_shared_by_the_ranks_of_all_trials() -> None:
    assert Resources(2, 0, cores=16, at_once=2).threads == 4
    assert Resources(4, 0, cores=2).threads == 1


def test_each_lane_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    four = Resources(2, 4, at_once=2)
    assert [four.devices(lane) for lane in (0, 1)] == [["0", "1"], ["2", "3"]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert four.devices(1) == ["6", "7"]
    assert Resources(2, 4).devices(0) == []  # alone: as the shell has it
    assert Resources(1, 0, at_once=2).devices(1) == []
