"""What the stand-in master was asked, in order; and the faults that it plays."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request as it arrived: `status` is what was answered, None where nothing was."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int | None

    def is_a(self, method: str, pattern: str) -> bool:
        return bool(re.fullmatch(method, self.method) and re.fullmatch(pattern, self.path))


class RequestLog:
    """Every request, in the order of arrival."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def matching(self, method: str, pattern: str) -> list[Request]:
        with self._lock:
            return [request for request in self._requests if request.is_a(method, pattern)]


@dataclass
class Fault:
    """What happens to matching requests: `before` they are handled and `after`, `times` times.

    `status` answers in the handler's place; `delay_s` waits before the answer is sent; `before` and
    `after` get the request's body.
    """

    method: str
    pattern: str
    times: int = 1
    status: int | None = None
    delay_s: float = 0.0
    before: Callable[[Any], None] | None = None
    after: Callable[[Any], None] | None = None
    when: Callable[[Any], bool] = field(default=lambda body: True)

    def meets(self, method: str, path: str, body: Any) -> bool:
        if self.times <= 0 or method != self.method or not re.fullmatch(self.pattern, path):
            return False
        return self.when(body)


class Faults:
    """The faults that are still to be played."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def take(self, method: str, path: str, body: Any) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.meets(method, path, body):
                    fault.times -= 1
                    return fault
        return None
