"""Jobs in the store: accepted, claimed by a lane, ended, listed. A deleted job stays counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from session_block.local_platform.errors import bad_request, conflict, not_found, session_closed
from session_block.local_platform.job_records import PENDING, ClaimedJob, describe
from session_block.local_platform.sessions import new_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.job_records import JobFilter, NewJob, Outcome
    from session_block.local_platform.sessions import Sessions
    from session_block.local_platform.store import Store

_FILTER = """
    deleted=0
    AND (:backend IS NULL OR backend=:backend)
    AND (:program IS NULL OR program=:program)
    AND (:session_id IS NULL OR session_id=:session_id)
    AND (:pending IS NULL OR (state IN ('queued', 'running'))=:pending)
    AND (:created_after IS NULL OR created_at>=:created_after)
    AND (:created_before IS NULL OR created_at<=:created_before)
    AND NOT EXISTS (
        SELECT 1 FROM json_each(:tags) AS wanted
        WHERE wanted.value NOT IN (SELECT value FROM json_each(jobs.tags))
    )
"""
_COUNT = f"SELECT COUNT(*) FROM jobs WHERE {_FILTER}"  # noqa: S608 - constants only
_PAGE = f"""
    SELECT * FROM jobs WHERE {_FILTER}
    ORDER BY CASE WHEN :oldest_first THEN seq ELSE -seq END LIMIT :limit OFFSET :offset
