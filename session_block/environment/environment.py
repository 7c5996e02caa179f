"""One object for all that the core takes from the world around it.

Sessions, submissions, records, ledger, experiments and costs read the time, pause, mint IDs, draw
random numbers, look at processes and open stores through it alone (``tests/test_architecture.py``),
so a simulated world can take its place: make a subclass, and give it to the
:class:`~session_block.ledger.store.Ledger`, which hands it on to everything above. The real one is
:data:`session_block.ledger.store.REAL`.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from session_block import aio
from session_block.environment.process import ProcessIdentity, process_start, this_process


class Environment:
    """The real world.

    Attributes:
        random: For what need not be repeated, such as the jitter of a pause. Draws that an
            experiment depends on belong into ``experiment.once``.
        live_attempts: Tokens of the attempts that this process is at; see
            :mod:`session_block.records.sender`.
        lock: Guards ``live_attempts``.

    Args:
        open_store: Opens the store at a URL, a :class:`~session_block.ledger.store.Store`.
    """

    def __init__(self, open_store: Callable[[str], Any]) -> None:
        self.open_store = open_store
        self.random = random.Random()  # noqa: S311 - no secret
        self.live_attempts: set[str] = set()
        self.lock = threading.Lock()

    def now(self) -> datetime:
        """Return the wall clock's time, in UTC. Another machine's may differ."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds of a clock that is never set, from an arbitrary start."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Sleep. A call that nobody waits for any more ends here.

        Raises:
            asyncio.CancelledError: Nobody waits for the call any more.
        """
        aio.pause(seconds)

    def new_id(self) -> str:
        """Return an ID that nobody else has: 32 hexadecimal digits."""
        return uuid4().hex

    def pid(self) -> int:
        """Return the ID of the process that calls; a fork has its own."""
        return os.getpid()

    def process(self) -> ProcessIdentity:
        """Return the identity of the process that calls, which other machines can compare."""
        return this_process()

    def process_start(self, pid: int) -> float | None:
        """Return when a process of this machine started; ``None`` if it is gone."""
        return process_start(pid)
