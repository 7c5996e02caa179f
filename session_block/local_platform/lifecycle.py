"""The life of a session as pure functions of its record, facts about its jobs, and the time.

Every timed transition is stamped with the moment it was due, not with the moment somebody
looked, so that the result does not depend on when or how often a session is read. Callers
advance a session *before* they change its jobs.

Source: IBM's public documentation of execution modes. What it leaves open is this platform's
choice: a queued job keeps a session from going inactive, and a session whose queued jobs were all
cancelled before any ran counts its 30 unused minutes from the last of those cancellations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

DEFAULT_MAX_TTL = 28_800
MAX_TTL_LIMIT = 28_800
DEFAULT_INTERACTIVE_TTL = 60
UNUSED_TTL = 1_800

SessionMode = Literal["dedicated", "batch"]
SessionState = Literal["open", "active", "inactive", "closed"]

CLOSED_MAX_TIME = "maximum time reached"
CLOSED_BY_USER = "closed by the user"
CLOSED_UNUSED = "no job within 30 minutes"


@dataclass(frozen=True)
class Transition:
    """The moment at which a session entered a state."""

    status: SessionState
    timestamp: float


@dataclass(frozen=True)
class Session:
    """All that the platform knows of a session, apart from its jobs. Times are Unix seconds."""

    id: str
    mode: SessionMode
    backend: str | None
    instance: str
    max_ttl: int
    interactive_ttl: int
    created_at: float
    state: SessionState = "open"
    state_reason: str | None = None
    accepting_jobs: bool = True
    started_at: float | None = None
    activated_at: float | None = None
    closed_at: float | None = None
    last_job_started: float | None = None
    last_job_completed: float | None = None
    active_since: float | None = None
    active_seconds: float = 0.0
    timestamps: tuple[Transition, ...] = ()


@dataclass(frozen=True)
class JobFacts:
    """What a session's life depends on in its jobs: how many wait and run, and since when none."""

    queued: int = 0
    running: int = 0
    idle_since: float | None = None
    usage_seconds: float = 0.0

    @property
    def pending(self) -> int:
        """Number of jobs that have not ended."""
        return self.queued + self.running


def opened(session: Session) -> Session:
    """Return a new session with its first transition noted."""
    return replace(session, timestamps=(Transition("open", session.created_at),))


def advance(session: Session, jobs: JobFacts, now: float) -> Session:
    """Return the session after every timed transition that was due by ``now``.

    A session that closes here may still have queued jobs; the caller fails them.
    """
    if session.state == "closed":
        return session
    if session.started_at is not None:
        end = session.started_at + session.max_ttl
        session = _rest_if_idle(session, jobs, min(now, end))
        if now >= end:
            return _close(session, jobs, end, CLOSED_MAX_TIME)
    if not session.accepting_jobs and not jobs.pending:
        return _close(session, jobs, _latest(session.created_at, jobs.idle_since), CLOSED_BY_USER)
    if session.started_at is None and not jobs.pending:
        end = _latest(session.created_at, jobs.idle_since) + UNUSED_TTL
        if now >= end:
            return _close(session, jobs, end, CLOSED_UNUSED)
    return session


def job_started(session: Session, now: float) -> Session:
    """Return an unclosed session whose next job starts to run: it becomes active."""
    if session.state != "active":
        session = replace(
            session,
            state="active",
            activated_at=now,
            timestamps=(*session.timestamps, Transition("active", now)),
        )
    return replace(
        session,
        started_at=now if session.started_at is None else session.started_at,
        active_since=now if session.active_since is None else session.active_since,
        last_job_started=now,
    )


def job_ended(session: Session, jobs: JobFacts, now: float) -> Session:
    """Return the session after a running job ended; ``jobs`` no longer counts it as running."""
    session = replace(session, last_job_completed=now)
    if session.state == "closed":
        return session if jobs.running else _end_usage(session, now)
    return advance(session, jobs, now)


def stop_accepting(session: Session, jobs: JobFacts, now: float) -> Session:
    """Return the session after ``accepting_jobs: false``: closed at once if nothing is pending.

    For a cancellation the caller first cancels the queued jobs and leaves the running one.
    """
    if session.state == "closed":
        return session
    session = replace(session, accepting_jobs=False)
    return session if jobs.pending else _close(session, jobs, now, CLOSED_BY_USER)


def elapsed_seconds(session: Session, jobs: JobFacts, now: float) -> float:
    """Return the usage: wall clock while active, or for a batch the sum of its jobs' usage."""
    if session.mode == "batch":
        return jobs.usage_seconds
    running = 0.0 if session.active_since is None else max(0.0, now - session.active_since)
    return session.active_seconds + running


def remaining_seconds(session: Session, now: float) -> int:
    """Return how many whole seconds of the maximum time are left; all of them before the start."""
    if session.state == "closed":
        return 0
    if session.started_at is None:
        return session.max_ttl
    return max(0, int(session.max_ttl - (now - session.started_at)))


def _rest_if_idle(session: Session, jobs: JobFacts, until: float) -> Session:
    if session.state != "active" or jobs.pending:
        return session
    due = _latest(session.activated_at or session.created_at, jobs.idle_since)
    due += session.interactive_ttl
    if due > until:
        return session
    session = _end_usage(session, due)
    return replace(
        session,
        state="inactive",
        timestamps=(*session.timestamps, Transition("inactive", due)),
    )


def _close(session: Session, jobs: JobFacts, moment: float, reason: str) -> Session:
    if not jobs.running:
        session = _end_usage(session, moment)
    return replace(
        session,
        state="closed",
        state_reason=reason,
        accepting_jobs=False,
        closed_at=moment,
        timestamps=(*session.timestamps, Transition("closed", moment)),
    )


def _end_usage(session: Session, moment: float) -> Session:
    if session.active_since is None:
        return session
    seconds = session.active_seconds + max(0.0, moment - session.active_since)
    return replace(session, active_since=None, active_seconds=seconds)


def _latest(first: float, second: float | None) -> float:
    return first if second is None else max(first, second)
