"""Jobs as records: as submitted, as listed, as run by a lane, as the API shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from session_block.local_platform.accounts import USER_ID
from session_block.local_platform.clock import iso

if TYPE_CHECKING:
    import sqlite3

PROGRAMS = ("sampler", "estimator", "executor")
PENDING = ("queued", "running")


@dataclass(frozen=True)
class NewJob:
    """A job as a client submits it, checked as far as its JSON goes."""

    program: str
    backend: str
    params: str
    session_id: str | None = None
    tags: tuple[str, ...] = ()
    cost: int | None = None
    private: bool = False
    runtime: str | None = None
    log_level: str | None = None
    calibration_id: str | None = None


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a listing wants, and which page of them."""

    backend: str | None = None
    program: str | None = None
    session_id: str | None = None
    pending: bool | None = None
    tags: tuple[str, ...] = ()
    created_after: float | None = None
    created_before: float | None = None
    oldest_first: bool = False
    limit: int = 200
    offset: int = 0


@dataclass(frozen=True)
class ClaimedJob:
    """A job that a lane has just started to run."""

    id: str
    program: str
    backend: str
    params: str
    running_at: float


@dataclass(frozen=True)
class Outcome:
    """How a job's run ended: its result text, or the reason and text of its failure."""

    result: str
    failure: str | None = None


def describe(row: sqlite3.Row) -> dict[str, Any]:
    """Return a job's row as the API shows it, without parameters."""
    state: dict[str, Any] = {"status": row["state"].capitalize()}
    if row["reason"] is not None:
        state["reason"] = row["reason"]
    if row["reason_code"] is not None:
        state["reason_code"] = row["reason_code"]
    content = {
        "id": row["id"],
        "backend": row["backend"],
        "program": {"id": row["program"]},
        "state": state,
        "status": row["state"].capitalize(),
        "created": iso(row["created_at"]),
        "ended": iso(row["finished_at"]),
        "session_id": row["session_id"],
        "tags": json.loads(row["tags"]),
        "runtime": row["runtime"],
        "log_level": row["log_level"],
        "calibration_id": row["calibration_id"],
        "cost": row["cost"],
        "user_id": USER_ID,
        "usage": {"seconds": row["usage_seconds"]},
        "estimated_running_time_seconds": row["usage_seconds"],
    }
    if row["private"]:
        content["private"] = True
    return content
