"""Who carries out an intent, and whether somebody still does.

An owner is gone when its attempt has returned, when its process is known dead, or when its
deadline has passed by the waiter's own clock. There are no heartbeats.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import psutil

from session_block.records.keys import Sender
from session_block.records.submissions import Submission

SUBMIT_DEADLINE = "SESSION_BLOCK_SUBMIT_DEADLINE_SECONDS"

SUBMIT_DEADLINE_SECONDS = 960.0
"""Longer than the client waits for the answer to a POST (900 s)."""

_live_attempts: set[str] = set()

_lock = threading.Lock()


@contextmanager
def attempt() -> Iterator[Sender]:
    """Yield the description of a live owner; it is gone when the block is left."""
    token = uuid4().hex
    with _lock:
        _live_attempts.add(token)
    try:
        yield Sender(
            token=token,
            machine=_machine(),
            boot=_boot_id(),
            pid=os.getpid(),
            started=_process_start(os.getpid()),
        )
    finally:
        with _lock:
            _live_attempts.discard(token)


def may_be_alive(owner: Sender) -> bool:
    """Whether the owner may still be at work. ``False`` is certain, ``True`` is not."""
    if owner.machine != _machine():
        return True
    if owner.boot != _boot_id():
        return False
    if owner.pid == os.getpid() and owner.started == _process_start(os.getpid()):
        with _lock:
            return owner.token in _live_attempts
    return _process_start(owner.pid) == owner.started


class SenderWatch:
    """Gives an owner that cannot be seen time until a deadline, from when its intent was met."""

    def __init__(self) -> None:
        self._first_seen: dict[tuple[str, int], float] = {}

    def may_still_send(self, recorded: Submission) -> bool:
        """Whether somebody may still send the latest generation's request."""
        latest = recorded.latest
        if latest is None or latest.outcome is not None or latest.held:
            return False
        if latest.intent.owner is None:
            # Restored or adopted: there is nobody who would still send it.
            return False
        first_seen = self._first_seen.setdefault((recorded.id, latest.number), time.monotonic())
        deadline = float(os.environ.get(SUBMIT_DEADLINE, SUBMIT_DEADLINE_SECONDS))
        within_deadline = time.monotonic() - first_seen < deadline
        return within_deadline and may_be_alive(latest.intent.owner)


def _process_start(pid: int) -> float | None:
    """Return when a process started, or ``None`` when it is gone or only waits to be reaped."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return _ticks(pid) or round(float(process.create_time()), 2)
    except psutil.NoSuchProcess:
        return None


@cache
def _machine() -> str:
    """Identify this machine, or this container: a host name alone may be given twice."""
    identity = Path("/etc/machine-id")
    return f"{socket.gethostname()}/{identity.read_text().strip() if identity.exists() else ''}"


@cache
def _boot_id() -> str:
    """Identify this boot: process IDs mean nothing outside it."""
    kernel = Path("/proc/sys/kernel/random/boot_id")
    return kernel.read_text().strip() if kernel.exists() else str(round(psutil.boot_time(), -1))


def _ticks(pid: int) -> float | None:
    """Return when a process started, since boot: setting the wall clock does not move it."""
    stat = Path(f"/proc/{pid}/stat")
    return float(stat.read_text().rpartition(")")[2].split()[19]) if stat.exists() else None
