"""Events and progress of an experiment, for those who watch it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """One value of an experiment's objective.

    Attributes:
        value: The value.
        error: Its standard error.
    """

    value: float
    error: float = 0.0


class Progress:
    """How far an experiment is, as its own code reports it in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: list[Point] = []
        self.total: int | None = None

    @property
    def points(self) -> list[Point]:
        """The objective's values so far, in order."""
        with self._lock:
            return list(self._points)

    def add(self, point: Point) -> None:
        """Add the objective's next value."""
        with self._lock:
            self._points.append(point)


class EventKind(StrEnum):
    """What can happen to an experiment."""

    SESSION_OPENED = "session.opened"
    SESSION_REATTACHED = "session.reattached"
    SESSION_RENEWED = "session.renewed"
    SESSION_NEAR_ITS_END = "session.near-its-end"
    SESSION_CLOSED = "session.closed"
    JOB_SUBMITTED = "job.submitted"
    JOB_ADOPTED = "job.adopted"
    JOB_QUEUED = "job.queued"
    JOB_RUNNING = "job.running"
    JOB_DONE = "job.done"
    JOB_FAILED = "job.failed"
    SUBMISSION_HELD = "submission.held"
    BUDGET_NEAR = "budget.near"
    WAIT_ENDED = "wait.ended"
    """A wait for a job is over, for whatever reason; of interest to this process only."""


@dataclass(frozen=True)
class Event:
    """One thing that has happened.

    Attributes:
        kind: What has happened.
        subject: ID of the session, job or submission concerned.
        text: Details for people.
        moment: When it happened, by this machine's clock.
    """

    kind: EventKind
    subject: str
    text: str = ""
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def noun(self) -> str:
        """What is concerned: ``session``, ``job``, ``submission``, ``budget`` or ``wait``."""
        return self.kind.partition(".")[0]


Listener = Callable[[Event], None]


class EventBus:
    """Passes events to listeners. A listener's error is logged, and never fails a run."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    def subscribe(self, listener: Listener) -> None:
        """Pass every later event to a listener. It should return at once: the run waits for it."""
        with self._lock:
            self._listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Pass no more events to a listener."""
        with self._lock:
            self._listeners = [one for one in self._listeners if one != listener]

    def silence(self) -> None:
        """Pass no more events to anybody, as when the process ends."""
        with self._lock:
            self._listeners = []

    def publish(self, event: Event) -> None:
        """Pass an event to the listeners."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                _logger.exception("Watching %s failed; the run goes on.", event.kind)
