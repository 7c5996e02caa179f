"""The platform as one object: its parts, started and stopped in the right order."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from session_block.local_platform.accounts import Accounts
from session_block.local_platform.backends import DEVICES, Backends
from session_block.local_platform.jobs import Jobs
from session_block.local_platform.lanes import Lanes
from session_block.local_platform.sessions import Sessions
from session_block.local_platform.stats import Stats
from session_block.local_platform.store import Store
from session_block.local_platform.workers import WorkerPool

if TYPE_CHECKING:
    from pathlib import Path

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.state import Identity

MAX_WORKERS = 2
_SWEEP_SECONDS = 0.5
_LOGGER = logging.getLogger(__name__)


class Platform:
    """All that the API's routes work with."""

    def __init__(self, state_dir: Path, identity: Identity, clock: Clock) -> None:
        self.identity = identity
        self.clock = clock
        self.store = Store(state_dir / "platform.sqlite")
        self.accounts = Accounts(identity, clock)
        self.backends = Backends()
        self.sessions = Sessions(self.store, clock)
        self.jobs = Jobs(self.store, self.sessions, clock)
        self.stats = Stats(self.store)
        self._pool = WorkerPool(max(1, min(MAX_WORKERS, os.cpu_count() or 1)))
        self.lanes = Lanes(DEVICES, self.jobs, self._pool, identity.settings, clock)
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="sweep", daemon=True)

    def start(self) -> None:
        """Queue again what was running when the server died, and start to work."""
        self.jobs.requeue_running()
        self.lanes.start()
        self._sweeper.start()

    def stop(self) -> None:
        """Stop working; what runs now is run again after the next start."""
        self._stopping.set()
        self.lanes.stop()
        self._pool.stop()
        self._sweeper.join()
        self.stats.flush()
        self.store.close()

    def _sweep(self) -> None:
        while not self._stopping.wait(_SWEEP_SECONDS):
            try:
                self.sessions.sweep()
                self.stats.flush()
            except Exception:
                _LOGGER.exception("the sweep failed and goes on")
