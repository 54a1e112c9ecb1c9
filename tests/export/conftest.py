"""Exports are made without anybody's login."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest


@pytest.fixture(autouse=True)
def no_login(tmp_path: Path) -> Any:
    """No test finds the token of whoever runs it."""
    without = {
        k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    }
    absent = str(tmp_path / "no-token")
    with (
        mock.patch.dict(os.environ, without, clear=True),
        mock.patch("huggingface_hub.constants.HF_TOKEN_PATH", absent),
    ):
        yield
