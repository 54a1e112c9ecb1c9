"""Upload and download of checkpoints, among real ranks."""

from __future__ import annotations

import json
import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from determined import core

from det_files.cluster.checkpoint_directory import DirectoryCheckpointContext
from det_files.cluster.checkpoints import (
    DamagedCheckpoint,
    assign,
    check_whole,
    download,
    upload,
)
from det_files.cluster.manifest import damage, list_files
from det_files.durable import digest

FILES = {f"shard-{i}.bin": bytes([i]) * (i + 1) for i in range(5)} | {"sub/index.json": b"{}"}


@pytest.mark.parametrize(
    ("seen", "shares"),
    [
        ([["a", "b", "c"]], [["a", "b", "c"]]),
        ([["a", "b", "c", "d"]] * 2, [["a", "c"], ["b", "d"]]),
        ([["a", "b", "x"], ["b", "a", "y"]], [["a", "x"], ["b", "y"]]),  # ranks of two hosts
        ([["a"], ["a", "b", "c", "d"]], [["a"], ["b", "c", "d"]]),
        ([[], []], [[], []]),
    ],
)
def test_each_file_has_one_uploader_that_sees_it(
    seen: list[list[str]], shares: list[list[str]]
) -> None:
    assert assign(seen) == shares


def test_work_is_shared_evenly() -> None:
    names = [f"{i:03}" for i in range(103)]
    shares = assign([names] * 8)
    assert sorted(name for share in shares for name in share) == names
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def write_files(directory: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


class Noted(DirectoryCheckpointContext):
    """The real context, which also notes what this rank was given to upload."""

    mine: list[str]

    def upload(
        self, ckpt_dir: Any, metadata: Any = None, *, shard: bool = False, selector: Any = None
    ) -> str:
        self.mine = [name for name in list_files(Path(ckpt_dir)) if selector(name)]
        return super().upload(ckpt_dir, metadata, shard=shard, selector=selector)


def with_ranks(work: Callable[[core.DistributedContext, Path], Any], directory: Path) -> list[Any]:
    """What `work` returns on each of 2 rank processes that share Determined's control channel."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("", 0))
        second.bind(("", 0))
        ports = (first.getsockname()[1], second.getsockname()[1])
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()

    def rank_process(rank: int) -> None:
        try:
            distributed = core.DistributedContext(
                rank=rank, size=2, local_rank=rank, local_size=2, cross_rank=0, cross_size=1,
                pub_port=ports[0], pull_port=ports[1],
            )  # fmt: skip
            results.put((rank, work(distributed, directory)))
            distributed.close()
        except BaseException as error:
            results.put((rank, repr(error)))

    processes = [fork.Process(target=rank_process, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=10)
    return [found[rank] for rank in range(2)]


def upload_as_rank(distributed: core.DistributedContext, directory: Path) -> tuple[str, list[str]]:
    checkpoint = Noted(distributed, directory / "trial", keep=None)
    context = core.Context(checkpoint=checkpoint, distributed=distributed)
    files = {"steps_completed": 3}
    uuid = upload(context, directory / "staged", files, {"run_args.yaml": "name: x\n"})
    return uuid, checkpoint.mine


def test_two_ranks_upload_each_file_once(tmp_path: Path) -> None:
    write_files(tmp_path / "staged")
    # Left by an upload of the same step that failed; neither may be taken for this one's.
    write_files(tmp_path / "staged", {"manifest.json": b"{}", "metadata.json": b"{"})
    (uuid, first), (same_uuid, second) = with_ranks(upload_as_rank, tmp_path)
    assert uuid == same_uuid
    assert not set(first) & set(second)
    assert set(first) | set(second) == {*FILES, "run_args.yaml", "manifest.json"}
    assert min(len(first), len(second)) >= 3
    stored = tmp_path / "trial" / "checkpoints" / uuid
    for name, content in FILES.items():
        assert (stored / name).read_bytes() == content
    manifest = json.loads((stored / "manifest.json").read_text())["files"]
    assert manifest.keys() == {*FILES, "run_args.yaml"}
    for name, entry in manifest.items():
        path = stored / name
        assert entry == {"bytes": path.stat().st_size, "sha256": digest(path)}
    assert json.loads((stored / "metadata.json").read_text()) == {"steps_completed": 3}
    assert damage(stored) == []


def check_as_rank(distributed: core.DistributedContext, directory: Path) -> str:
    try:
        check_whole(distributed, directory)
    except DamagedCheckpoint as error:
        return str(error)
    return "whole"


def test_all_ranks_find_the_damage_that_one_of_them_sees(tmp_path: Path) -> None:
    single = core.DummyDistributedContext()
    uuid, _ = upload_as_rank(single, write_files(tmp_path / "staged").parent)
    stored = tmp_path / "trial" / "checkpoints" / uuid
    assert with_ranks(check_as_rank, stored) == ["whole", "whole"]
    (stored / "shard-2.bin").unlink()  # linked to the staged file, which stays
    (stored / "shard-2.bin").write_bytes(b"xxx")
    first, second = with_ranks(check_as_rank, stored)
    assert first == second
    assert f"damaged checkpoint {stored}:\n  {stored}/shard-2.bin: its digest" in first


def test_a_download_is_fresh_and_checked(tmp_path: Path) -> None:
    staged = write_files(tmp_path / "staged")
    checkpoint = Noted(core.DummyDistributedContext(), tmp_path / "trial", keep=None)
    context = core.Context(checkpoint=checkpoint)
    uuid = upload(context, staged, {"steps_completed": 1})
    write_files(tmp_path / "down" / uuid, {"left-over": b"of another try"})
    path = download(context, uuid, tmp_path / "down")
    assert path == tmp_path / "down" / uuid
    assert list_files(path).keys() == {*FILES, "manifest.json", "metadata.json"}
    (checkpoint.directory / uuid / "shard-1.bin").unlink()
    with pytest.raises(DamagedCheckpoint, match=r"shard-1\.bin: missing"):
        download(context, uuid, tmp_path / "down")
