"""Sessions in the store: open, read and end them, and advance them with time and jobs."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from session_block.local_platform.clock import iso
from session_block.local_platform.errors import not_found
from session_block.local_platform.workloads import session_lifecycle
from session_block.local_platform.workloads.session_lifecycle import (
    CLOSED_COST_LIMIT,
    CLOSED_EARLY,
    CLOSED_MAX_TIME,
    JobFacts,
    Session,
    SessionMode,
    Transition,
)
from session_block.local_platform.workloads.store import next_arrival

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.config.state import Settings
    from session_block.local_platform.workloads.session_lifecycle import HowToEnd
    from session_block.local_platform.workloads.store import Store
    from session_block.local_platform.workloads.usage import Usage

SESSION_CLOSED_CODE = 1217
# The advice of IBM's registry (docs).
_SESSION_CLOSED_SOLUTION = (
    "Open a session with a longer max_time, or submit its jobs with less time between them."
)


class Sessions:
    """All sessions of the platform.

    Methods that take a connection first work inside the caller's transaction. If they take ``now``
    too, they work at that moment.
    """

    def __init__(self, store: Store, clock: Clock, usage: Usage, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._usage = usage
        self._settings = settings

    def open(
        self,
        *,
        mode: SessionMode,
        backend: str | None,
        instance: str,
        account: str,
        max_ttl: int,
        interactive_ttl: int,
        active_ttl: int | None,
        pending_seconds: float,
    ) -> Session:
        """Create a session and return it."""
        session = session_lifecycle.opened(
            Session(
                # Real: a session's ID is a UUID. Sessions of earlier versions keep their IDs.
                id=str(uuid.uuid4()),
                mode=mode,
                backend=backend,
                instance=instance,
                account=account,
                max_ttl=max_ttl,
                interactive_ttl=interactive_ttl,
                active_ttl=active_ttl,
                created_at=self._clock.pin(),
                pending_seconds=pending_seconds,
            )
        )
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO sessions (seq, id, instance, account, state, mode, backend, "
                "created_at, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '')",
                (
                    next_arrival(db),
                    session.id,
                    instance,
                    account,
                    session.state,
                    mode,
                    backend,
                    session.created_at,
                ),
            )
            self._save(db, session, JobFacts())
        return session

    def get(self, session_id: str, instance: str) -> tuple[Session, JobFacts]:
        """Return a session as it is now, with the facts about its jobs.

        Raises:
            ApiError: 404 if the instance has no session with that ID.
        """
        with self._store.transaction() as db:
            self.check_owner(db, session_id, instance)
            session = self.advance(db, session_id, self._clock.now())
            return session, self.facts(db, session_id)

    def end(self, session_id: str, how: HowToEnd) -> None:
        """End a session as if a limit were reached, or close or cancel it, as a person does.

        A closed session accepts no more jobs, but its queued and running jobs still finish.
        Cancelling a session also ends its queued jobs; its running job still finishes. The cost
        limit is that of the session's instance: it ends all of the instance's sessions, and the
        instance's limit is from then on what it has used.

        Raises:
            ApiError: 404 if no session has that ID.
        """
        now = self._clock.pin()
        with self._store.transaction() as db:
            session = self.advance(db, session_id, now)
            match how:
                case "max_time":
                    self._expire(db, session_id, now, CLOSED_MAX_TIME)
                case "cost_limit" if not session.ended:
                    self._usage.exhaust(db, session.instance, now)
                    self.reach_limit(db, session.instance, now)
                case "close" | "cancel":
                    if how == "cancel":
                        self._end_queued(db, session, now)
                    facts = self.facts(db, session_id)
                    self._save(db, session_lifecycle.stop_accepting(session, facts, now), facts)

    def accept_again(self, session_id: str) -> None:
        """Let a session accept jobs again. One that has ended stays so, and still refuses them.

        Raises:
            ApiError: 404 if no session has that ID.
        """
        now = self._clock.pin()
        with self._store.transaction() as db:
            session = self.advance(db, session_id, now)
            facts = self.facts(db, session_id)
            self._save(db, session_lifecycle.accept_again(session), facts)

    def set_usage_limit(self, instance: str, seconds: int | None) -> None:
        """Give an instance another limit; if its usage has reached it, its sessions end."""
        now = self._clock.pin()
        with self._store.transaction() as db:
            self._usage.set_limit(db, instance, seconds)
            if self._usage.reached(db, instance, now):
                self.reach_limit(db, instance, now)

    def reach_limit(self, db: sqlite3.Connection, instance: str, now: float) -> None:
        """End all sessions and batches of an instance whose usage has reached its limit.

        They end at once, running jobs finish, and pending ones are cancelled (docs).
        """
        rows = db.execute(
            "SELECT id FROM sessions WHERE instance=? "
            "AND state NOT IN ('pending_closed', 'closed') ORDER BY seq",
            (instance,),
        )
        for row in rows.fetchall():
            self._expire(db, row["id"], now, CLOSED_COST_LIMIT)

    def check_owner(self, db: sqlite3.Connection, session_id: str, instance: str) -> None:
        """Check that a session belongs to the instance.

        Raises:
            ApiError: 404 if the instance has no session with that ID.
        """
        found = db.execute(
            "SELECT 1 FROM sessions WHERE id=? AND instance=?", (session_id, instance)
        ).fetchone()
        if found is None:
            raise not_found("Session", session_id)

    def first_due(self, db: sqlite3.Connection) -> tuple[float, str] | None:
        """Return the moment of the next timed transition of any session, and the session's ID."""
        row = db.execute(
            "SELECT due_at, id FROM sessions WHERE due_at IS NOT NULL ORDER BY due_at, seq LIMIT 1"
        ).fetchone()
        return None if row is None else (row["due_at"], row["id"])

    def advance(self, db: sqlite3.Connection, session_id: str, now: float) -> Session:
        """Apply the timed transitions that are due; if the session has ended, fail its queued jobs.

        Raises:
            ApiError: 404 if no session has that ID.
        """
        session = self._load(db, session_id)
        facts = self.facts(db, session_id)
        advanced = session_lifecycle.advance(session, facts, now)
        if advanced.ended and facts.queued:
            moment = advanced.timestamps[-1].timestamp
            by_limit = advanced.state_reason == CLOSED_COST_LIMIT
            setting = self._settings.cost_limit_jobs if by_limit else self._settings.max_time_jobs
            if setting == "failed":
                self._fail_queued(db, session_id, moment, str(advanced.state_reason))
            else:
                self._cancel_queued(db, session_id, moment)
            facts = self.facts(db, session_id)
        self._save(db, advanced, facts)
        return advanced

    def job_started(self, db: sqlite3.Connection, session_id: str, now: float) -> None:
        """Record that a job of the session starts to run; its row already says so."""
        session = session_lifecycle.job_started(self._load(db, session_id), now)
        self._save(db, session, self.facts(db, session_id))

    def job_ended(self, db: sqlite3.Connection, session_id: str, now: float) -> None:
        """Record that a running job of the session has ended; its row already says so."""
        facts = self.facts(db, session_id)
        self._save(db, session_lifecycle.job_ended(self._load(db, session_id), facts, now), facts)

    def assign_backend(self, db: sqlite3.Connection, session: Session, backend: str) -> None:
        """Bind a session that was opened without a backend to the backend of its first job."""
        bound = replace(session, backend=backend)
        self._save(db, bound, self.facts(db, session.id))

    def facts(self, db: sqlite3.Connection, session_id: str) -> JobFacts:
        """Return the facts about the session's jobs that its life depends on."""
        row = db.execute(
            "SELECT COALESCE(SUM(state='queued'), 0) AS queued, "
            "COALESCE(SUM(state='running'), 0) AS running, "
            "MAX(finished_at) AS idle_since, COALESCE(SUM(usage_seconds), 0) AS usage "
            "FROM jobs WHERE session_id=?",
            (session_id,),
        ).fetchone()
        return JobFacts(row["queued"], row["running"], row["idle_since"], row["usage"])

    def all(self, db: sqlite3.Connection, instance: str) -> Iterable[tuple[int, Session]]:
        """Return every session that an instance ever opened, with its arrival number, in order."""
        rows = db.execute(
            "SELECT seq, record FROM sessions WHERE instance=? ORDER BY seq", (instance,)
        )
        return [(row["seq"], _parse(row["record"])) for row in rows.fetchall()]

    def _expire(self, db: sqlite3.Connection, session_id: str, now: float, reason: str) -> None:
        session = self.advance(db, session_id, now)
        facts = self.facts(db, session_id)
        self._save(db, session_lifecycle.expire(session, facts, now, reason), facts)
        self.advance(db, session_id, now)

    def _end_queued(self, db: sqlite3.Connection, session: Session, now: float) -> None:
        """End the queued jobs of a session that is cancelled.

        Those of a batch fail with IBM's code (real). What those of a dedicated
        session do is not known, so a setting says it; as jobs that their user cancels, they have
        no reason.
        """
        if session.mode == "batch" or self._settings.cancelled_session_jobs == "failed":
            self._fail_queued(db, session.id, now, CLOSED_EARLY)
        else:
            self._cancel_queued(db, session.id, now)

    @staticmethod
    def _cancel_queued(db: sqlite3.Connection, session_id: str, moment: float) -> None:
        db.execute(
            "UPDATE jobs SET state='cancelled', finished_at=? "
            "WHERE session_id=? AND state='queued'",
            (moment, session_id),
        )

    @staticmethod
    def _fail_queued(db: sqlite3.Connection, session_id: str, moment: float, why: str) -> None:
        # Real for a batch that is closed, a guess for all other ends.
        reason = f"Session {session_id} has been closed ({why}) before the job ran."
        db.execute(
            "UPDATE jobs SET state='failed', finished_at=?, reason=?, reason_code=?, "
            "reason_solution=? WHERE session_id=? AND state='queued'",
            (moment, reason, SESSION_CLOSED_CODE, _SESSION_CLOSED_SOLUTION, session_id),
        )

    @staticmethod
    def _save(db: sqlite3.Connection, session: Session, facts: JobFacts) -> None:
        fields = asdict(session)
        if session.active_ttl is None:
            # Earlier versions do not know it, and so cannot read it.
            del fields["active_ttl"]
        record = json.dumps(fields)
        due = session_lifecycle.due(session, facts)
        db.execute(
            "UPDATE sessions SET state=?, backend=?, due_at=?, active_since=?, active_seconds=?, "
            "record=? WHERE id=? AND (record != ? OR due_at IS NOT ?)",
            (
                session.state,
                session.backend,
                due,
                session.active_since,
                session.active_seconds,
                record,
                session.id,
                record,
                due,
            ),
        )

    @staticmethod
    def _load(db: sqlite3.Connection, session_id: str) -> Session:
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
        "user_id": session.account,
        "mode": session.mode,
        "state": session.state,
        "state_reason": session.state_reason,
        "accepting_jobs": session.accepting_jobs,
        "interactive_ttl": session.interactive_ttl,
        "max_ttl": session.max_ttl,
        "active_ttl": session_lifecycle.remaining_seconds(session, now),
        "created_at": iso(session.created_at),
        "started_at": iso(session.started_at),
        "activated_at": iso(session.activated_at),
        "closed_at": iso(session.closed_at),
        "last_job_started": iso(session.last_job_started),
        "last_job_completed": iso(session.last_job_completed),
        "elapsed_time": session_lifecycle.elapsed_seconds(session, facts, now),
        "timestamps": [
            {"status": entry.status, "timestamp": iso(entry.timestamp)}
            for entry in session.timestamps
        ],
    }


def _parse(text: str) -> Session:
    data = json.loads(text)
    data["timestamps"] = tuple(Transition(**entry) for entry in data["timestamps"])
    return Session(**data)
