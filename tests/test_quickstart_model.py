"""The quickstart's model is made once, however many ask for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_gguf_conversion import write_gguf

from det_files import quickstart_model
from det_files.durable import digest
from det_files.gguf_conversion import is_converted
from det_files.quickstart_model import DTYPE, fetch_model


def test_of_two_that_want_it_at_once_one_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = write_gguf(tmp_path / "tiny.gguf")
    downloads: list[Path] = []

    def download(directory: Path) -> Path:
        downloads.append(directory)
        time.sleep(0.5)
        return gguf

    asked = {"source_sha256": digest(gguf), "dtype": DTYPE, "pad_token": "<|pad|>"}
    monkeypatch.setattr(quickstart_model, "download_gguf", download)
    monkeypatch.setattr(quickstart_model, "GGUF_SHA256", asked["source_sha256"])
    monkeypatch.setattr(quickstart_model, "PAD_TOKEN", asked["pad_token"])
    output = tmp_path / "models" / "tiny"
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fetch_model, [output, output])) == [output, output]
    assert len(downloads) == 1
    assert is_converted(output, asked)
