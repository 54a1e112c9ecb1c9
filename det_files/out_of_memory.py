"""Whether an error, or a line of a log, says that device or host memory was too small."""

from __future__ import annotations

import errno
import re

# The device's allocator and its libraries, the host's allocator, the system.
TEXTS = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|HIP out of memory"
    r"|Cuda failure (?:\d+ )?'out of memory'"
    r"|CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED|OutOfMemoryError: "
    r"|DefaultCPUAllocator: (?:can't allocate|not enough) memory"
    r"|OSError: \[Errno 12\]|(?:^|\] |\]: )MemoryError\b"
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """True where an error, or what it was raised from, is a lack of device or host memory."""
    while error is not None:
        if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError) and TEXTS.search(str(error)):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
