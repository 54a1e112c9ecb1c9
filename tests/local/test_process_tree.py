"""Finding and killing processes that have left their parents and sessions."""

import os
import subprocess
import sys

from det_files.local.process_tree import descendants, has_environment

from .conftest import ROOT, command_of, wait_for

# Becomes a subreaper, starts a grandchild whose parent ends at once and that leads a session of
# its own (a daemon), and one that carries the marker; kills, and prints what is left of its own.
SCRIPT = """
import os, subprocess, sys, time
from det_files.local.process_tree import become_subreaper, descendants, kill_descendants
become_subreaper()
daemon = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.run([sys.executable, "-c", daemon, *sleep], check=True)
subprocess.run([sys.executable, "-c", daemon, *sleep], check=True, env={**os.environ, "M": "1"})
before = len(descendants(os.getpid()))
kill_descendants(os.getpid(), marker="M=1")
between = len(descendants(os.getpid()))
done = kill_descendants(os.getpid())
print(before, between, len(descendants(os.getpid())), done)
"""


def test_orphans_in_other_sessions_are_found_and_killed() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "M"}
    script = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert script.stdout.split() == ["2", "1", "0", "True"]


def test_descendants_are_alive_and_below() -> None:
    child = subprocess.Popen(["sleep", "600"], env={"MARKED": "yes"})
    try:
        wait_for(lambda: command_of(child.pid).startswith(b"sleep"))
        assert child.pid in descendants(os.getpid())
        assert os.getpid() not in descendants(os.getpid())
        assert descendants(child.pid) == set()
        assert has_environment(child.pid, "MARKED=yes")
        assert not has_environment(child.pid, "MARKED=ye")
    finally:
        child.kill()
    # Not waited for: a zombie, which is not alive.
    wait_for(lambda: child.pid not in descendants(os.getpid()))
    child.wait()
    assert not has_environment(child.pid, "MARKED=yes")
