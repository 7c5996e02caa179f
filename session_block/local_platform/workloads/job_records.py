"""Records of jobs: submitted, claimed by the engine, ended, and as the API shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from session_block.local_platform.clock import iso

if TYPE_CHECKING:
    import sqlite3

PROGRAMS = ("sampler", "estimator", "executor", "noise-learner")
PENDING = ("queued", "running")
MAX_EXECUTION_SECONDS = 10_800
# The client recognises a job that reached its maximum execution time by this code.
MAX_TIME_CODE = 1305
MAX_TIME_REASON = (
    "The job took longer than its maximum execution time of %!v(MISSING) seconds: "
    "it was stopped after %!v(MISSING)."
)
"""Real: IBM's own message is a template whose two values are missing like this."""
MAX_TIME_SOLUTION = "Raise the maximum execution time, or send a smaller job."


@dataclass(frozen=True)
class NewJob:
    """A job as a client submits it. Its JSON is checked; its circuits are not.

    ``ending`` is the JSON text of a planned :class:`Outcome`: the job is not run but ends this way.
    ``caller`` is the name that the client's software gives itself.
    """

    instance: str
    account: str
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
    ending: str | None = None
    caller: str | None = None


@dataclass(frozen=True)
class JobFilter:
    """Which jobs of an instance to list, and which page of them."""

    instance: str
    backend: str | None = None
    program: str | None = None
    session_id: str | None = None
    pending: bool | None = None
    tags: tuple[str, ...] = ()
    created_after: float | None = None
    created_before: float | None = None
    visible_before: float | None = None
    with_mocks: bool = False
    oldest_first: bool = False
    limit: int = 200
    offset: int = 0


@dataclass(frozen=True)
class ClaimedJob:
    """A job that the engine has just started to run."""

    id: str
    program: str
    backend: str
    params: str
    tags: Sequence[str]
    running_at: float
    cost: int | None = None
    calibration_id: str | None = None
    ending: str | None = None

    @property
    def limit(self) -> float:
        """How many seconds the job may run."""
        return float(self.cost or MAX_EXECUTION_SECONDS)


@dataclass(frozen=True)
class Outcome:
    """How a job's run ended: state, result text, and the reason if it did not complete."""

    state: str
    result: str | None = None
    reason: str | None = None
    reason_code: int | None = None
    reason_solution: str | None = None
    qpu_seconds: float | None = None
    """QPU time of the circuits in seconds, or None if it was not computed."""
    charged_seconds: float | None = None
    """What IBM charges, or None for what the state and the code cost."""


def describe(row: sqlite3.Row) -> dict[str, Any]:
    """Return a job's row as the API shows it, without parameters."""
    state: dict[str, Any] = {"status": row["state"].capitalize()}
    if row["reason"] is not None:
        state["reason"] = row["reason"]
    if row["reason_code"] is not None:
        state["reason_code"] = row["reason_code"]
    if row["reason_solution"] is not None:
        state["reason_solution"] = row["reason_solution"]
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
        "user_id": row["account"],
        "usage": {"seconds": row["usage_seconds"]},
        "estimated_running_time_seconds": row["estimated_seconds"],
        "usage_estimation": {"quantum_seconds": row["estimated_seconds"]},
    }
    if row["private"]:
        content["private"] = True
    return content
