"""What happens to an experiment, and how far it is, told to whoever watches it."""

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
    """What the code of an experiment has told of its progress in this process."""

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
        """Take note of the objective's next value."""
        with self._lock:
            self._points.append(point)


class EventKind(StrEnum):
    """What can happen."""

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
    """Nobody waits for a job any more, for whatever reason; of interest to this process only."""


@dataclass(frozen=True)
class Event:
    """One thing that has happened.

    Attributes:
        what: What it is.
        subject: ID of the session, job or submission that it happened to.
        text: More, for people.
    """

    what: EventKind
    subject: str
    text: str = ""
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def of(self) -> str:
        """Of what it is told: ``session``, ``job``, ``submission``, ``budget`` or ``wait``."""
        return self.what.partition(".")[0]


Listener = Callable[[Event], None]


class EventBus:
    """Tells what happens. A listener that fails is logged, and never fails a run."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    def listen(self, listener: Listener) -> None:
        """Tell a listener all that happens from now on; it should return at once."""
        with self._lock:
            self._listeners.append(listener)

    def tell(self, what: EventKind, subject: object, text: str = "") -> None:
        """Tell the listeners."""
        notice = Event(what, str(subject), text)
        for listener in self._listeners:
            try:
                listener(notice)
            except Exception:
                _logger.exception("Watching %s failed; the run goes on.", notice.what)
