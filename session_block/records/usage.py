"""What the ledger alone tells of usage: the figures that were final when they were last read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from session_block.ledger.store import Ledger
from session_block.records.sessions import read_sessions


@dataclass(frozen=True)
class RecordedUsage:
    """Usage of an experiment, as far as it is recorded, in seconds.

    Attributes:
        seconds: What it is charged with, as far as that is recorded.
        complete: Whether nothing that it is charged with is missing.
        sessions: By the IDs of its own sessions and batches; ``None`` where none is recorded.
        jobs: By the IDs of its jobs that are charged one by one; ``None`` where none is recorded.
    """

    seconds: float
    complete: bool
    sessions: dict[str, float | None]
    jobs: dict[str, float | None]

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "seconds": self.seconds,
            "complete": self.complete,
            "sessions": self.sessions,
            "jobs": self.jobs,
        }


def recorded_usage(ledger: Ledger, uid: str) -> RecordedUsage:
    """Return the usage of an experiment as the ledger tells it; see :class:`UsageMeter`."""
    facts = ledger.facts(uid, "usage", "intent/", "outcome/", "twin/")
    bodies = {fact.key: fact.body for fact in facts}
    opened = {
        one.session_id: one.number
        for one in read_sessions(ledger, uid)
        if one.opened and one.session_id
    }
    sessions = {
        session_id: _seconds(bodies, f"usage-of-session/{number}")
        for session_id, number in opened.items()
    }
    jobs: dict[str, float | None] = {}
    for key, body in bodies.items():
        kind, _, place = key.partition("/")
        submission, _, last = place.partition("/")
        job_id = {"outcome": body.get("job_id"), "twin": last}.get(kind)
        generation = last if kind == "outcome" else "1"
        intent = bodies.get(f"intent/{submission}/{generation}", {})
        if job_id and intent.get("session_id") not in opened:
            jobs[str(job_id)] = _seconds(bodies, f"usage/{job_id}")
    charged = [*sessions.values(), *jobs.values()]
    return RecordedUsage(
        seconds=sum(one or 0.0 for one in charged),
        complete=None not in charged,
        sessions=sessions,
        jobs=jobs,
    )


def _seconds(bodies: dict[str, Any], key: str) -> float | None:
    return float(bodies[key]["seconds"]) if key in bodies else None
