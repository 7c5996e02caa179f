"""The queue: which job a backend runs next, and the running jobs in the store.

A dedicated session has its backend to itself while it is active. A job outside a session, and the
first job of a session or batch that is not active, must queue: it waits behind the jobs of other
users. Apart from that, jobs run in order of arrival.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from session_block.local_platform.workloads.job_records import ClaimedJob
from session_block.local_platform.workloads.jobs import end_job, params_of

if TYPE_CHECKING:
    import sqlite3

    from session_block.local_platform.workloads.charges import Charging
    from session_block.local_platform.workloads.job_records import Outcome
    from session_block.local_platform.workloads.sessions import Sessions
    from session_block.local_platform.workloads.store import Store
    from session_block.local_platform.workloads.usage import Usage


@dataclass(frozen=True)
class Change:
    """What is due without a job: a session's transition, or the limit of an instance."""

    moment: float
    session_id: str | None = None
    instance: str | None = None


@dataclass(frozen=True)
class Turn:
    """The job to run next, or None and the earliest moment at which a job may run."""

    job_id: str | None = None
    session_id: str | None = None
    not_before: float | None = None


def backends_with_work(db: sqlite3.Connection) -> list[str]:
    """Return the backends that have queued jobs and run none."""
    rows = db.execute(
        "SELECT DISTINCT backend FROM jobs WHERE state='queued' AND backend NOT IN "
        "(SELECT backend FROM jobs WHERE state='running') ORDER BY backend"
    )
    return [row["backend"] for row in rows.fetchall()]


def next_turn(db: sqlite3.Connection, backend: str, now: float, others_seconds: float) -> Turn:
    """Return the next job to run on a free backend with queued jobs.

    ``others_seconds`` is how long the jobs of other users ahead in the queue take in total.
    """
    holder = db.execute(
        "SELECT id FROM sessions WHERE backend=? AND state='active' AND mode='dedicated' "
        "ORDER BY seq LIMIT 1",
        (backend,),
    ).fetchone()
    if holder is not None:
        row = db.execute(
            "SELECT id FROM jobs WHERE state='queued' AND session_id=? ORDER BY seq LIMIT 1",
            (holder["id"],),
        ).fetchone()
        return Turn() if row is None else Turn(row["id"], holder["id"])
    rows = db.execute(
        "SELECT jobs.id, jobs.session_id, jobs.created_at, sessions.state AS session_state "
        "FROM jobs LEFT JOIN sessions ON sessions.id=jobs.session_id "
        "WHERE jobs.state='queued' AND jobs.backend=? ORDER BY jobs.seq",
        (backend,),
    )
    queued_since: dict[str, float] = {}
    earliest = None
    for row in rows:
        since = row["created_at"]
        if row["session_id"] is not None:
            since = queued_since.setdefault(row["session_id"], since)
        ready = now if row["session_state"] == "active" else since + others_seconds
        if ready <= now:
            return Turn(row["id"], row["session_id"])
        earliest = ready if earliest is None else min(earliest, ready)
    return Turn(not_before=earliest)


class Runs:
    """The engine's changes to jobs and sessions, each in one transaction."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        usage: Usage,
        charging: Charging,
        others_seconds: float,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._usage = usage
        self._charging = charging
        self._others_seconds = others_seconds

    def requeue_all(self) -> None:
        """Requeue the jobs that the last server was running; call once, at the start."""
        with self._store.transaction() as db:
            db.execute("UPDATE jobs SET state='queued', running_at=NULL WHERE state='running'")

    def next_change(self, now: float) -> Change | None:
        """Return what is due next without a job."""
        with self._store.reading() as db:
            session = self._sessions.first_due(db)
            limit = self._usage.first_reached(db, now)
        changes = [Change(session[0], session_id=session[1])] if session else []
        changes += [Change(limit[0], instance=limit[1])] if limit else []
        return min(changes, key=lambda change: change.moment, default=None)

    def carry_out(self, change: Change) -> None:
        """Carry out what is due, at its moment."""
        with self._store.transaction() as db:
            if change.session_id is not None:
                self._sessions.advance(db, change.session_id, change.moment)
            if change.instance is not None:
                self._sessions.reach_limit(db, change.instance, change.moment)

    def free_backends(self) -> list[str]:
        """Return the backends that have queued jobs and run none."""
        with self._store.reading() as db:
            return backends_with_work(db)

    def claim(self, backend: str, now: float) -> ClaimedJob | float | None:
        """Start the next job on a free backend and return it.

        If no job may start yet, return the moment at which the next one may. Return None if an
        active session has the backend and no queued job.
        """
        with self._store.transaction() as db:
            turn = next_turn(db, backend, now, self._others_seconds)
            if turn.job_id is None:
                return turn.not_before
            db.execute(
                "UPDATE jobs SET state='running', running_at=? WHERE id=?", (now, turn.job_id)
            )
            if turn.session_id is not None:
                self._sessions.job_started(db, turn.session_id, now)
            row = db.execute("SELECT * FROM jobs WHERE id=?", (turn.job_id,)).fetchone()
            return ClaimedJob(
                id=row["id"],
                program=row["program"],
                backend=backend,
                params=params_of(db, row["id"]),
                tags=json.loads(row["tags"]),
                running_at=now,
                cost=row["cost"],
                calibration_id=row["calibration_id"],
                ending=row["ending"],
            )

    def finish(self, job_id: str, outcome: Outcome, moment: float) -> None:
        """Record how a run ended, unless the job was cancelled in the meantime."""
        with self._store.transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE id=?", (job_id,)).fetchone()
            if row["state"] != "running":
                return
            session_id = row["session_id"]
            if session_id is not None:
                self._sessions.advance(db, session_id, moment)
            end_job(db, row, outcome, now=moment, charging=self._charging)
            if session_id is not None:
                self._sessions.job_ended(db, session_id, moment)
