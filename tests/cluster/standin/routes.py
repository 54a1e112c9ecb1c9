"""Routes of the stand-in master: what is answered where."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


# Called with the Master, the path's match, the query and the body.
Handler = Callable[[Any, re.Match[str], dict[str, str], Any], Any]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(pattern), handler))
        return handler

    return add
