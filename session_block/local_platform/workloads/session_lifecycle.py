"""The life of a session as pure functions of its record, facts about its jobs, and the time.

Every timed transition is stamped with the moment it was due, not with the moment of the read, so
that the result does not depend on when or how often a session is read. Callers advance a session
*before* they change its jobs.

Source: IBM's documentation of execution modes (docs). Where it says nothing, this platform chooses
(guess):

- A queued job keeps a session from becoming inactive.
- If all queued jobs of a session are cancelled before any has run, its 30 unused minutes count
  from the last cancellation.
- ``pending_inactive`` and ``pending_closed``, which the client knows, last ``pending_seconds``.
- A session that accepts jobs again while its last ones run is as if it had never been closed.
- A session whose ``active_ttl`` is used up ends as at its maximum time.

``state_reason``: IBM's words are used where they were seen on the real service. The others are not
known; this platform's own words for them have spaces, so that nobody takes them for IBM's. It is
also a guess that a session which becomes active again is ``session_created`` again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

UNUSED_TTL = 1_800

SessionMode = Literal["dedicated", "batch"]
SessionState = Literal["open", "active", "pending_inactive", "inactive", "pending_closed", "closed"]
ENDED: tuple[SessionState, ...] = ("pending_closed", "closed")

# Real: IBM's words.
CREATED = "session_created"
CLOSED_EARLY = "session_closed_early"
INACTIVATED = "session_inactivated_by_interactive_ttl"
# Guesses: nobody has written down IBM's words for these.
CLOSED_MAX_TIME = "maximum time reached"
CLOSED_COST_LIMIT = "cost limit of the instance reached"
CLOSED_UNUSED = "no job within 30 minutes"

HowToEnd = Literal["max_time", "close", "cancel", "cost_limit"]


@dataclass(frozen=True)
class Transition:
    """When a session entered a state."""

    status: SessionState
    timestamp: float


@dataclass(frozen=True)
class Session:
    """All that the platform knows about a session except its jobs. Times are Unix seconds."""

    id: str
    mode: SessionMode
    backend: str | None
    instance: str
    account: str
    max_ttl: int
    interactive_ttl: int
    created_at: float
    pending_seconds: float = 0.0
    active_ttl: int | None = None
    state: SessionState = "open"
    state_reason: str | None = CREATED
    accepting_jobs: bool = True
    started_at: float | None = None
    activated_at: float | None = None
    closed_at: float | None = None
    last_job_started: float | None = None
    last_job_completed: float | None = None
    active_since: float | None = None
    active_seconds: float = 0.0
    timestamps: tuple[Transition, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the session has ended, so that none of its jobs can start any more."""
        return self.state in ENDED


@dataclass(frozen=True)
class JobFacts:
    """The facts about a session's jobs that its life depends on.

    ``idle_since`` is when its last job ended, or None if no job has ended.
    """

    queued: int = 0
    running: int = 0
    idle_since: float | None = None
    usage_seconds: float = 0.0

    @property
    def pending(self) -> int:
        """Number of jobs that have not ended."""
        return self.queued + self.running


def opened(session: Session) -> Session:
    """Return a new session with its first transition recorded."""
    return replace(session, timestamps=(Transition("open", session.created_at),))


def advance(session: Session, jobs: JobFacts, now: float) -> Session:
    """Return the session after all timed transitions that were due by ``now``.

    A session that has ended may still have queued jobs; the caller fails them.
    """
    while (step := _next_step(session, jobs)) is not None and step[0] <= now:
        session = step[1]
    return session


def due(session: Session, jobs: JobFacts) -> float | None:
    """Return the moment of the next timed transition, or None if nothing is due without a job."""
    step = _next_step(session, jobs)
    return None if step is None else step[0]


def job_started(session: Session, now: float) -> Session:
    """Return the session, which has not ended, after a job starts to run: it becomes active."""
    if session.state != "active":
        reason = CREATED if session.state_reason == INACTIVATED else session.state_reason
        session = replace(_entered(session, "active", now), activated_at=now, state_reason=reason)
    return replace(
        session,
        started_at=now if session.started_at is None else session.started_at,
        active_since=now if session.active_since is None else session.active_since,
        last_job_started=now,
    )


def job_ended(session: Session, jobs: JobFacts, now: float) -> Session:
    """Return the session after a running job has ended; ``jobs`` no longer counts it as running."""
    session = replace(session, last_job_completed=now)
    if session.ended and not jobs.running:
        session = _end_usage(session, now)
    return advance(session, jobs, now)


