"""Workloads: one list of sessions, batches and jobs outside sessions, paged by cursors."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from session_block.local_platform.api.http import Call, Operation
from session_block.local_platform.clock import iso
from session_block.local_platform.errors import bad_request
from session_block.local_platform.workloads import session_lifecycle

if TYPE_CHECKING:
    import sqlite3

    from session_block.local_platform.platform import Platform
    from session_block.local_platform.workloads.session_lifecycle import Session

MAX_PAGE = 50

DEFAULT_PAGE = 10

_SESSION_STATUS = {
    "open": "pending",
    "inactive": "pending",
    "active": "in_progress",
    "pending_inactive": "in_progress",
    "pending_closed": "in_progress",
    "closed": "completed",
}

_JOB_STATUS = {
    "queued": "pending",
    "running": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "canceled",
}

MODES = ("job", "session", "batch")

STATUSES = ("completed", "canceled", "failed", "pending", "in_progress")

# Creation time of a workload (Unix seconds), and its sequence number. A cursor that gives none
# stands for every workload of its time.
Cursor = tuple[float, int]
_LAST = 2**63


def _list(call: Call) -> dict[str, Any]:
    mode = call.text_query("mode")
    if mode is not None and mode not in MODES:
        raise bad_request(f"mode must be one of {', '.join(MODES)}")
    sort = call.text_query("sort") or "createdAt"
    if sort not in ("createdAt", "-createdAt"):
        raise bad_request("sort must be createdAt or -createdAt")
    statuses = tuple(call.query.getlist("status"))
    if not set(statuses) <= set(STATUSES):
        raise bad_request(f"status must be one of {', '.join(STATUSES)}")
    wanted = WorkloadFilter(
        instance=call.instance.crn,
        mode=mode,
        backend=call.text_query("backend"),
        search=call.text_query("search"),
        statuses=statuses,
        tags=tuple(call.query.getlist("tags")),
        created_after=call.time_query("created_after"),
        created_before=call.time_query("created_before"),
        oldest_first=sort == "createdAt",
        limit=call.number_query("limit", 1, MAX_PAGE, DEFAULT_PAGE),
        next=call.text_query("next"),
        previous=call.text_query("previous"),
    )
    page = list_workloads(call.platform, wanted, "/workloads")
    if call.faults.repeats_cursor() and wanted.next is not None and "next" in page:
        page["next"] = {"href": f"/workloads?next={wanted.next}"}
    return page


OPERATIONS = (Operation("GET", "/workloads", _list),)


@dataclass(frozen=True)
class WorkloadFilter:
    """Selects workloads of an instance, and a page of the result."""

    instance: str
    mode: str | None = None
    backend: str | None = None
    search: str | None = None
    statuses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    created_after: float | None = None
    created_before: float | None = None
    oldest_first: bool = True
    limit: int = 10
    next: str | None = None
    previous: str | None = None


@dataclass(frozen=True)
class _Workload:
    created: float
    seq: int
    content: dict[str, Any]

    @property
    def position(self) -> Cursor:
        return (self.created, self.seq)


def list_workloads(platform: Platform, wanted: WorkloadFilter, url: str) -> dict[str, Any]:
    """Return one page of workloads. The links to other pages begin with ``url``."""
    matching = [item for item in _all(platform, wanted.instance) if _matches(item, wanted)]
    matching.sort(key=lambda item: item.position, reverse=not wanted.oldest_first)
    start = 0
    if wanted.next is not None:
        start = _count_up_to(matching, _decode(wanted.next), wanted, including=True)
    elif wanted.previous is not None:
        end = _count_up_to(matching, _decode(wanted.previous), wanted, including=False)
        start = max(0, end - wanted.limit)
    page = matching[start : start + wanted.limit]
    answer: dict[str, Any] = {
        "workloads": [item.content for item in page],
        "total_count": len(matching),
        "limit": wanted.limit,
    }
    if page and start + wanted.limit < len(matching):
        answer["next"] = {"href": f"{url}?next={_encode(page[-1].position)}"}
    if page and start > 0:
        answer["previous"] = {"href": f"{url}?previous={_encode(page[0].position)}"}
    return answer


def _all(platform: Platform, instance: str) -> list[_Workload]:
    now = platform.clock.now()
    with platform.store.reading() as db:
        sessions = [
            _Workload(
                session.created_at,
                seq,
                _of_session(session, platform.sessions.facts(db, session.id), now),
            )
            for seq, session in platform.sessions.all(db, instance)
        ]
        rows = db.execute(
            "SELECT * FROM jobs WHERE instance=? AND session_id IS NULL AND deleted=0", (instance,)
        ).fetchall()
    return sessions + [_Workload(row["created_at"], row["seq"], _of_job(row)) for row in rows]


def _of_session(session: Session, facts: session_lifecycle.JobFacts, now: float) -> dict[str, Any]:
    seconds = session_lifecycle.elapsed_seconds(session, facts, now)
    return {
        "id": session.id,
        "mode": "batch" if session.mode == "batch" else "session",
        "status": _SESSION_STATUS[session.state],
        "backend": session.backend,
        "instance": session.instance,
        "user_id": session.account,
        "created": iso(session.created_at),
        "ended": iso(session.closed_at),
        "accepting_jobs": session.accepting_jobs,
        "tags": [],
        "usage_seconds": seconds,
        "usage": {"qpu_charge_time_seconds": seconds},
    }


def _of_job(row: sqlite3.Row) -> dict[str, Any]:
    pending = row["state"] in ("queued", "running")
    return {
        "id": row["id"],
        "mode": "job",
        "status": _JOB_STATUS[row["state"]],
        "status_reason": row["reason"],
        "backend": row["backend"],
        "instance": row["instance"],
        "user_id": row["account"],
        "created": iso(row["created_at"]),
        "ended": iso(row["finished_at"]),
        "accepting_jobs": None,
        "tags": json.loads(row["tags"]),
        "usage_seconds": row["usage_seconds"],
        "usage": {
            "qpu_charge_time_seconds": row["usage_seconds"],
            "status": "pending" if pending else "complete",
        },
    }


def _matches(item: _Workload, wanted: WorkloadFilter) -> bool:
    content = item.content
    return (
        wanted.mode in (None, content["mode"])
        and wanted.backend in (None, content["backend"])
        and (not wanted.statuses or content["status"] in wanted.statuses)
        and set(wanted.tags) <= set(content["tags"])
        and (wanted.created_after is None or item.created >= wanted.created_after)
        and (wanted.created_before is None or item.created <= wanted.created_before)
        and (
            wanted.search is None
            or any(wanted.search in text for text in (content["id"], *content["tags"]))
        )
    )


def _count_up_to(
    items: list[_Workload], cursor: Cursor, wanted: WorkloadFilter, *, including: bool
) -> int:
    def is_before(position: Cursor) -> bool:
        if position == cursor:
            return including
        return (position < cursor) == wanted.oldest_first

    return sum(is_before(item.position) for item in items)


def _encode(position: Cursor) -> str:
    """Return a cursor as IBM makes one, base64 of a time (real), followed by a sequence number.

    The number is this platform's own: with it no cursor repeats, unless a fault rule says so.
    """
    created, seq = position
    return base64.urlsafe_b64encode(f"{iso(created)} {seq}".encode()).decode()


def _decode(cursor: str) -> Cursor:
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode()
        created, _, seq = text.partition(" ")
        return (datetime.fromisoformat(created).timestamp(), int(seq or _LAST))
    except (ValueError, OverflowError, binascii.Error):
        raise bad_request("the cursor was not made by this platform") from None
