"""Jobs in the store: submit, read, list, cancel and delete them. A deleted job stays counted.

An instance sees only its own jobs. All times are those of the platform's clock.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from session_block.local_platform.errors import bad_request, conflict, not_found, session_closed
from session_block.local_platform.workloads.job_records import PENDING, Outcome, describe
from session_block.local_platform.workloads.store import next_arrival

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.config.state import Settings
    from session_block.local_platform.workloads.charges import Charging
    from session_block.local_platform.workloads.job_records import JobFilter, NewJob
    from session_block.local_platform.workloads.sessions import Sessions
    from session_block.local_platform.workloads.store import Store

# An xid's: 20 characters (real).
_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_ID_LENGTH = 20
# Spec.
INTERIM_SECONDS = 2 * 86_400
_FILTER = """
    deleted=0 AND instance=:instance
    AND (:backend IS NULL OR backend=:backend)
    AND (:program IS NULL OR program=:program)
    AND (:session_id IS NULL OR session_id=:session_id)
    AND (:pending IS NULL OR (state IN ('queued', 'running'))=:pending)
    AND (:created_after IS NULL OR created_at>=:created_after)
    AND (:created_before IS NULL OR created_at<=:created_before)
    AND (:visible_before IS NULL OR created_at<=:visible_before)
    AND (:with_mocks OR backend NOT LIKE 'mock\\_%' ESCAPE '\\')
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
    """All jobs of the platform, as its API treats them.

    Methods that take a job ID raise ApiError 404 if the instance has no job with that ID.
    """

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        clock: Clock,
        charging: Charging,
        settings: Settings,
    ) -> None:
        self._other_jobs = settings.other_jobs
        self._closed_status = settings.session_closed_status
        self._charging = charging
        self._store = store
        self._sessions = sessions
        self._clock = clock

    def submit(self, new: NewJob) -> str:
        """Accept a job durably and return its ID. The job is stored whole or not at all.

        Raises:
            ApiError: 404 for an unknown session, 400 for a session that accepts no jobs or has
                another backend.
        """
        job_id = _new_id()
        now = self._clock.pin()
        with self._store.transaction() as db:
            if new.session_id is not None:
                self._join_session(db, new.session_id, new, now)
            db.execute(
                "INSERT INTO jobs (seq, id, instance, account, program, backend, session_id, "
                "state, tags, created_at, cost, private, runtime, log_level, calibration_id, "
                "ending, caller) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    next_arrival(db),
                    job_id,
                    new.instance,
                    new.account,
                    new.program,
                    new.backend,
                    new.session_id,
                    json.dumps(new.tags),
                    now,
                    new.cost,
                    new.private,
                    new.runtime,
                    new.log_level,
                    new.calibration_id,
                    new.ending,
                    new.caller,
                ),
            )
            db.execute("INSERT INTO payloads (job_id, params) VALUES (?, ?)", (job_id, new.params))
            if new.session_id is not None:
                self._sessions.advance(db, new.session_id, now)
        return job_id

    def cancel(self, job_id: str, instance: str) -> None:
        """Cancel a queued or running job, without a reason; a running job's result is discarded.

        Raises:
            ApiError: 409 for a job that has ended.
        """
        now = self._clock.pin()
        with self._store.transaction() as db:
            row = self._current(db, job_id, instance, now)
            if row["state"] not in PENDING:
                raise conflict(f"Job {job_id} cannot be cancelled: it is {row['state']}.")
            self._end(db, row, now)

    def delete(self, job_id: str, instance: str) -> None:
        """Hide a job and delete its payload; cancel it first if it is pending."""
        now = self._clock.pin()
        with self._store.transaction() as db:
            row = self._current(db, job_id, instance, now)
            if row["state"] in PENDING:
                self._end(db, row, now)
            db.execute("UPDATE jobs SET deleted=1 WHERE id=?", (job_id,))
            db.execute("DELETE FROM payloads WHERE job_id=?", (job_id,))

    def replace_tags(self, job_id: str, instance: str, tags: Sequence[str]) -> None:
        """Replace all tags of a job."""
        with self._store.transaction() as db:
            _row(db, job_id, instance)
            db.execute("UPDATE jobs SET tags=? WHERE id=?", (json.dumps(list(tags)), job_id))

    def get(self, job_id: str, instance: str, *, with_params: bool) -> dict[str, Any]:
        """Return a job as the API shows it; a private job's parameters are empty (real)."""
        with self._store.transaction() as db:
            row = self._current(db, job_id, instance, self._clock.now())
            content = describe(row)
            if with_params:
                content["params"] = _shown_params(db, row)
            return content

    def state(self, job_id: str, instance: str) -> sqlite3.Row:
        """Return a job's row, with its session advanced to now."""
        with self._store.transaction() as db:
            return self._current(db, job_id, instance, self._clock.now())

    def result(self, job_id: str, instance: str) -> str | None:
        """Return the result text, the reason of a failure, or None.

        The result of a private job can be read only once (spec).
        """
        with self._store.transaction() as db:
            row = self._current(db, job_id, instance, self._clock.now())
            payload = db.execute("SELECT result FROM payloads WHERE job_id=?", (job_id,)).fetchone()
            text: str | None = payload["result"]
            if row["private"] and text is not None:
                db.execute("UPDATE payloads SET result=NULL WHERE job_id=?", (job_id,))
            return row["reason"] if text is None and row["state"] == "failed" else text

    def interim_results(self, job_id: str, instance: str) -> str:
        """Return the interim results: an empty text, for no program of this platform has any.

        Raises:
            ApiError: 404 too, if the job ended more than two days ago.
        """
        with self._store.transaction() as db:
            row = self._current(db, job_id, instance, self._clock.now())
        ended = row["finished_at"]
        if ended is not None and self._clock.now() > ended + INTERIM_SECONDS:
            raise not_found("Interim result", job_id)
        return ""

    def tags(self, instance: str, search: str) -> Sequence[str]:
        """Return the tags of an instance's jobs that contain a text."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT DISTINCT tag.value FROM jobs, json_each(jobs.tags) AS tag "
                "WHERE deleted=0 AND instance=? AND instr(tag.value, ?) > 0 ORDER BY tag.value",
                (instance, search),
            )
            return tuple(row[0] for row in rows.fetchall())

    def list(self, wanted: JobFilter, *, with_params: bool) -> dict[str, Any]:
        """Return one page of jobs, with the total number of matching jobs."""
        values = {**asdict(wanted), "tags": json.dumps(wanted.tags)}
        with self._store.reading() as db:
            (count,) = db.execute(_COUNT, values).fetchone()
            contents = []
            for row in db.execute(_PAGE, values).fetchall():
                content = describe(row)
                if with_params:
                    content["params"] = _shown_params(db, row)
                contents.append(content)
        return {
            "jobs": contents,
            "count": count,
            "limit": wanted.limit,
            "offset": wanted.offset,
        }

    def queue_length(self, backend: str) -> int:
        """Return how many jobs wait or run on a backend, including jobs of other users."""
        with self._store.reading() as db:
            (length,) = db.execute(
                "SELECT COUNT(*) FROM jobs WHERE backend=? AND state IN ('queued', 'running')",
                (backend,),
            ).fetchone()
            return int(length) + self._other_jobs

    def position(self, job: sqlite3.Row) -> int | None:
        """Return a queued job's position, from 1, in its active session, else on its backend.

        A backend's queue begins with the jobs of other users; the rest is in order of arrival.
        Return None for a job that is not queued.
        """
        if job["state"] != "queued":
            return None
        with self._store.reading() as db:
            session = db.execute(
                "SELECT state FROM sessions WHERE id=?", (job["session_id"],)
            ).fetchone()
            in_session = session is not None and session["state"] == "active"
            (before,) = db.execute(
                "SELECT COUNT(*) FROM jobs WHERE backend=? AND state='queued' AND seq<? "
                "AND (? IS NULL OR session_id=?)",
                (job["backend"], job["seq"], *[job["session_id"] if in_session else None] * 2),
            ).fetchone()
            return int(before) + 1 + (0 if in_session else self._other_jobs)

    def _join_session(
        self, db: sqlite3.Connection, session_id: str, new: NewJob, now: float
    ) -> None:
        self._sessions.check_owner(db, session_id, new.instance)
        session = self._sessions.advance(db, session_id, now)
        if session.ended or not session.accepting_jobs:
            raise session_closed(session_id, self._closed_status)
        if session.backend is None:
            self._sessions.assign_backend(db, session, new.backend)
        elif session.backend != new.backend:
            raise bad_request(
                f"session {session_id} is on backend {session.backend}, "
                f"the job is for {new.backend}"
            )

    def _end(self, db: sqlite3.Connection, row: sqlite3.Row, now: float) -> None:
        end_job(db, row, Outcome("cancelled"), now=now, charging=self._charging)
        if row["session_id"] is None:
            return
        if row["state"] == "running":
            self._sessions.job_ended(db, row["session_id"], now)
        self._sessions.advance(db, row["session_id"], now)

    def _current(
        self, db: sqlite3.Connection, job_id: str, instance: str, now: float
    ) -> sqlite3.Row:
        row = _row(db, job_id, instance)
        if row["state"] in PENDING and row["session_id"] is not None:
            self._sessions.advance(db, row["session_id"], now)
            row = _row(db, job_id, instance)
        return row


def end_job(
    db: sqlite3.Connection,
    row: sqlite3.Row,
    outcome: Outcome,
    *,
    now: float,
    charging: Charging,
) -> None:
    """Record how a job ended, and what it is charged. The caller advances its session."""
    charged = charging.seconds(
        row, now, outcome.state, outcome.reason_code, outcome.charged_seconds
    )
    db.execute(
        "UPDATE jobs SET state=?, finished_at=?, usage_seconds=?, estimated_seconds=?, reason=?, "
        "reason_code=?, reason_solution=? WHERE id=?",
        (
            outcome.state,
            now,
            charged,
            charging.estimate(charged),
            outcome.reason,
            outcome.reason_code,
            outcome.reason_solution,
            row["id"],
        ),
    )
    db.execute("UPDATE payloads SET result=? WHERE job_id=?", (outcome.result, row["id"]))


def _new_id() -> str:
    """Return an unguessable ID in the form of IBM's job IDs."""
    return "d" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH - 1))


def _shown_params(db: sqlite3.Connection, row: sqlite3.Row) -> Any:
    return {} if row["private"] else json.loads(params_of(db, row["id"]))


def params_of(db: sqlite3.Connection, job_id: str) -> str:
    """Return the JSON text of a job's parameters."""
    row = db.execute("SELECT params FROM payloads WHERE job_id=?", (job_id,)).fetchone()
    return str(row["params"])


def _row(db: sqlite3.Connection, job_id: str, instance: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM jobs WHERE id=? AND instance=? AND deleted=0", (job_id, instance)
    ).fetchone()
    if row is None:
        raise not_found("Job", job_id)
    return row
