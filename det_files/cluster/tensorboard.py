"""TensorBoard event files in the core context's own directory, on a cluster and off it."""

from __future__ import annotations

from pathlib import Path

from transformers.integrations import TensorBoardCallback as HfTensorBoardCallback


class TensorBoardCallback(HfTensorBoardCallback):
    """transformers' TensorBoardCallback, writing where Determined collects TensorBoard files."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.logging_dir = str(directory)
