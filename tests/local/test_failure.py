"""What a failed trial's log is made to say."""

from pathlib import Path

import pytest

from det_files.local.failure import (
    certain_cause,
    count_out_of_memory_kills,
    failed_rank,
    policy_that_cancels,
    read_log,
    telling_lines,
)

# As torchrun of torch 2.13 writes it when rank 1 has failed and rank 0 was ended for it.
TORCHRUN = """\
[torchrun] Failures:
[torchrun] [1]:
[torchrun]   rank      : 0 (local_rank: 0)
[torchrun]   exitcode  : -15 (pid: 5697)  (SIGTERM)
[torchrun] Root Cause (first observed failure):
[torchrun] [0]:
[torchrun]   rank      : 1 (local_rank: 1)
[torchrun]   exitcode  : -9 (pid: 5698)  (SIGKILL)
""".splitlines()


def test_the_rank_that_failed_first_is_found() -> None:
    assert failed_rank(TORCHRUN) == 1
    assert failed_rank(["[rank=0] Root Cause", "[rank=0]   rank      : 3"]) is None


def test_both_ranks_that_tell_something_are_shown() -> None:
    ranks = [f"[rank={rank}] line {n}" for n in range(50) for rank in (0, 1, 2)]
    shown = telling_lines(ranks + TORCHRUN, count=30)
    assert shown == [f"[rank={r}] line {n}" for r in (0, 1) for n in range(20, 50)]


def test_without_ranks_torchruns_own_lines_are_shown() -> None:
    assert telling_lines(["[torchrun] no module"], count=3) == ["[torchrun] no module"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", "GPU's memory"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("RuntimeError: Ninja is required to load C++ extensions", "pip install ninja"),
    ],
)
def test_certain_causes_have_a_hint(line: str, words: str) -> None:
    assert words in (certain_cause([f"[rank=0] {line}"], 0) or "")


def test_a_killed_rank_is_blamed_on_memory_only_if_the_kernel_killed() -> None:
    assert certain_cause(TORCHRUN, 0) is None
    assert "out-of-memory killer" in (certain_cause(TORCHRUN, 1) or "")
    assert certain_cause(["[rank=0] ValueError: ill"], 1) is None


def test_kernel_counts_are_read(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    assert count_out_of_memory_kills(vmstat) == 0
    vmstat.write_text("nr_free_pages 5\noom_kill 3\nworkingset 1\n")
    assert count_out_of_memory_kills(vmstat) == 3


def test_the_log_is_read_from_where_the_attempt_began(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert read_log(log) == []
    log.write_bytes(b"[rank=0] old\n[rank=0] n\xffew\n")
    assert read_log(log, 13) == ["[rank=0] n\ufffdew"]


def test_log_policies_cancel_retries_here_too() -> None:
    memory, other = r"torch\.(cuda\.)?OutOfMemoryError: ", "lost"
    policies = [
        {"pattern": other, "action": {"type": "exclude_node"}},
        {"pattern": memory, "action": {"type": "cancel_retries"}},
        {"pattern": "by name", "action": "cancel_retries"},
    ]
    assert policy_that_cancels(policies, ["[rank=1] torch.OutOfMemoryError: CUDA"]) == memory
    assert policy_that_cancels(policies, ["it is said by name"]) == "by name"
    assert policy_that_cancels(policies, ["a node was lost"]) is None
    assert policy_that_cancels(None, ["torch.OutOfMemoryError: CUDA"]) is None