"""  # noqa: S608 - constants only


class Jobs:
    """All jobs of the platform."""

    def __init__(self, store: Store, sessions: Sessions, clock: Clock) -> None:
        self._store = store
        self._sessions = sessions
        self._clock = clock

    def submit(self, new: NewJob) -> str:
        """Accept a job durably and return its ID. It is there, whole, or not at all.

        Raises:
            ApiError: 404 for an unknown session, 400 for one that takes no jobs or has another
                backend.
        """
        job_id = new_id()
        refusal = None
        with self._store.transaction() as db:
            if new.session_id is not None:
                session = self._sessions.advance(db, new.session_id)
                if session.state == "closed" or not session.accepting_jobs:
                    refusal = session_closed(new.session_id)
                elif session.backend is None:
                    self._sessions.assign_backend(db, session, new.backend)
                elif session.backend != new.backend:
                    refusal = bad_request(
                        f"session {new.session_id} is on backend {session.backend}, "
                        f"the job is for {new.backend}"
                    )
            if refusal is None:
                self._insert(db, job_id, new)
        if refusal is not None:
            raise refusal
        return job_id

    def _insert(self, db: sqlite3.Connection, job_id: str, new: NewJob) -> None:
        db.execute(
            "INSERT INTO jobs (id, program, backend, session_id, state, tags, created_at, cost, "
            "private, runtime, log_level, calibration_id) "
            "VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?)",
            (
                job_id,
                new.program,
                new.backend,
                new.session_id,
                json.dumps(new.tags),
                self._clock.now(),
                new.cost,
                new.private,
                new.runtime,
                new.log_level,
                new.calibration_id,
            ),
        )
        db.execute("INSERT INTO payloads (job_id, params) VALUES (?, ?)", (job_id, new.params))

    def requeue_running(self) -> None:
        """Put back what a server that was killed had been running; call once, at the start."""
        with self._store.transaction() as db:
            db.execute("UPDATE jobs SET state='queued', running_at=NULL WHERE state='running'")

    def claim(self, backend: str) -> ClaimedJob | None:
        """Start the oldest queued job of a backend, if there is one whose session still lives."""
        with self._store.transaction() as db:
            while True:
                row = db.execute(
                    "SELECT * FROM jobs WHERE state='queued' AND backend=? ORDER BY seq LIMIT 1",
                    (backend,),
                ).fetchone()
                if row is None:
                    return None
                session_id = row["session_id"]
                # Advancing a session that has ended fails its queued jobs, so look again.
                if session_id is None or self._sessions.advance(db, session_id).state != "closed":
                    break
            now = self._clock.now()
            db.execute("UPDATE jobs SET state='running', running_at=? WHERE id=?", (now, row["id"]))
            if session_id is not None:
                self._sessions.job_started(db, session_id, now)
            return ClaimedJob(row["id"], row["program"], backend, _params(db, row["id"]), now)

    def finish(self, job_id: str, outcome: Outcome) -> None:
        """Record how a run ended, unless the job was cancelled meanwhile."""
        state = "completed" if outcome.failure is None else "failed"
        with self._store.transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE id=?", (job_id,)).fetchone()
            if row["state"] == "running":
                self._end(db, row, state, outcome.failure, outcome.result)

    def cancel(self, job_id: str) -> None:
        """Cancel a queued or running job; a running job's result is discarded.

        Raises:
            ApiError: 404 for an unknown job, 409 for one that has ended.
        """
        with self._store.transaction() as db:
            row = self._row(db, job_id)
            if row["state"] not in PENDING:
                raise conflict(f"Job {job_id} cannot be cancelled: it is {row['state']}.")
            self._end(db, row, "cancelled", "Cancelled by the user.", None)

    def delete(self, job_id: str) -> None:
        """Hide a job and drop its payload; a pending one is cancelled first.

        Raises:
            ApiError: 404 for an unknown job.
        """
        with self._store.transaction() as db:
            row = self._row(db, job_id)
            if row["state"] in PENDING:
                self._end(db, row, "cancelled", "Deleted by the user.", None)
            db.execute("UPDATE jobs SET deleted=1 WHERE id=?", (job_id,))
            db.execute("DELETE FROM payloads WHERE job_id=?", (job_id,))

    def replace_tags(self, job_id: str, tags: Sequence[str]) -> None:
        """Replace all tags of a job.

        Raises:
            ApiError: 404 for an unknown job.
        """
        with self._store.transaction() as db:
            self._row(db, job_id)
            db.execute("UPDATE jobs SET tags=? WHERE id=?", (json.dumps(list(tags)), job_id))

    def get(self, job_id: str, *, with_params: bool) -> dict[str, Any]:
        """Return a job as the API shows it; a private job never shows its parameters.

        Raises:
            ApiError: 404 for an unknown job.
        """
        with self._store.transaction() as db:
            row = self._current(db, job_id)
            content = describe(row)
            if with_params and not row["private"]:
                content["params"] = json.loads(_params(db, job_id))
            return content

    def state(self, job_id: str) -> sqlite3.Row:
        """Return a job's row. Raises ApiError 404 for an unknown job."""
        with self._store.transaction() as db:
            return self._current(db, job_id)

    def result(self, job_id: str) -> str | None:
        """Return the result text, the failure text, or None. Raises ApiError 404 if unknown."""
        with self._store.transaction() as db:
            row = self._current(db, job_id)
            payload = db.execute("SELECT result FROM payloads WHERE job_id=?", (job_id,)).fetchone()
            text: str | None = payload["result"]
            return row["reason"] if text is None and row["state"] == "failed" else text

    def list(self, wanted: JobFilter, *, with_params: bool) -> dict[str, Any]:
        """Return one page of jobs, with the total number that matches."""
        values: dict[str, Any] = {
            "backend": wanted.backend,
            "program": wanted.program,
            "session_id": wanted.session_id,
            "pending": wanted.pending,
            "created_after": wanted.created_after,
            "created_before": wanted.created_before,
            "tags": json.dumps(wanted.tags),
            "limit": wanted.limit,
            "offset": wanted.offset,
            "oldest_first": wanted.oldest_first,
        }
        with self._store.reading() as db:
            (count,) = db.execute(_COUNT, values).fetchone()
            contents = []
            for row in db.execute(_PAGE, values).fetchall():
                content = describe(row)
                if with_params and not row["private"]:
                    content["params"] = json.loads(_params(db, row["id"]))
                contents.append(content)
        return {
            "jobs": contents,
            "count": count,
            "limit": wanted.limit,
            "offset": wanted.offset,
        }

    def queue_length(self, backend: str) -> int:
        """Return how many jobs wait or run on a backend."""
        with self._store.reading() as db:
            (length,) = db.execute(
                "SELECT COUNT(*) FROM jobs WHERE backend=? AND state IN ('queued', 'running')",
                (backend,),
            ).fetchone()
            return int(length)

    def usage_seconds(self) -> float:
        """Return the seconds that all jobs together have used."""
        with self._store.reading() as db:
            (seconds,) = db.execute("SELECT COALESCE(SUM(usage_seconds), 0) FROM jobs").fetchone()
            return float(seconds)

    def _end(
        self,
        db: sqlite3.Connection,
        row: sqlite3.Row,
        state: str,
        reason: str | None,
        result: str | None,
    ) -> None:
        session_id = row["session_id"]
        if session_id is not None:
            self._sessions.advance(db, session_id)
        now = self._clock.now()
        ran = row["state"] == "running"
        db.execute(
            "UPDATE jobs SET state=?, finished_at=?, usage_seconds=?, reason=? WHERE id=?",
            (state, now, max(0.0, now - row["running_at"]) if ran else 0.0, reason, row["id"]),
        )
        db.execute("UPDATE payloads SET result=? WHERE job_id=?", (result, row["id"]))
        if session_id is not None and ran:
            self._sessions.job_ended(db, session_id, now)
        elif session_id is not None:
            self._sessions.advance(db, session_id)

    def _current(self, db: sqlite3.Connection, job_id: str) -> sqlite3.Row:
        row = self._row(db, job_id)
        if row["state"] == "queued" and row["session_id"] is not None:
            self._sessions.advance(db, row["session_id"])
            row = self._row(db, job_id)
        return row

    @staticmethod
    def _row(db: sqlite3.Connection, job_id: str) -> sqlite3.Row:
        row: sqlite3.Row | None = db.execute(
            "SELECT * FROM jobs WHERE id=? AND deleted=0", (job_id,)
        ).fetchone()
        if row is None:
            raise not_found("Job", job_id)
        return row


def _params(db: sqlite3.Connection, job_id: str) -> str:
    row = db.execute("SELECT params FROM payloads WHERE job_id=?", (job_id,)).fetchone()
    return str(row["params"])
