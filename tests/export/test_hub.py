"""`--push`, against a small server that answers as the hub does; never against the hub."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from export_checkpoints import Adapters, contents

from conftest import ROOT, rank_environment
from det_files.export.__main__ import main
from det_files.faults import ConfigError

TOKEN = "hf_abcdefghijklmnopqrstuvwx"


class Hub(ThreadingHTTPServer):
    """Takes one model repository; remembers files and who sent them."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.refuses = refuses
        self.created: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}
        self.authorizations: set[str | None] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        self.server.authorizations.add(self.headers.get("Authorization"))
        if self.server.refuses:
            self._answer({"error": "not yours"}, 403)
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._answer({"url": f"{self.server.address}/me/tiny"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.files[line["value"]["path"]] = content
            self._answer({"commitUrl": f"{self.server.address}/me/tiny/commit/1", "commitOid": "1"})
        else:
            self._answer({}, 404)

    def do_GET(self) -> None:
        self._answer({"error": "no such file"}, 404)

    do_HEAD = do_GET

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _answer(self, content: dict[str, object], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest's output is for failures."""


@pytest.fixture(params=[False])
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    with Hub(refuses=request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def push(checkpoint: Path, output: Path, hub: Hub) -> subprocess.CompletedProcess[str]:
    """A process of its own: the hub's address is read when huggingface_hub is imported."""
    words = [str(checkpoint), "--to", "adapter", "--output", str(output), "--push", "me/tiny"]
    return subprocess.run(
        [sys.executable, "-m", "det_files.export", *words],
        cwd=ROOT,
        env=rank_environment(HF_ENDPOINT=hub.address, HF_TOKEN=TOKEN, HF_HUB_OFFLINE="0"),
        capture_output=True,
        text=True,
    )


def test_the_directory_is_uploaded_with_the_environments_token(
    adapters: Adapters, tmp_path: Path, hub: Hub
) -> None:
    done = push(adapters("lora"), tmp_path / "out", hub)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{hub.address}/me/tiny/commit/1"
    assert hub.files == contents(tmp_path / "out")
    assert hub.created[0]["visibility"] == "private"
    assert hub.authorizations == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in content for content in hub.files.values())


@pytest.mark.parametrize("hub", [True], indirect=True)
def test_a_refusal_is_one_sentence_and_the_export_stays(
    adapters: Adapters, tmp_path: Path, hub: Hub
) -> None:
    done = push(adapters("lora"), tmp_path / "out", hub)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"ConfigError: --push: me/tiny was not pushed, {tmp_path}/out is whole ("
    )
    assert f"`hf upload me/tiny {tmp_path}/out`" in last
    assert TOKEN not in done.stdout + done.stderr
    assert "adapter_model.safetensors" in contents(tmp_path / "out")


def test_without_a_token_nothing_is_written_or_sent(
    adapters: Adapters, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that was once stored on the machine is no token of the environment."""
    stored = tmp_path / "stored"
    stored.mkdir()
    (stored / "token").write_text("hf_somebodyelses")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(stored / "token"))
    words = [str(adapters("lora")), "--to", "adapter", "--output", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match="--push: no token: set HF_TOKEN"):
        main([*words, "--push", "me/tiny"])
    assert not hub.authorizations
    assert list(tmp_path.iterdir()) == [stored]


def test_offline_nothing_is_written(
    adapters: Adapters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    words = [str(adapters("lora")), "--to", "adapter", "--output", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match="--push: HF_HUB_OFFLINE is set"):
        main([*words, "--push", "me/tiny"])
    assert list(tmp_path.iterdir()) == []
