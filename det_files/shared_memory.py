"""The names of DeepSpeed's shared memory, which it never removes.

On CPUs each rank makes a buffer of 66 MiB in /dev/shm for all-reduces on one machine
(`csrc/cpu/comm/shm.cpp` of DeepSpeed 0.19) and leaves it there when it ends, however it ends:
memory that is gone until the machine starts again, 132 MiB a trial of two ranks. Once all ranks
have mapped all buffers their names serve nobody; nameless, a buffer ends with its last process.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_DIRECTORY = Path("/dev/shm")


def remove_names() -> None:
    """Removes the name of this rank's buffer; nothing where there is none.

    All ranks call this in step, when DeepSpeed's communication has just been set up.
    """
    import torch.distributed
    from deepspeed import comm

    if getattr(comm.comm.cdb, "shm_comm_op", None) is None:
        return
    torch.distributed.barrier()  # every rank has opened the buffers of all
    place = "_".join(os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
    rank = torch.distributed.get_rank()
    with suppress(OSError):
        (_DIRECTORY / f"deepspeed_allreduce_buffer_{os.getuid()}_{place}_{rank}").unlink()
