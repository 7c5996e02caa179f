"""Whose turn it is: which queued job a backend takes next, and from when on.

A dedicated session has its backend for itself while it is active. Whatever has to queue (a job
outside a session, and the first job of a session or batch that is not active) waits behind the
jobs of other users; apart from that, jobs run in the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True)
class Turn:
    """The job whose turn it is, or None and the moment from which on one may have its turn."""

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
    """Return whose turn it is on a free backend with queued jobs.

    ``others_seconds`` is how long the jobs of other users ahead in the queue take.
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
