"""Events and progress of an experiment, for those who watch it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
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
        at: The parameters at which it was taken; ``None`` if they were not told.
    """

    value: float
    error: float = 0.0
    at: tuple[float, ...] | None = None


class Progress:
    """How far an experiment is, as its own code reports it in this process.

    Attributes:
        total: The expected number of results; ``None`` if it is not known.
        exact: The exact value that is looked for; ``None`` if it is not known.
        maximised: Whether the highest value is best; otherwise the lowest is.
    """

    def __init__(self) -> None:
        self._points: list[Point] = []
        self.total: int | None = None
        self.exact: float | None = None
        self.maximised = False

    @property
    def points(self) -> list[Point]:
        """The objective's values so far, in order."""
        return list(self._points)

    def add(self, point: Point) -> None:
        """Add the objective's next value."""
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
    EXPERIMENT_STOPPED = "experiment.stopped"
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
        """What is concerned: ``session``, ``job``, ``submission``, ``experiment`` and so on."""
        return self.kind.partition(".")[0]


Listener = Callable[[Event], None]


class EventBus:
    """Passes events to listeners. A listener's error is logged, and never fails a run.

    Threads share it without a lock, which a forked child could inherit locked.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Pass every later event to a listener. It should return at once: the run waits for it."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Pass no more events to a listener."""
        with suppress(ValueError):
            self._listeners.remove(listener)

    def silence(self) -> None:
        """Pass no more events to anybody, as when the process ends."""
        self._listeners.clear()

    def publish(self, event: Event) -> None:
        """Pass an event to the listeners."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                _logger.exception("Watching %s failed; the run goes on.", event.kind)
