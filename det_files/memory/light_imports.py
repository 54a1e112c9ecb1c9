"""Imports that take seconds and are of no use where nothing is computed, left out of a process.

For `python -m det_files.memory`, whose process ends with the answer. Each is left out in a way that
its libraries provide for: packages that they can do without, a torch that was built without
torch.distributed, a compiler that is imported when it is used and not when functions are marked.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# peft, transformers and accelerate import them if they can: kernels, and SageMaker's client.
_OPTIONAL = ("bitsandbytes", "torchao", "boto3")
_COMPILER = "torch._dynamo"
# What libraries tell the compiler of their functions, and its one part that masks are made with.
_MARKS = ("allow_in_graph", "assume_constant_result", "disable")
_ALONE = f"{_COMPILER}._trace_wrapped_higher_order_op"


def import_lightly() -> None:
    """Makes the process's later imports of transformers, accelerate and peft lighter."""
    gc.disable()  # modules are no garbage, and looking at each of their objects takes its time
    for name in _OPTIONAL:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    import torch

    # All libraries at once: peft takes for granted that transformers has imported DTensor.
    torch.distributed.is_available = lambda: False
    if _COMPILER not in sys.modules:
        sys.modules[_COMPILER] = _UnusedCompiler()
        sys.meta_path.insert(0, _PartsOfCompiler())


class _UnusedCompiler(ModuleType):
    """Stands in for torch's compiler: marks are dropped; for all else the real one is imported."""

    def __init__(self) -> None:
        super().__init__(_COMPILER)
        spec = importlib.util.find_spec(_COMPILER)
        assert spec is not None
        self.__spec__, self.__file__ = spec, spec.origin
        self.__path__ = list(spec.submodule_search_locations or ())

    def __getattr__(self, name: str) -> Any:
        if name in _MARKS:
            return _leave_unmarked
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_import_compiler(), name)


def _leave_unmarked(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The function itself; without one, a decorator that returns it."""
    return _leave_unmarked if function is None else function


def _import_compiler() -> ModuleType:
    """The real one, in the stand-in's place."""
    if isinstance(sys.modules.get(_COMPILER), _UnusedCompiler):
        del sys.modules[_COMPILER]
    return importlib.import_module(_COMPILER)


class _PartsOfCompiler(MetaPathFinder):
    """Imports the real compiler before the first of its parts, as if it had been there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(f"{_COMPILER}.") or name == _ALONE:
            return None
        if not isinstance(sys.modules.get(_COMPILER), _UnusedCompiler):
            return None
        _import_compiler()
        found = sys.modules.get(name)
        return None if found is None else ModuleSpec(name, _Imported(found))


class _Imported(Loader):
    """Hands out a module that has come in by another way."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just put another there