def stop_accepting(session: Session, jobs: JobFacts, now: float) -> Session:
    """Return the session after ``accepting_jobs: false``: ended at once if nothing is pending.

    To cancel a session, first end its queued jobs and leave the running one.
    """
    session = replace(session, accepting_jobs=False)
    if session.ended or jobs.pending:
        return session
    return _end(session, jobs, now, CLOSED_EARLY)


def accept_again(session: Session) -> Session:
    """Return the session after ``accepting_jobs: true``. One that has ended stays so (real)."""
    return replace(session, accepting_jobs=True)


def expire(session: Session, jobs: JobFacts, now: float, reason: str = CLOSED_MAX_TIME) -> Session:
    """Return the session as if its maximum time were over now, or another limit were reached.

    Its maximum time becomes the time since its first job, so that the details tell one story.
    """
    if session.ended:
        return session
    if reason == CLOSED_MAX_TIME:
        started_at = now - session.max_ttl if session.started_at is None else session.started_at
        session = replace(session, started_at=started_at, max_ttl=int(now - started_at))
    return _end(session, jobs, now, reason)


def elapsed_seconds(session: Session, jobs: JobFacts, now: float) -> float:
    """Return the usage in seconds: the time while active, or for a batch the sum over its jobs."""
    if session.mode == "batch":
        return jobs.usage_seconds
    return _active_seconds(session, now)


def remaining_seconds(session: Session, now: float) -> int:
    """Return the whole seconds that the session can still be active.

    Its maximum time starts with its first job, and never pauses.
    """
    if session.ended:
        return 0
    left: float = session.max_ttl
    if session.started_at is not None:
        left -= now - session.started_at
    if session.active_ttl is not None:
        left = min(left, session.active_ttl - _active_seconds(session, now))
    return max(0, int(left))


def _next_step(session: Session, jobs: JobFacts) -> tuple[float, Session] | None:
    """Return the next timed transition: its moment, and the session after it."""
    if session.state == "closed":
        return None
    steps = []
    if session.state == "pending_closed":
        if jobs.running:
            return None
        moment = _latest(_entered_at(session) + session.pending_seconds, jobs.idle_since)
        return moment, _close(session, moment)
    if not session.accepting_jobs and not jobs.pending:
        moment = _latest(session.created_at, jobs.idle_since)
        steps.append((moment, _end(session, jobs, moment, CLOSED_EARLY)))
    if session.started_at is not None:
        moment = session.started_at + session.max_ttl
        steps.append((moment, _end(session, jobs, moment, CLOSED_MAX_TIME)))
    if session.active_ttl is not None and session.active_since is not None:
        moment = session.active_since + max(0.0, session.active_ttl - session.active_seconds)
        steps.append((moment, _end(session, jobs, moment, CLOSED_MAX_TIME)))
    if session.started_at is None and not jobs.pending:
        moment = _latest(session.created_at, jobs.idle_since) + UNUSED_TTL
        steps.append((moment, _end(session, jobs, moment, CLOSED_UNUSED)))
    if session.state == "active" and not jobs.pending:
        moment = _latest(session.activated_at or session.created_at, jobs.idle_since)
        moment += session.interactive_ttl
        steps.append((moment, _rest(session, moment)))
    if session.state == "pending_inactive":
        moment = _entered_at(session) + session.pending_seconds
        steps.append((moment, _entered(session, "inactive", moment)))
    return min(steps, key=lambda step: step[0], default=None)


def _rest(session: Session, moment: float) -> Session:
    session = replace(_end_usage(session, moment), state_reason=INACTIVATED)
    return _entered(session, "pending_inactive" if session.pending_seconds else "inactive", moment)


def _end(session: Session, jobs: JobFacts, moment: float, reason: str) -> Session:
    session = replace(session, state_reason=reason, accepting_jobs=False)
    if not jobs.running:
        session = _end_usage(session, moment)
    if session.pending_seconds:
        return _entered(session, "pending_closed", moment)
    return _close(session, moment)


def _active_seconds(session: Session, now: float) -> float:
    running = 0.0 if session.active_since is None else max(0.0, now - session.active_since)
    return session.active_seconds + running


def _close(session: Session, moment: float) -> Session:
    return replace(_entered(session, "closed", moment), closed_at=moment)


def _entered(session: Session, state: SessionState, moment: float) -> Session:
    return replace(
        session, state=state, timestamps=(*session.timestamps, Transition(state, moment))
    )


def _entered_at(session: Session) -> float:
    return session.timestamps[-1].timestamp


def _end_usage(session: Session, moment: float) -> Session:
    if session.active_since is None:
        return session
    seconds = session.active_seconds + max(0.0, moment - session.active_since)
    return replace(session, active_since=None, active_seconds=seconds)


def _latest(first: float, second: float | None) -> float:
    return first if second is None else max(first, second)
