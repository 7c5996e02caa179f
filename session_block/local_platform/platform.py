"""The platform as one object: its parts, started and stopped in the right order."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from typing import TYPE_CHECKING, Any

from session_block.local_platform.clock import NATURAL, Clock, Reading
from session_block.local_platform.config.accounts import Accounts
from session_block.local_platform.devices.backends import DEVICES, Backends, Device
from session_block.local_platform.execution.simulation import Simulation
from session_block.local_platform.execution.worker_pool import WorkerPool
from session_block.local_platform.faults.registry import Faults
from session_block.local_platform.stats import Stats
from session_block.local_platform.workloads.charges import Charging
from session_block.local_platform.workloads.engine import Engine
from session_block.local_platform.workloads.jobs import Jobs
from session_block.local_platform.workloads.queue import Runs
from session_block.local_platform.workloads.sessions import Sessions
from session_block.local_platform.workloads.store import Store
from session_block.local_platform.workloads.usage import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from session_block.local_platform.config.state import Identity
    from session_block.local_platform.config.tenancy import Instance
    from session_block.local_platform.workloads.session_lifecycle import HowToEnd

MAX_WORKERS = 2
_FLUSH_SECONDS = 0.5
_LOGGER = logging.getLogger(__name__)


class Platform:
    """The store, clock, accounts, backends, jobs and sessions that the API's routes work with.

    Attributes:
        owner_key: What opens the platform's own operations. It is as old as this object: a page
            that is still open sends it to whatever comes to listen on the port after the server.
    """

    def __init__(self, state_dir: Path, identity: Identity) -> None:
        settings = identity.settings
        self.identity = identity
        self.owner_key = secrets.token_hex(32)
        self.store = Store(state_dir / "platform.sqlite")
        self.clock = Clock(settings.time_scale, self._last_reading())
        self.accounts = Accounts(identity)
        devices = {name: Device(name, recording) for name, recording in identity.devices}
        self.backends = Backends(self.store, self.clock, settings.seed, {**DEVICES, **devices})
        instances = [one for account in identity.accounts for one in account.instances]
        self.usage = Usage({one.crn: one.usage_limit_seconds for one in instances})
        charging = Charging(settings.charges)
        self.sessions = Sessions(self.store, self.clock, self.usage, settings)
        self.jobs = Jobs(self.store, self.sessions, self.clock, charging, settings)
        self.faults = Faults(self.store, self.clock)
        self.stats = Stats(self.store)
        others_seconds = settings.other_jobs * settings.other_job_seconds
        self._runs = Runs(self.store, self.sessions, self.usage, charging, others_seconds)
        self._pool = WorkerPool(max(1, min(MAX_WORKERS, os.cpu_count() or 1)))
        simulation = Simulation(self._pool, self.backends, settings)
        self.engine = Engine(
            self._runs,
            self.clock,
            simulate=simulation.run,
            job_seconds=simulation.job_seconds,
            is_paused=self.is_in_maintenance,
            after_turn=self._keep_held_clock,
        )
        self._stopping = threading.Event()
        self._flusher = threading.Thread(target=self._flush, name="flush", daemon=True)

    def start(self) -> None:
        """Requeue the jobs that ran when the last server ended, and start working."""
        self._runs.requeue_all()
        self.engine.start()
        self._flusher.start()

    def stop(self) -> None:
        """Stop working. Jobs that run now are run again after the next start."""
        self._stopping.set()
        self.clock.stop()
        self.engine.stop()
        self._pool.stop()
        self._flusher.join()
        self.stats.flush()
        self._keep_clock()
        self.store.close()

    def end_session(self, session_id: str, how: HowToEnd) -> None:
        """End a session now, and wake the engine to carry out what follows from it."""
        self.sessions.end(session_id, how)
        self.engine.wake()

    def accept_again(self, session_id: str) -> None:
        """Let a session accept jobs again, and wake the engine."""
        self.sessions.accept_again(session_id)
        self.engine.wake()

    def set_usage_limit(self, instance: str, seconds: int | None) -> None:
        """Give an instance (a CRN) another limit, and wake the engine."""
        self.sessions.set_usage_limit(instance, seconds)
        self.engine.wake()

    def usage_of(self, instance: Instance) -> dict[str, Any]:
        """Return the usage and the limit of an instance, as the API shows them."""
        now = self.clock.now()
        with self.store.reading() as db:
            consumed = self.usage.consumed(db, instance.crn, now)
            limit = self.usage.limit(db, instance.crn)
            reached = self.usage.reached(db, instance.crn, now)
        usage: dict[str, Any] = {
            "instance_id": instance.crn,
            "plan_id": instance.plan_id,
            # The client promises the remaining time in whole seconds.
            "usage_consumed_seconds": round(consumed),
            "usage_limit_reached": reached,
        }
        return usage if limit is None else {**usage, "usage_limit_seconds": limit}

    def advance(self, seconds: float) -> float:
        """Advance the clock through everything due in these seconds; return the new moment."""
        moment = self.clock.advance(seconds, self.engine.wake)
        self._keep_clock()
        return moment

    def is_in_maintenance(self, backend: str) -> bool:
        """Return whether a backend is paused."""
        return self.faults.in_maintenance(backend)

    def _flush(self) -> None:
        while not self._stopping.wait(_FLUSH_SECONDS):
            try:
                self.stats.flush()
            except Exception:
                _LOGGER.exception("cannot write the request counts; trying again")

    def _last_reading(self) -> Reading | None:
        with self.store.reading() as db:
            row = db.execute("SELECT moment, wall, scale FROM clock").fetchone()
        return None if row is None else Reading(*row)

    def _keep_held_clock(self) -> None:
        # A clock of natural speed needs no saving each turn: it follows the wall clock by itself.
        if self.clock.scale != NATURAL:
            self._keep_clock()

    def _keep_clock(self) -> None:
        reading = self.clock.reading()
        with self.store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO clock (id, moment, wall, scale) VALUES (1, ?, ?, ?)",
                (reading.moment, reading.wall, reading.scale),
            )
