"""The running jobs in the store: claimed when it is their turn, ended, and queued again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from session_block.local_platform import dispatch
from session_block.local_platform.job_records import ClaimedJob
from session_block.local_platform.jobs import end_job, params_of

if TYPE_CHECKING:
    from session_block.local_platform.job_records import Outcome
    from session_block.local_platform.sessions import Sessions
    from session_block.local_platform.store import Store


class Runs:
    """What the engine changes in jobs and sessions, each change in one transaction."""

    def __init__(self, store: Store, sessions: Sessions, others_seconds: float) -> None:
        self._store = store
        self._sessions = sessions
        self._others_seconds = others_seconds

    def requeue_all(self) -> None:
        """Put back what a server that was killed had been running; call once, at the start."""
        with self._store.transaction() as db:
            db.execute("UPDATE jobs SET state='queued', running_at=NULL WHERE state='running'")

    def next_session_change(self) -> tuple[float, str] | None:
        """Return the next moment at which a session changes by itself, and which one."""
        with self._store.reading() as db:
            return self._sessions.first_due(db)

    def advance_session(self, session_id: str, now: float) -> None:
        """Bring a session to a moment."""
        with self._store.transaction() as db:
            self._sessions.advance(db, session_id, now)

    def free_backends(self) -> list[str]:
        """Return the backends that have queued jobs and run none."""
        with self._store.reading() as db:
            return dispatch.backends_with_work(db)

    def claim(self, backend: str, now: float) -> ClaimedJob | float | None:
        """Start the job whose turn it is on a free backend; else say when the next may start."""
        with self._store.transaction() as db:
            turn = dispatch.next_turn(db, backend, now, self._others_seconds)
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
                running_at=now,
                cost=row["cost"],
                calibration_id=row["calibration_id"],
                ending=row["ending"],
            )

    def finish(self, job_id: str, outcome: Outcome, moment: float) -> None:
        """Record how a run ended, unless the job was cancelled meanwhile."""
        with self._store.transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE id=?", (job_id,)).fetchone()
            if row["state"] != "running":
                return
            session_id = row["session_id"]
            if session_id is not None:
                self._sessions.advance(db, session_id, moment)
            end_job(
                db,
                row,
                state=outcome.state,
                now=moment,
                reason=outcome.reason,
                reason_code=outcome.reason_code,
                result=outcome.result,
            )
            if session_id is not None:
                self._sessions.job_ended(db, session_id, moment)
