"""All jobs and sessions that the platform ever had, for people who watch it.

Parameters, results and API keys are never shown.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from session_block.local_platform.clock import iso

if TYPE_CHECKING:
    import sqlite3

    from session_block.local_platform.platform import Platform

_JOBS = """
    SELECT id, instance, account, program, backend, session_id, state, tags, private, deleted,
        created_at, running_at, finished_at, usage_seconds, reason, reason_code
    FROM jobs WHERE {where} ORDER BY seq DESC LIMIT :limit OFFSET :offset
"""
_JOB_HAS = """
    instr(lower(id || ' ' || program || ' ' || backend || ' ' || COALESCE(session_id, '') || ' '
        || state || ' ' || tags || ' ' || COALESCE(reason, '')), lower(:find))
"""
_SESSIONS = """
    SELECT id, instance, account, mode, backend, state, created_at,
        json_extract(record, '$.state_reason') AS state_reason,
        json_extract(record, '$.accepting_jobs') AS accepting_jobs,
        json_extract(record, '$.max_ttl') AS max_ttl,
        json_extract(record, '$.started_at') AS started_at,
        json_extract(record, '$.closed_at') AS closed_at,
        active_seconds + COALESCE(MAX(0, :now - active_since), 0) AS active_seconds,
        (SELECT COUNT(*) FROM jobs WHERE session_id=sessions.id) AS jobs,
        (SELECT COALESCE(SUM(usage_seconds), 0) FROM jobs WHERE session_id=sessions.id)
            AS jobs_seconds
    FROM sessions WHERE {where} ORDER BY seq DESC LIMIT :limit OFFSET :offset
"""
_SESSION_HAS = f"""
    instr(lower(id || ' ' || mode || ' ' || COALESCE(backend, '') || ' ' || state), lower(:find))
    OR id IN (SELECT session_id FROM jobs WHERE {_JOB_HAS})
"""  # noqa: S608 - nothing of a caller's


def jobs(platform: Platform, limit: int, offset: int, find: str = "") -> dict[str, Any]:
    """Return a page of all accounts' jobs, deleted ones too, newest first, and the total count.

    Args:
        platform: The platform.
        limit: The most jobs.
        offset: How many newer ones are left out.
        find: A text that IDs, program, backend, state, tags or reason have, in any case of letters.
    """
    names = _instance_names(platform)
    asked = {"limit": limit, "offset": offset, "find": find}
    where = _JOB_HAS if find else "TRUE"
    with platform.store.reading() as db:
        (count,) = db.execute(f"SELECT COUNT(*) FROM jobs WHERE {where}", asked).fetchone()  # noqa: S608
        rows = db.execute(_JOBS.format(where=where), asked).fetchall()
    return {
        "jobs": [_job(row, names) for row in rows],
        "count": count,
        "limit": limit,
        "offset": offset,
    }


def sessions(platform: Platform, limit: int, offset: int, find: str = "") -> dict[str, Any]:
    """Return a page of all accounts' sessions, newest first, and the total count.

    Args:
        platform: The platform.
        limit: The most sessions.
        offset: How many newer ones are left out.
        find: A text that ID, mode, backend or state have, or that one of their jobs has.
    """
    names = _instance_names(platform)
    asked = {"limit": limit, "offset": offset, "find": find, "now": platform.clock.now()}
    where = _SESSION_HAS if find else "TRUE"
    with platform.store.reading() as db:
        (count,) = db.execute(f"SELECT COUNT(*) FROM sessions WHERE {where}", asked).fetchone()  # noqa: S608
        rows = db.execute(_SESSIONS.format(where=where), asked).fetchall()
    return {
        "sessions": [_session(row, names) for row in rows],
        "count": count,
        "limit": limit,
        "offset": offset,
    }


def backends(platform: Platform) -> dict[str, Any]:
    """Return all backends except mocks, with status and queue length."""
    return {
        "backends": [
            {
                "name": device.name,
                "qubits": platform.backends.configuration(device.name)["n_qubits"],
                "status": "paused" if platform.is_in_maintenance(device.name) else "online",
                "queue": platform.jobs.queue_length(device.name),
            }
            for device in platform.backends.all()
            if not device.is_mock
        ]
    }


def _job(row: sqlite3.Row, names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "instance": names.get(row["instance"], row["instance"]),
        "account": row["account"],
        "program": row["program"],
        "backend": row["backend"],
        "session_id": row["session_id"],
        "state": row["state"],
        "reason": row["reason"],
        "reason_code": row["reason_code"],
        "tags": json.loads(row["tags"]),
        "private": bool(row["private"]),
        "deleted": bool(row["deleted"]),
        "created": iso(row["created_at"]),
        "running": iso(row["running_at"]),
        "finished": iso(row["finished_at"]),
        "usage_seconds": row["usage_seconds"],
    }


def _session(row: sqlite3.Row, names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "instance": names.get(row["instance"], row["instance"]),
        "account": row["account"],
        "mode": row["mode"],
        "backend": row["backend"],
        "state": row["state"],
        "state_reason": row["state_reason"],
        "accepting_jobs": bool(row["accepting_jobs"]),
        "max_ttl": row["max_ttl"],
        "jobs": row["jobs"],
        "created": iso(row["created_at"]),
        "started": iso(row["started_at"]),
        "closed": iso(row["closed_at"]),
        "usage_seconds": row["jobs_seconds"] if row["mode"] == "batch" else row["active_seconds"],
    }


def _instance_names(platform: Platform) -> dict[str, str]:
    return {
        instance.crn: instance.name
        for account in platform.identity.accounts
        for instance in account.instances
    }
