"""One lane per backend: its jobs run one after another, in the order in which they came."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.job_records import ClaimedJob
    from session_block.local_platform.jobs import Jobs
    from session_block.local_platform.state import Settings
    from session_block.local_platform.workers import WorkerPool

_IDLE_SECONDS = 0.5
_LOGGER = logging.getLogger(__name__)


class Lanes:
    """The threads that take jobs from the store and see them through."""

    def __init__(
        self,
        backends: Iterable[str],
        jobs: Jobs,
        pool: WorkerPool,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._lanes = {name: _Lane(name, jobs, pool, settings, clock) for name in backends}

    def start(self) -> None:
        """Start to run queued jobs."""
        for lane in self._lanes.values():
            lane.start()

    def wake(self, backend: str) -> None:
        """Tell the lane of a backend that a job waits, so that it need not find out itself."""
        self._lanes[backend].wake()

    def abandon(self, job_id: str) -> None:
        """Stop caring for a job that was cancelled, if it runs."""
        for lane in self._lanes.values():
            lane.abandon(job_id)

    def stop(self) -> None:
        """Take no more jobs and leave the running ones as they are in the store."""
        for lane in self._lanes.values():
            lane.stop()


class _Lane(threading.Thread):
    def __init__(
        self, backend: str, jobs: Jobs, pool: WorkerPool, settings: Settings, clock: Clock
    ) -> None:
        super().__init__(name=f"lane {backend}", daemon=True)
        self._backend = backend
        self._jobs = jobs
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._work = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._running: tuple[str, threading.Event] | None = None

    def wake(self) -> None:
        self._work.set()

    def abandon(self, job_id: str) -> None:
        with self._lock:
            if self._running is not None and self._running[0] == job_id:
                self._running[1].set()

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            if self._running is not None:
                self._running[1].set()
        self._work.set()

    def run(self) -> None:
        while not self._stopping:
            self._work.clear()
            try:
                job = self._jobs.claim(self._backend)
                if job is None:
                    self._work.wait(_IDLE_SECONDS)
                else:
                    self._see_through(job)
            except Exception:
                if self._stopping:
                    return
                _LOGGER.exception("lane %s failed and goes on", self._backend)
                self._work.wait(_IDLE_SECONDS)

    def _see_through(self, job: ClaimedJob) -> None:
        abandoned = threading.Event()
        with self._lock:
            self._running = (job.id, abandoned)
            if self._stopping:
                abandoned.set()
        request = {
            "program": job.program,
            "backend": job.backend,
            "params": job.params,
            "noise": self._settings.noise,
            "seed": self._settings.seed,
        }
        outcome = self._pool.run(request, abandoned)
        rest = job.running_at + self._settings.job_seconds - self._clock.now()
        if rest > 0:
            abandoned.wait(rest)
        with self._lock:
            self._running = None
        if outcome is not None and not abandoned.is_set():
            self._jobs.finish(job.id, outcome)
