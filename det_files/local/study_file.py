"""The file of a study: where it lies in a run directory, and how Optuna opens it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna
from optuna import Study
from optuna.storages import RDBStorage

STUDY_FILE = "study.db"


def open_study(path: Path) -> Study:
    """The only study in a file, for reading."""
    storage = storage_of(path)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def storage_of(path: Path) -> RDBStorage:
    """The file by its path: in a URL, what follows a "?" would not be a part of it."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path.absolute(), check_same_thread=False)

    return RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})
