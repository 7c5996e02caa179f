"""One object for everything that the core needs from the outside world.

Sessions, submissions, records, ledger, experiments and costs read the time, pause, make IDs, draw
random numbers, look at processes and open stores only through it (``tests/test_architecture.py``),
so a simulation can replace it: make a subclass, and give it to the
:class:`~session_block.ledger.store.Ledger`, which passes it to everything above. The real one is
:data:`session_block.ledger.store.REAL`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from session_block import aio
from session_block.environment.forks import ForkLock, renew_after_fork
from session_block.environment.process import ProcessIdentity, may_be_running, this_process


class Environment:
    """The real world.

    Attributes:
        random: For numbers that need not be reproducible, such as the jitter of a pause. Draws
            that an experiment depends on belong in ``experiment.once``.
        own_token: What the tokens of this process's attempts begin with: 16 hexadecimal digits.
        live_attempts: Tokens of the attempts that this process is working on; see
            :mod:`session_block.records.sender`.
        lock: Guards ``live_attempts``.

    Args:
        open_store: Opens the store at a URL, a :class:`~session_block.ledger.store.Store`.
    """

    def __init__(self, open_store: Callable[[str], Any]) -> None:
        self.open_store = open_store
        self.random = random.Random()  # noqa: S311 - no secret
        self.own_token = uuid4().hex[:16]
        self.live_attempts: set[str] = set()
        self.lock = ForkLock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew in a forked child: other attempts, other random numbers."""
        self.own_token = uuid4().hex[:16]
        self.live_attempts.clear()
        self.random.seed()

    def now(self) -> datetime:
        """Return the wall clock's time, in UTC. Another machine's may differ."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds of a clock that is never adjusted, from an arbitrary start."""
        return time.monotonic()

    def time_left(self, seconds: float | None) -> Callable[[], float | None]:
        """Return a function that says how many of these seconds are left; ``None`` for no limit."""
        if seconds is None:
            return lambda: None
        until = self.monotonic() + seconds
        return lambda: max(0.0, until - self.monotonic())

    def pause(self, seconds: float) -> None:
        """Sleep. An abandoned call ends here; see :mod:`session_block.aio`.

        Raises:
            asyncio.CancelledError: The call is abandoned.
        """
        aio.pause(seconds)

    def new_id(self) -> str:
        """Return a unique ID: 32 hexadecimal digits."""
        return uuid4().hex

    def pid(self) -> int:
        """Return the calling process's ID; a fork has its own."""
        return os.getpid()

    def process(self) -> ProcessIdentity:
        """Return the calling process's identity, which other machines can compare."""
        return this_process()

    def may_be_running(self, pid: int, started: float | None) -> bool:
        """Whether a process of this machine and boot may still run. ``False`` is certain.

        Args:
            pid: Its process ID.
            started: When it started, as :meth:`process` says it there.
        """
        return may_be_running(pid, started)
