"""How sessions live, told a second time and in another way: second by second.

The platform computes the moments of its transitions; this model only ever asks what happens in
the next second. Whole seconds are enough, since all durations of the test are whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from session_block.local_platform.workloads.session_lifecycle import (
    CLOSED_EARLY,
    CLOSED_MAX_TIME,
    CLOSED_UNUSED,
    CREATED,
    INACTIVATED,
)

UNUSED_SECONDS = 1800


@dataclass
class ModelJob:
    """A job: the second since which it runs, and what became of it."""

    session: ModelSession | None
    state: str = "Queued"
    since: int = 0
    code: int | None = None


@dataclass
class ModelSession:
    """A session of one backend, with its states and the second at which each began."""

    mode: str
    max_ttl: int
    interactive_ttl: int
    opened: int
    history: list[tuple[str, int]] = field(default_factory=list)
    accepting: bool = True
    started: int | None = None
    idle_for: int = 0
    used: int = 0
    reason: str = CREATED

    @property
    def state(self) -> str:
        """The present state."""
        return self.history[-1][0]


class Model:
    """One backend whose jobs all take ``job_seconds``."""

    def __init__(self, job_seconds: int) -> None:
        self.job_seconds = job_seconds
        self.now = 0
        self.sessions: list[ModelSession] = []
        self.jobs: list[ModelJob] = []

    def open(self, mode: str, max_ttl: int, interactive_ttl: int) -> ModelSession:
        """Open a session."""
        session = ModelSession(mode, max_ttl, interactive_ttl, self.now, [("open", self.now)])
        self.sessions.append(session)
        return session

    def submit(self, session: ModelSession | None) -> ModelJob | None:
        """Submit a job; None if its session takes none."""
        if session is not None and (session.state == "closed" or not session.accepting):
            return None
        job = ModelJob(session)
        self.jobs.append(job)
        self._start()
        return job

    def cancel_job(self, job: ModelJob) -> bool:
        """Cancel a job; False if it has ended."""
        if job.state not in ("Queued", "Running"):
            return False
        if job.state == "Running":
            self._charge(job)
        job.state = "Cancelled"
        self._note_idle(job.session)
        self._start()
        return True

    def stop_accepting(self, session: ModelSession, *, cancel: bool) -> None:
        """Close a session, or cancel it."""
        for job in self.jobs:
            if cancel and job.session is session and job.state == "Queued":
                if session.mode == "batch":
                    job.state, job.code = "Failed", 1217
                else:
                    job.state = "Cancelled"
                session.idle_for = 0
        session.accepting = False
        if session.state != "closed" and not self._pending(session):
            self._close(session, CLOSED_EARLY)
        self._start()

    def accept_again(self, session: ModelSession) -> None:
        """Let a session accept jobs again, which wakes no closed one."""
        session.accepting = True

    def pass_seconds(self, seconds: int) -> None:
        """Let time go by, one second after the other."""
        for _ in range(seconds):
            self.now += 1
            self._count_usage()
            for session in self.sessions:
                self._age(session)
            for job in self.jobs:
                if job.state == "Running" and self.now - job.since >= self.job_seconds:
                    job.state = "Completed"
                    self._charge(job)
                    self._note_idle(job.session)
            self._start()

    def _count_usage(self) -> None:
        for session in self.sessions:
            runs = any(job.session is session and job.state == "Running" for job in self.jobs)
            if session.mode == "dedicated" and (runs or session.state == "active"):
                session.used += 1

    def _charge(self, job: ModelJob) -> None:
        """A batch is charged with each job's time when the job has ended."""
        if job.session is not None and job.session.mode == "batch":
            job.session.used += self.now - job.since

    def _age(self, session: ModelSession) -> None:
        if session.state == "closed":
            return
        session.idle_for = 0 if self._pending(session) else session.idle_for + 1
        if session.started is not None and self.now - session.started >= session.max_ttl:
            if session.state == "active" and session.idle_for == session.interactive_ttl:
                # Both are due in this second, and the maximum time ends the session for good.
                session.idle_for = 0
            self._close(session, CLOSED_MAX_TIME)
        elif session.started is None and session.idle_for >= UNUSED_SECONDS:
            self._close(session, CLOSED_UNUSED)
        elif session.state == "active" and session.idle_for >= session.interactive_ttl:
            session.history.append(("inactive", self.now))
            session.reason = INACTIVATED

    def _close(self, session: ModelSession, reason: str) -> None:
        session.accepting = False
        session.reason = reason
        session.history.append(("closed", self.now))
        for job in self.jobs:
            if job.session is session and job.state == "Queued":
                job.state, job.code = "Failed", 1217

    def _note_idle(self, session: ModelSession | None) -> None:
        if session is None or self._pending(session):
            return
        session.idle_for = 0
        if not session.accepting and session.state != "closed":
            self._close(session, CLOSED_EARLY)

    def _start(self) -> None:
        if any(job.state == "Running" for job in self.jobs):
            return
        holders = [
            session
            for session in self.sessions
            if session.mode == "dedicated" and session.state == "active"
        ]
        for job in self.jobs:
            if job.state == "Queued" and (not holders or job.session in holders):
                job.state, job.since = "Running", self.now
                session = job.session
                if session is not None:
                    session.started = self.now if session.started is None else session.started
                    if session.state != "active":
                        session.history.append(("active", self.now))
                        session.reason = CREATED
                return

    def _pending(self, session: ModelSession) -> bool:
        return any(
            job.session is session and job.state in ("Queued", "Running") for job in self.jobs
        )
