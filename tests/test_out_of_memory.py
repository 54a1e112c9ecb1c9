"""Which errors, and which lines of a log, say that memory was too small."""

import pytest
import torch

from det_files.out_of_memory import TEXTS, is_out_of_memory

TEXT = "CUDA out of memory. Tried to allocate 2.00 GiB."


def real_cpu_error() -> Exception:
    try:
        torch.empty(1 << 50, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("a petabyte was given")


def wrapped(inner: Exception, explicit: bool) -> Exception:
    """Another error, raised while that one was handled."""
    try:
        try:
            raise inner
        except Exception as error:
            if explicit:
                raise RuntimeError("the engine failed") from error
            raise RuntimeError("the engine failed")  # noqa: B904
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(TEXT), True),
        (torch.OutOfMemoryError("whatever it says"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (MemoryError(), True),
        (real_cpu_error(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (wrapped(torch.OutOfMemoryError(TEXT), True), True),
        (wrapped(MemoryError(), False), True),
        (wrapped(ValueError("no"), True), False),
        (RuntimeError("Connection closed by peer [127.0.0.1]:2048"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"[rank=3] [rank3]: torch.OutOfMemoryError: {TEXT}", True),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you", True),
        ("[rank=0] MemoryError", True),
        ("[rank=1] [rank1]: MemoryError: ", True),
        ("Last error: Cuda failure 2 'out of memory'", True),
        ("the message MemoryError was not raised", False),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_which_lines(line: str, expected: bool) -> None:
    assert bool(TEXTS.search(line)) is expected
