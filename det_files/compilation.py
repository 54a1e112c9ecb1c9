"""Compilation of the repeated layer: one graph that serves all layers and all lengths.

Compiled as a whole, a model takes minutes and recompiles; its layers are the same code many times
over, so that one of them is compiled and the others use it. Lengths are symbols in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn

from det_files.faults import ConfigError, Fault


def repeated_layers(model: nn.Module) -> nn.ModuleList | None:
    """The list of equal modules that holds most of the model's parameters; None without one."""
    lists = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1
    ]
    return max(lists, key=lambda found: sum(1 for _ in found.modules()), default=None)


def compile_layers(model: nn.Module) -> None:
    """Compiles each repeated layer in place; names of parameters stay the same.

    Raises:
        ConfigError: the model has no repeated layer.
    """
    layers = repeated_layers(model)
    if layers is None:
        where = "hyperparameters.model_arguments.compile"
        raise ConfigError(Fault(where, f"{type(model).__name__} has no repeated layer to compile"))
    for layer in layers:
        layer.compile(dynamic=True)


def is_compiled(model: nn.Module) -> bool:
    """True where a part of the model is compiled in place."""
    return any(getattr(part, "_compiled_call_impl", None) is not None for part in model.modules())


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Has the parts that `compile_layers` compiled run as they were written, in the block alone."""
    compiled = {
        part: part._compiled_call_impl
        for part in model.modules()
        if getattr(part, "_compiled_call_impl", None) is not None
    }
    for part in compiled:
        part._compiled_call_impl = None
    try:
        yield
    finally:
        for part, call in compiled.items():
            part._compiled_call_impl = call


class CompileClock:
    """Adds up the wall seconds in which something is being compiled, forward or backward."""

    def __init__(self, paused: Callable[[], AbstractContextManager[None]]) -> None:
        """`paused` is entered for as long as a compilation lasts."""
        from torch._dynamo.callback import callback_handler

        self.seconds = 0.0
        self._paused = paused
        self._entered: list[tuple[float, AbstractContextManager[None]]] = []
        self._handler = callback_handler
        self._handler.register_start_callback(self._start)
        self._handler.register_end_callback(self._end)

    def _start(self, *args: Any) -> None:
        pause = self._paused()
        pause.__enter__()
        self._entered.append((time.perf_counter(), pause))

    def _end(self, *args: Any) -> None:
        if self._entered:
            began, pause = self._entered.pop()
            pause.__exit__(None, None, None)
            self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """Listens no more."""
        self._handler.remove_start_callback(self._start)
        self._handler.remove_end_callback(self._end)
