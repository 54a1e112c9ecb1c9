"""One torchrun process group for one trial: its command, its environment, its end.

It takes the place of `determined.launch.deepspeed` and `determined.launch.torch_distributed`.
"""

import os
import random
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from det_files.local.process_tree import become_subreaper, kill_descendants

LOOPBACK = "127.0.0.1"
# Below Linux' range for outgoing connections (32768–60999), so that a port found free is not taken
# by somebody's connection before the ranks have bound it.
PORT_RANGE = range(10_000, 32_000)
KEEPER_END_TIMEOUT_S = 20.0
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
# All that belongs to one attempt of a trial carries this variable; its value is unique.
MARKER = "DET_FILES_LOCAL_ATTEMPT"
GPU_DEVICE_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, WSL


def visible_gpus() -> int:
    """Returns how many GPUs torch sees; imports torch (seconds) only where there can be one."""
    if not any(Path(device).exists() for device in GPU_DEVICE_FILES):
        return 0
    import torch

    return torch.cuda.device_count()


def free_ports(count: int) -> list[int]:
    """Returns `count` different TCP ports that nobody listens on now.

    Raises:
        OSError: If a thousand tries find too few.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(PORT_RANGE, 1000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))  # all interfaces, as Determined's sockets bind
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"found {len(found)} free TCP ports of the {count} that are needed")


def trial_environment(
    experiment: Mapping[str, str],
    *,
    shell: Mapping[str, str] | None = None,
    slots: int,
    gpus: int,
    threads: int,
    devices: Sequence[str] = (),
    ports: Sequence[int],
) -> dict[str, str]:
    """Returns the environment of a trial's processes.

    The experiment's variables win over the shell's, as they do on a cluster over the image's.

    Args:
        experiment: `environment.environment_variables` of the experiment.
        shell: The runner's own environment (default: `os.environ`).
        slots: Ranks.
        gpus: GPUs that torch sees; 0 means that the ranks train on the CPU.
        threads: CPU cores for each rank.
        devices: The GPUs to show to the trial; none shows what the shell shows.
        ports: Two, for the sockets of Determined's DistributedContext, whose fixed default ports
            two runs at once would fight for.
    """
    env = {"TOKENIZERS_PARALLELISM": "false", **(os.environ if shell is None else shell)}
    env.update(experiment)
    # DeepSpeed compiles its operators just in time and looks for ninja on PATH; a venv that is
    # used without being activated is not on it.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env["PYTHONUNBUFFERED"] = "1"  # a rank that is killed still leaves its last words
    env["INTER_TRAIN_PROCESS_COMM_PORT_1"] = str(ports[0])
    env["INTER_TRAIN_PROCESS_COMM_PORT_2"] = str(ports[1])
    if gpus == 0:
        env["DS_ACCELERATOR"] = "cpu"
        env["LOCAL_SIZE"] = str(slots)  # DeepSpeed's CPU backend asks for it
    # torchrun would give each rank one thread; offloaded optimizers work on the CPU even with GPUs.
    env.setdefault("OMP_NUM_THREADS", str(threads))
    if devices:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    return env


def launch_command(module: str, trial_directory: Path, slots: int, rank_logs: Path) -> list[str]:
    """Returns torchrun's command for a trial.

    The rendezvous is a store that torchrun itself opens on a free port (":0") and hands on to the
    ranks; no port is chosen beforehand that could be lost to another run. `--local-addr` keeps
    machines out of it whose host name does not resolve.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1"]
    torchrun += ["--nproc_per_node", str(slots), "--max-restarts", "0"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{LOOPBACK}:0"]
    torchrun += ["--rdzv-id", uuid.uuid4().hex, "--local-addr", LOOPBACK]
    torchrun += ["--redirects", "3", "--log-dir", str(rank_logs)]
    trial = ["--experiment", str(trial_directory / "experiment.yaml")]
    trial += ["--trial_dir", str(trial_directory)]
    return [*torchrun, "-m", module, *trial]


class ProcessGroup:
    """The processes of one attempt at a trial, from start to the last one's end."""

    def __init__(
        self, command: list[str], trial_directory: Path, env: Mapping[str, str], lock_fd: int | None
    ):
        """Starts keeper and torchrun in a process session of their own, in the current directory.

        Args:
            command: See `launch_command`.
            trial_directory: Gets log.txt.
            env: See `trial_environment`.
            lock_fd: The run's lock, held by the keeper too: a killed runner's run can be resumed
                when its ranks are gone, and not before.

        Raises:
            OSError: If the keeper cannot be started.
        """
        become_subreaper()
        self._marker = uuid.uuid4().hex
        keeper = [sys.executable, "-m", "det_files.local.keeper"]
        keeper += ["--log", str(trial_directory / "log.txt")]
        keeper += ["--rank_logs", str(rank_log_directory(trial_directory))]
        keeper += ["--directory", str(Path.cwd())]
        with open(trial_directory / "log.txt", "ab") as log:
            self._keeper = subprocess.Popen(
                [*keeper, *command],
                cwd=PACKAGE_ROOT,  # where -m finds the keeper; torchrun runs in --directory
                env={**env, MARKER: self._marker},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # out of the reach of the terminal's Ctrl-C
                pass_fds=() if lock_fd is None else (lock_fd,),
            )

    def poll(self) -> int | None:
        """Returns None while the trial runs, then its exit code; nothing of it is left then."""
        code = self._keeper.poll()
        if code is not None:
            self._kill_orphans()
        return code

    def kill(self) -> None:
        """Kills every process of the trial at once and returns when they are gone."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()  # the keeper sees its pipe end and kills all below itself
        try:
            self._keeper.wait(KEEPER_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._kill_orphans()

    def _kill_orphans(self) -> None:
        # There are none unless the keeper itself was killed: its orphans are ours then. Only those
        # of this attempt are killed; the runner may have other children.
        kill_descendants(os.getpid(), marker=f"{MARKER}={self._marker}")


def rank_log_directory(trial_directory: Path) -> Path:
    """Returns where torchrun puts the ranks' raw output; the keeper removes it at the end."""
    return trial_directory / ".rank_logs"
