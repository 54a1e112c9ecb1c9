"""Checkpoints off-cluster are whole or absent, and the right ones stay."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest
from determined import core

from det_files.cluster.checkpoint_directory import (
    DirectoryCheckpointContext,
    best_checkpoint,
    published_checkpoints,
    read_metadata,
)
from det_files.cluster.checkpoints import upload
from det_files.faults import ConfigError


def open_context(trial: Path, keep: int | None = None) -> DirectoryCheckpointContext:
    return DirectoryCheckpointContext(core.DummyDistributedContext(), trial, keep)


def save(
    context: DirectoryCheckpointContext, step: int, is_best: bool = False, text: str = "weights"
) -> Path:
    """Stages and uploads a checkpoint as DetCallback does; its published path."""
    staged = context.directory.parent / "staging" / f"checkpoint-{step}"
    (staged / "sub").mkdir(parents=True, exist_ok=True)
    (staged / "model").write_text(text)
    (staged / "sub" / "index").write_text("0")
    metadata = {"steps_completed": step, "is_best": is_best}
    return context.directory / upload(core.Context(checkpoint=context), staged, metadata)


def steps(context: DirectoryCheckpointContext) -> list[int]:
    return [
        read_metadata(path)["steps_completed"] for path in published_checkpoints(context.directory)
    ]


def harm(checkpoint: Path) -> None:
    """Changes a byte of a file, in place of it (its staged twin is the same inode)."""
    (checkpoint / "model").unlink()
    (checkpoint / "model").write_text("weightz")


def test_a_checkpoint_is_published_whole(tmp_path: Path) -> None:
    context = open_context(tmp_path)
    path = save(context, 3)
    assert (path / "model").read_text() == "weights"
    assert (path / "sub" / "index").read_text() == "0"
    assert [p.name for p in context.directory.iterdir()] == [path.name]
    # Stored by link: huge files are not written twice.
    staged = tmp_path / "staging" / "checkpoint-3" / "model"
    assert (path / "model").stat().st_ino == staged.stat().st_ino


def test_storage_on_another_disk_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    path = save(open_context(tmp_path), 3)
    assert (path / "sub" / "index").read_text() == "0"


class KilledBeforePublishing(DirectoryCheckpointContext):
    def _report_checkpoint(self, *args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt


def test_a_kill_between_upload_and_publishing_leaves_no_checkpoint(tmp_path: Path) -> None:
    first = save(open_context(tmp_path), 3)
    killed = KilledBeforePublishing(core.DummyDistributedContext(), tmp_path, None)
    with pytest.raises(KeyboardInterrupt):
        save(killed, 6)
    (unfinished,) = killed.directory.glob(".*")
    assert (unfinished / "model").exists()
    assert published_checkpoints(killed.directory) == [first]
    again = open_context(tmp_path)
    assert not unfinished.exists()
    assert again.latest_whole() == first


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [
        (2, (), [5, 4]),
        (1, (2,), [5, 2]),
        (2, (1, 3), [5, 4, 3]),  # the newest best is the best
        (1, (5,), [5]),
        (None, (), [5, 4, 3, 2, 1]),
        (0, (), [5, 4, 3, 2, 1]),  # as save_total_limit
    ],
)
def test_the_newest_and_the_best_stay(
    keep: int | None, best: tuple[int, ...], left: list[int], tmp_path: Path
) -> None:
    context = open_context(tmp_path, keep)
    for step in range(1, 6):
        save(context, step, step in best)
    assert steps(context) == left
    assert len(list(context.directory.iterdir())) == len(left)  # nothing half removed


def test_the_newest_of_one_step_comes_first(tmp_path: Path) -> None:
    context = open_context(tmp_path)
    older, newer = save(context, 3), save(context, 3)
    os.utime(older, (1, 1))
    assert published_checkpoints(context.directory) == [newer, older]
    unreadable = context.directory / "unreadable"
    unreadable.mkdir()
    assert published_checkpoints(context.directory)[-1] == unreadable
    assert best_checkpoint([newer, older]) is None


def test_a_damaged_newest_is_named_and_the_one_before_it_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = open_context(tmp_path)
    assert context.latest_whole() is None
    good, bad = save(context, 3), save(context, 6)
    harm(bad)
    with caplog.at_level(logging.WARNING):
        assert context.latest_whole() == good
    assert f"damaged checkpoint {bad}" in caplog.text
    assert f"{bad}/model: its digest" in caplog.text
    assert "taking the one before it" in caplog.text


@pytest.mark.parametrize(("keep", "left"), [(1, [4]), (2, [4, 3])])
def test_a_damaged_one_pushes_out_no_whole_one(keep: int, left: list[int], tmp_path: Path) -> None:
    context = open_context(tmp_path)
    save(context, 3)
    harm(save(context, 6, is_best=True))
    resumed = open_context(tmp_path, keep)
    resumed.latest_whole()
    save(resumed, 4)  # stopped again, before the step of the damaged one
    assert steps(resumed) == left


def test_store_path_publishes_too(tmp_path: Path) -> None:
    context = open_context(tmp_path)
    with context.store_path({"steps_completed": 2}) as (path, uuid):
        (path / "model").write_text("w")
        assert published_checkpoints(context.directory) == []
    (published,) = published_checkpoints(context.directory)
    assert published.name == uuid
    assert (published / "model").read_text() == "w"


def test_all_checkpoints_damaged_is_not_a_fresh_start(tmp_path: Path) -> None:
    context = open_context(tmp_path)
    harm(save(context, 3))
    with pytest.raises(ConfigError, match=r"every checkpoint in .* is damaged"):
        context.latest_whole()


def test_an_incomplete_checkpoint_is_not_published(tmp_path: Path) -> None:
    """As when another node wrote its part to a disk of its own."""
    context = open_context(tmp_path)
    unfinished = context.directory / ".uuid"
    shutil.copytree(save(context, 3), unfinished)
    (unfinished / "model").unlink()
    with pytest.raises(RuntimeError, match="do all nodes share this directory"):
        context._report_checkpoint("uuid", {}, {"steps_completed": 3})
    assert not (context.directory / "uuid").exists()
