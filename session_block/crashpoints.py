"""The named points where a test may kill the process: before and after every effect.

Nothing happens here unless one of two environment variables is set. ``SESSION_BLOCK_CRASH_AT`` has
the form ``<point>:<passage>``, such as ``record intent, after:3``: the process kills itself
(SIGKILL) at the third passage of that point. ``SESSION_BLOCK_CRASH_LOG`` names a file; every
passage is appended to it, one point per line.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

CRASH_AT = "SESSION_BLOCK_CRASH_AT"
CRASH_LOG = "SESSION_BLOCK_CRASH_LOG"

PLATFORM_EFFECTS = (
    "connect",
    "open session",
    "look at session",
    "close session",
    "submit",
    "list jobs",
    "ask job",
    "fetch result",
    "cancel job",
)
"""The calls to the platform. The ledger's effects are named ``record <kind>``."""

_lock = threading.Lock()
_passages: Counter[str] = Counter()


@contextmanager
def around(effect: str) -> Iterator[None]:
    """Mark an effect: a test may kill the process before it and, if it succeeded, after it."""
    _pass(f"{effect}, before")
    yield
    _pass(f"{effect}, after")


def _pass(point: str) -> None:
    chosen, log = os.environ.get(CRASH_AT), os.environ.get(CRASH_LOG)
    if chosen is None and log is None:
        return
    with _lock:
        _passages[point] += 1
        if log is not None:
            with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123 - appended in one write
                file.write(f"{point}\n")
        if chosen == f"{point}:{_passages[point]}":
            os.kill(os.getpid(), signal.SIGKILL)
