"""Sessions in the store: read, advanced to the present, and changed with their jobs."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from session_block.local_platform import lifecycle
from session_block.local_platform.accounts import USER_ID
from session_block.local_platform.clock import iso
from session_block.local_platform.errors import not_found
from session_block.local_platform.lifecycle import JobFacts, Session, SessionMode, Transition

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.store import Store

SESSION_CLOSED_CODE = 1217


class Sessions:
    """All sessions of the platform.

    Methods whose first argument is a connection work inside the caller's transaction.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def open(
        self,
        *,
        mode: SessionMode,
        backend: str | None,
        instance: str,
        max_ttl: int,
        interactive_ttl: int,
    ) -> Session:
        """Create a session and return it."""
        session = lifecycle.opened(
            Session(
                id=new_id(),
                mode=mode,
                backend=backend,
                instance=instance,
                max_ttl=max_ttl,
                interactive_ttl=interactive_ttl,
                created_at=self._clock.now(),
            )
        )
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO sessions (id, state, mode, backend, created_at, record) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (session.id, session.state, mode, backend, session.created_at, _dump(session)),
            )
        return session

    def get(self, session_id: str) -> tuple[Session, JobFacts]:
        """Return a session as it is now, with the facts about its jobs.

        Raises:
            ApiError: 404 when there is none of that ID.
        """
        with self._store.transaction() as db:
            session = self.advance(db, session_id)
            return session, self.facts(db, session_id)

    def stop_accepting(self, session_id: str) -> None:
        """Take no more jobs; those that are queued or running still finish."""
        with self._store.transaction() as db:
            session = self.advance(db, session_id)
            facts = self.facts(db, session_id)
            self.save(db, lifecycle.stop_accepting(session, facts, self._clock.now()))

    def cancel(self, session_id: str) -> None:
        """Take no more jobs and cancel those that are queued; the running one finishes."""
        with self._store.transaction() as db:
            session = self.advance(db, session_id)
            now = self._clock.now()
            db.execute(
                "UPDATE jobs SET state='cancelled', finished_at=?, reason=? "
                "WHERE session_id=? AND state='queued'",
                (now, f"Session {session_id} was cancelled.", session_id),
            )
            facts = self.facts(db, session_id)
            self.save(db, lifecycle.stop_accepting(session, facts, now))

    def sweep(self) -> None:
        """Bring every session to the present, so that timers run out though nobody looks."""
        with self._store.transaction() as db:
            rows = db.execute("SELECT id FROM sessions WHERE state != 'closed'").fetchall()
            for row in rows:
                self.advance(db, row["id"])

    def advance(self, db: sqlite3.Connection, session_id: str) -> Session:
        """Apply the timed transitions that are due; fail the queued jobs of a session that ended.

        Raises:
            ApiError: 404 when there is none of that ID.
        """
        session = self._load(db, session_id)
        advanced = lifecycle.advance(session, self.facts(db, session_id), self._clock.now())
        if advanced != session:
            self.save(db, advanced)
        if advanced.state == "closed":
            reason = (
                f"Session {session_id} has been closed ({advanced.state_reason}) "
                "before the job ran."
            )
            # Which state and code IBM gives such jobs is not public: this is the platform's choice.
            db.execute(
                "UPDATE jobs SET state='failed', finished_at=?, reason=?, reason_code=? "
                "WHERE session_id=? AND state='queued'",
                (
                    advanced.closed_at,
                    reason,
                    SESSION_CLOSED_CODE,
                    session_id,
                ),
            )
        return advanced

    def job_started(self, db: sqlite3.Connection, session_id: str, now: float) -> None:
        """Note that a job of the session, which has just been advanced, starts to run."""
        self.save(db, lifecycle.job_started(self._load(db, session_id), now))

    def job_ended(self, db: sqlite3.Connection, session_id: str, now: float) -> None:
        """Note that a running job of the session has ended; its row already says so."""
        facts = self.facts(db, session_id)
        self.save(db, lifecycle.job_ended(self._load(db, session_id), facts, now))

    def assign_backend(self, db: sqlite3.Connection, session: Session, backend: str) -> None:
        """Bind a session that was opened without a backend to that of its first job."""
        self.save(db, replace(session, backend=backend))

    def facts(self, db: sqlite3.Connection, session_id: str) -> JobFacts:
        """Return what the session's life depends on in its jobs."""
        row = db.execute(
            "SELECT COALESCE(SUM(state='queued'), 0) AS queued, "
            "COALESCE(SUM(state='running'), 0) AS running, "
            "MAX(finished_at) AS idle_since, COALESCE(SUM(usage_seconds), 0) AS usage "
            "FROM jobs WHERE session_id=?",
            (session_id,),
        ).fetchone()
        return JobFacts(row["queued"], row["running"], row["idle_since"], row["usage"])

    def save(self, db: sqlite3.Connection, session: Session) -> None:
        """Write a changed session."""
        db.execute(
            "UPDATE sessions SET state=?, backend=?, record=? WHERE id=?",
            (session.state, session.backend, _dump(session), session.id),
        )

    def all(self, db: sqlite3.Connection) -> Iterable[Session]:
        """Return every session ever opened, oldest first."""
        rows = db.execute("SELECT record FROM sessions ORDER BY seq").fetchall()
        return [_parse(row["record"]) for row in rows]

    def _load(self, db: sqlite3.Connection, session_id: str) -> Session:
        row = db.execute("SELECT record FROM sessions WHERE id=?", (session_id,)).fetchone()
        if row is None:
            raise not_found("Session", session_id)
        return _parse(row["record"])


def details(session: Session, facts: JobFacts, now: float) -> dict[str, Any]:
    """Return a session as the API shows it."""
    return {
        "id": session.id,
        "backend_name": session.backend,
        "instance": session.instance,
        "user_id": USER_ID,
        "mode": session.mode,
        "state": session.state,
        "state_reason": session.state_reason,
        "accepting_jobs": session.accepting_jobs,
        "interactive_ttl": session.interactive_ttl,
        "max_ttl": session.max_ttl,
        "active_ttl": lifecycle.remaining_seconds(session, now),
        "created_at": iso(session.created_at),
        "started_at": iso(session.started_at),
        "activated_at": iso(session.activated_at),
        "closed_at": iso(session.closed_at),
        "last_job_started": iso(session.last_job_started),
        "last_job_completed": iso(session.last_job_completed),
        "elapsed_time": lifecycle.elapsed_seconds(session, facts, now),
        "timestamps": [
            {"status": entry.status, "timestamp": iso(entry.timestamp)}
            for entry in session.timestamps
        ],
    }


def new_id() -> str:
    """Return an unguessable ID of 20 lower-case characters, as jobs and sessions have at IBM."""
    alphabet = "0123456789abcdefghijklmnopqrstuv"
    return "d" + "".join(secrets.choice(alphabet) for _ in range(19))


def _dump(session: Session) -> str:
    return json.dumps(asdict(session))


def _parse(text: str) -> Session:
    data = json.loads(text)
    data["timestamps"] = tuple(Transition(**entry) for entry in data["timestamps"])
    return Session(**data)
