"""What the ledger says about the sessions of an experiment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from session_block.ledger.store import Ledger

CANCELLED = "cancelled by the user"
CLOSED = "closed by the experiment"
CLOSED_BY_PLATFORM = "closed by the platform"
NEAR_ITS_END = "too near its end"
TIDIED = "closed after its run had failed"
IGNORED = "ignored by the platform, which ran its job in job mode"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionRecord:
    """One session of an experiment, as the ledger tells it.

    Attributes:
        intent: What was asked for, and where: ``backend``, ``instance``, ``url``, ``mode``
            (``session`` or ``batch``) and ``max_time_seconds``.
        intended_at: When it was asked for, by this machine's clock.
        kind: ``opened`` by this experiment, ``borrowed``, ``lost`` (its opening was cut off),
            ``refused`` by the platform, or ``None`` while it is being opened.
        end: Why the session is over, or ``None`` while it is in use.
        closing: Why this experiment set out to close it, or ``None``.
    """

    number: int
    intent: Mapping[str, Any]
    kind: str | None
    session_id: str | None
    end: str | None
    intended_at: datetime
    closing: str | None = None

    @property
    def opened(self) -> bool:
        """Whether this experiment opened it, and so may close it."""
        return self.kind == "opened"

    @property
    def usable(self) -> bool:
        """Whether there is a session that is not known to be over."""
        return self.session_id is not None and self.end is None


def read_sessions(ledger: Ledger, experiment: str) -> list[SessionRecord]:
    """Fold the session facts of an experiment, oldest session first."""
    facts = {fact.key: fact for fact in ledger.facts(experiment, "session")}
    bodies = {key: fact.body for key, fact in facts.items()}
    records: list[SessionRecord] = []
    while (intent := bodies.get(f"session-intent/{len(records) + 1}")) is not None:
        number = len(records) + 1
        outcome = bodies.get(f"session/{number}", {})
        end = bodies.get(f"session-end/{number}", {})
        records.append(
            SessionRecord(
                number=number,
                intent=intent,
                kind=outcome.get("kind"),
                session_id=outcome.get("session_id"),
                end=end.get("reason"),
                intended_at=facts[f"session-intent/{number}"].created_at,
                closing=bodies.get(f"session-closing/{number}", {}).get("reason"),
            )
        )
    return records


def record_closing(ledger: Ledger, experiment: str, record: SessionRecord, reason: str) -> None:
    """Record, before a session is closed, that it is to be, and why."""
    ledger.create(experiment, f"session-closing/{record.number}", {"reason": reason})


def record_end(ledger: Ledger, experiment: str, record: SessionRecord, reason: str) -> None:
    """Record that a session is over, and why."""
    body = {"session_id": record.session_id, "reason": reason}
    ledger.create(experiment, f"session-end/{record.number}", body)


def report_lost(experiment: str, number: int, backend: str) -> None:
    """Say that nobody knows whether a session was opened: sessions bear no tags."""
    _logger.warning(
        "The opening of session %d of experiment %s on %s was cut off. If the platform did "
        "open it, it holds no job and is closed by the platform after 30 minutes; "
        "'session-block sessions sweep' lists it.",
        number,
        experiment,
        backend,
    )


def restore_session(
    ledger: Ledger,
    experiment: str,
    session_id: str,
    place: Mapping[str, Any],
    *,
    borrowed: bool,
) -> None:
    """Record a session that the ledger had lost, unless it knows it."""
    while True:
        known = read_sessions(ledger, experiment)
        if any(record.session_id == session_id for record in known):
            return
        number = len(known) + 1
        intent = {**place, "max_time_seconds": None, "restored": True}
        _, ours = ledger.create(experiment, f"session-intent/{number}", intent)
        if ours:
            kind = "borrowed" if borrowed else "opened"
            body = {"kind": kind, "session_id": session_id, "restored": True}
            ledger.create(experiment, f"session/{number}", body)
