"""Members of enumerations in pickles of Python 3.11.0 to 3.11.3, which wrote getattr(class, name).

Other versions write class(value). A pickle that names getattr could as well fetch anything and call
it, so it is run here first with nothing in it but stubs: every getattr must be of a known
enumeration and name one of its members. The same bytes make the same calls when they are loaded.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Collection
from enum import EnumMeta
from pathlib import Path
from typing import Any

GETATTR = "builtins.getattr"


def gets_members_alone(file: Path, enumerations: Collection[EnumMeta]) -> bool:
    """Whether each getattr of a file of `torch.save` fetches a member of one of these.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no file of `torch.save`, or its pickle is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (name,) = (one for one in archive.namelist() if one.endswith("/data.pkl"))
            with archive.open(name) as stream:
                _Checking(stream, enumerations).load()
    except _Refused:
        return False
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return True


class _Refused(Exception):
    """A getattr of something else."""


class _Stub:
    """Stands for all that a pickle names or makes; takes whatever is done to it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Stub:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> _Stub:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass


class _Checking(pickle.Unpickler):
    """Runs a pickle that can reach nothing but stubs and members of enumerations."""

    def __init__(self, stream: Any, enumerations: Collection[EnumMeta]) -> None:
        super().__init__(stream)
        self._enumerations = {f"{one.__module__}.{one.__qualname__}": one for one in enumerations}

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name == "getattr":
            return self._member
        return self._enumerations.get(f"{module}.{name}", _Stub)

    def persistent_load(self, identity: Any) -> _Stub:
        return _Stub()

    def _member(self, owner: Any, name: Any, *default: Any) -> Any:
        known = any(owner is one for one in self._enumerations.values())
        if not known or default or not isinstance(name, str) or name not in owner.__members__:
            raise _Refused
        return owner[name]
