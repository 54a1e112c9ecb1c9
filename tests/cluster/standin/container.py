"""A container as ordinary processes: Determined's entrypoint in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

# What `master/static/srv/{task-setup,entrypoint}.sh` do, in their order.
ENTRYPOINT = """
ln -sf "/proc/$$/fd/1" "$STANDIN_RUN_DIR/train/logs/stdout.log"
ln -sf "/proc/$$/fd/2" "$STANDIN_RUN_DIR/train/logs/stderr.log"
set -e
python3 -m determined.exec.prep_container --download_context_directory --resources --proxy
set -x
test -f "./startup-hook.sh" && source "./startup-hook.sh"
set +x
python3 -m determined.exec.prep_container --rendezvous
python3 -m determined.exec.launch
"""
_MARK = "STANDIN_CONTAINER"
_RELOCATION = Path(__file__).with_name("relocation")


class Container:
    """One container of an allocation, from start to exit."""

    def __init__(self, identity: str, root: Path, storage: Path) -> None:
        """Prepares `root`; `storage` stands for the agent's directory of checkpoints."""
        self.identity, self.root = identity, root
        self.workdir, run_dir = root / "workdir", root / "run"
        for directory in (self.workdir, root / "tmp", run_dir / "info", run_dir / "train/logs"):
            directory.mkdir(parents=True)
        self._paths = {
            "STANDIN_RUN_DIR": str(run_dir),
            "STANDIN_SHARED_FS": str(storage),
            "STANDIN_TMP": str(root / "tmp"),
            "TMPDIR": str(root / "tmp"),
            # Where the client looks for a user's tokens: not in this user's home.
            "DET_DEBUG_CONFIG_PATH": str(root / "config"),
        }
        self.code: int | None = None
        self._process: subprocess.Popen[str] | None = None

    def start(
        self,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        on_exit: Callable[[Container], None],
    ) -> None:
        """Starts the processes; `on_line` gets their output, `on_exit` comes when all are gone."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DET_", "PYTEST_")) and name != "PYTHONPATH"
        }
        own = {_MARK: self.identity, "PATH": path, "PYTHONPATH": str(_RELOCATION)}
        self._process = subprocess.Popen(
            ["bash", "-c", ENTRYPOINT],
            cwd=self.workdir,
            env=inherited | {"OMP_NUM_THREADS": "1"} | own | self._paths | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._follow, args=(on_line, on_exit), daemon=True).start()

    def kill(self) -> None:
        """SIGKILL to everything in the container at once, as the agent does."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        # What a launcher has put into process groups of its own. They are not waited for: that
        # would take the exit code of the first one from its owner.
        while found := [process for process in psutil.process_iter() if self._owns(process)]:
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.02)

    def _owns(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get(_MARK) == self.identity
        except psutil.Error:
            return False

    def _follow(self, on_line: Callable[[str], None], on_exit: Callable[[Container], None]) -> None:
        assert self._process is not None and self._process.stdout is not None
        watcher = threading.Thread(target=self._end_with_the_first_process, daemon=True)
        watcher.start()
        for line in self._process.stdout:
            on_line(line.rstrip("\n"))
        watcher.join()
        shutil.rmtree(self.root / "tmp", ignore_errors=True)
        on_exit(self)

    def _end_with_the_first_process(self) -> None:
        """A container ends with its first process; whatever it left behind is killed."""
        assert self._process is not None
        code = self._process.wait()
        time.sleep(0.1)  # what is in the pipe may still be read
        self.kill()
        self.code = 128 - code if code < 0 else code  # as a shell says it
