"""Members of enumerations in pickles of Python 3.11.0 to 3.11.3, which wrote getattr(class, name).

Other versions write class(value). A pickle that names getattr could as well fetch anything and call
it, so its instructions are read, and not run: each getattr must be called at once, with the
enumeration and the name of one of its members written right behind it.

    GLOBAL getattr   GLOBAL enumeration   BINUNICODE name   TUPLE2   REDUCE

Either may also be fetched from the memo, where the pickle has put it before.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

GETATTR = "builtins.getattr"
_GETATTR_NAMES = ("builtins getattr", "__builtin__ getattr")
_PUTS = ("BINPUT", "LONG_BINPUT", "PUT")
_GETS = ("BINGET", "LONG_BINGET", "GET")
_NAMES = ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE")
_BEHIND = ["enumeration", "member", "TUPLE2", "REDUCE"]


def gets_members_alone(file: Path, enumeration: type[Enum]) -> bool:
    """Whether getattr does nothing in a file of `torch.save` but fetch members of an enumeration.

    The enumeration itself may not stand anywhere else: what can change it could change what its
    members are.

    Raises:
        RuntimeError: it is no file of `torch.save`.
        ValueError: its pickle is damaged.
    """
    import torch

    # The entry that torch.load reads: archives can hold several that are named alike.
    pickled = torch._C.PyTorchFileReader(str(file)).get_record("data.pkl")
    found = list(_instructions(pickled, enumeration))
    for number, one in enumerate(found):
        if one == "enumeration" and (number == 0 or found[number - 1] != "getattr"):
            return False
        if one == "getattr" and found[number + 1 : number + 5] != _BEHIND:
            return False
    return True


def _instructions(pickled: bytes, enumeration: type[Enum]) -> Iterator[str]:
    """What each pushes (getattr, enumeration, member: a name of one), else pickle's name of it.

    Those that only put into the memo what they leave on the stack are left out.
    """
    own = f"{enumeration.__module__} {enumeration.__qualname__}"
    memo: dict[int, str] = {}
    last = ""
    for code, argument, _ in pickletools.genops(pickled):
        if code.name in _PUTS:
            memo[int(argument or 0)] = last
            continue
        last = code.name
        if code.name == "GLOBAL" and argument in _GETATTR_NAMES:
            last = "getattr"
        elif code.name == "GLOBAL" and argument == own:
            last = "enumeration"
        elif code.name in _NAMES and argument in enumeration.__members__:
            last = "member"
        elif code.name in _GETS:
            last = memo.get(int(argument or 0), code.name)
        yield last
