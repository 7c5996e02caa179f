"""The thread that starts and ends jobs and lets sessions and limits end, in order of time."""

from __future__ import annotations

import json
import logging
import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from session_block.local_platform.workloads.job_records import (
    MAX_TIME_CODE,
    MAX_TIME_REASON,
    MAX_TIME_SOLUTION,
    Outcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.workloads.job_records import ClaimedJob
    from session_block.local_platform.workloads.queue import Runs

_LOOK_SECONDS = 0.5
_LOGGER = logging.getLogger(__name__)


@dataclass
class _Run:
    """A running job. ``outcome`` and ``known_at`` are set when its simulation ends."""

    job: ClaimedJob
    seconds: float
    abandoned: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    known_at: float = 0.0

    @property
    def end(self) -> float:
        """The moment at which the job ends, or reaches its limit while its outcome is unknown."""
        return min(self._full_end, self.job.running_at + self.job.limit)

    def outcome_at_end(self) -> Outcome:
        """Return the outcome of the run, or a cancellation if the job reaches its limit first."""
        if self.outcome is not None and self._full_end <= self.job.running_at + self.job.limit:
            return self.outcome
        return Outcome(
            "cancelled",
            reason=MAX_TIME_REASON,
            reason_code=MAX_TIME_CODE,
            reason_solution=MAX_TIME_SOLUTION,
        )

    @property
    def _full_end(self) -> float:
        if self.outcome is None:
            return math.inf
        seconds = self.seconds + (self.outcome.qpu_seconds or 0.0)
        if self.outcome.state == "failed" and self.job.ending is None:
            seconds = 0.0
        return max(self.job.running_at + seconds, self.known_at)


class Engine(threading.Thread):
    """Starts queued jobs, ends running jobs and lets sessions expire, each when it is due.

    Args:
        runs: The running jobs in the store.
        clock: The platform's clock; the engine holds it when something is due.
        simulate: Runs a job's circuits and returns the outcome, or None if the event was set in
            the meantime. Called in one thread per job.
        job_seconds: The QPU time of a job on a backend, without the time of its circuits.
        is_paused: Whether a backend is paused and so starts no jobs.
        after_turn: Called when the engine has done everything that was due.
    """

    def __init__(
        self,
        runs: Runs,
        clock: Clock,
        *,
        simulate: Callable[[ClaimedJob, threading.Event], Outcome | None],
        job_seconds: Callable[[str], float],
        is_paused: Callable[[str], bool],
        after_turn: Callable[[], None],
    ) -> None:
        super().__init__(name="engine", daemon=True)
        self._runs = runs
        self._clock = clock
        self._simulate = simulate
        self._job_seconds = job_seconds
        self._is_paused = is_paused
        self._after_turn = after_turn
        self._woken = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, _Run] = {}
        self._stopping = False

    def wake(self) -> None:
        """Make the engine look now, because something has changed."""
        self._woken.set()

    def abandon(self, job_id: str) -> None:
        """Drop a cancelled job if it is running, and stop its simulation."""
        with self._lock:
            run = self._running.pop(job_id, None)
        if run is not None:
            run.abandoned.set()
        self.wake()

    def stop(self) -> None:
        """Stop the thread and the simulations; running jobs stay as they are in the store."""
        self._stopping = True
        self.wake()
        self.join()
        with self._lock:
            for run in self._running.values():
                run.abandoned.set()

    def run(self) -> None:
        """Work until stopped."""
        while not self._stopping:
            self._woken.clear()
            try:
                pause = self._turn()
            except Exception:
                _LOGGER.exception("a turn of the engine failed; trying again")
                pause = _LOOK_SECONDS
            if pause > 0:
                self._woken.wait(min(pause, _LOOK_SECONDS))

    def _turn(self) -> float:
        """Do everything due, let the clock run on, and return the seconds until more is due."""
        mark, now = self._clock.look()
        while self._do_first_due(now):
            pass
        next_start = self._start_jobs(now)
        self._after_turn()
        upcoming = [moment for moment in (next_start, self._next_due(now)) if moment is not None]
        with self._lock:
            unknown = [run.job.running_at for run in self._running.values() if run.outcome is None]
        if not self._clock.release(mark, min([*upcoming, *unknown], default=math.inf)):
            return 0.0
        return self._clock.seconds_until(min(upcoming, default=math.inf))

    def _do_first_due(self, now: float) -> bool:
        """Carry out the first change that was due by ``now``, if there is one."""
        ending = self._first_to_end()
        change = self._runs.next_change(now)
        if change and change.moment <= now and (not ending or change.moment <= ending.end):
            self._runs.carry_out(change)
            return True
        if ending is None or ending.end > now:
            return False
        with self._lock:
            self._running.pop(ending.job.id, None)
        ending.abandoned.set()
        self._runs.finish(ending.job.id, ending.outcome_at_end(), ending.end)
        return True

    def _next_due(self, now: float) -> float | None:
        ending = self._first_to_end()
        change = self._runs.next_change(now)
        moments = [ending.end] if ending else []
        return min([*moments, change.moment] if change else moments, default=None)

    def _first_to_end(self) -> _Run | None:
        with self._lock:
            return min(self._running.values(), key=lambda run: run.end, default=None)

    def _start_jobs(self, now: float) -> float | None:
        """Start the jobs that can start now; return when the first of the others may start."""
        later = []
        for backend in self._runs.free_backends():
            if self._is_paused(backend):
                continue
            turn = self._runs.claim(backend, now)
            if isinstance(turn, float):
                later.append(turn)
            elif turn is not None:
                self._start(turn, now)
        return min(later, default=None)

    def _start(self, job: ClaimedJob, now: float) -> None:
        run = _Run(job, self._job_seconds(job.backend))
        if job.ending is not None:
            plan = json.loads(job.ending)
            seconds = plan.pop("after_seconds")
            run.seconds = run.seconds if seconds is None else seconds
            run.outcome, run.known_at = Outcome(**plan), now
        with self._lock:
            self._running[job.id] = run
        if run.outcome is None:
            threading.Thread(
                target=self._see_through, args=(run,), name=f"job {job.id}", daemon=True
            ).start()

    def _see_through(self, run: _Run) -> None:
        outcome = self._simulate(run.job, run.abandoned)
        if outcome is not None:
            with self._lock:
                run.known_at, run.outcome = self._clock.pin(), outcome
            self.wake()
