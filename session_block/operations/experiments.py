"""Every experiment of a ledger at a glance, and one of them in full; no network is touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from session_block.ledger.store import Fact, Ledger
from session_block.operations.sessions import RecordedSession
from session_block.records import submissions as records
from session_block.records.attempts import last_failure
from session_block.records.identity import Identity, flow_runs_of, known_experiments
from session_block.records.keys import BACKEND_KEY, SEALED_KEY
from session_block.records.sessions import CANCELLED, SessionRecord, read_sessions
from session_block.records.tickets import Tickets
from session_block.records.usage import recorded_usage
from session_block.records.views import ExperimentView


class ExperimentState(StrEnum):
    """Where an experiment stands, as far as the ledger alone tells.

    An experiment that runs and one that was killed are both ``unfinished``: whoever is killed
    records nothing.
    """

    FINISHED = "finished"
    HELD = "held"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Overview:
    """An experiment at a glance.

    Attributes:
        jobs: How many jobs its submissions have had.
        results: How many results are recorded.
        session_id: Its latest session.
        started_at: When its first fact was recorded; times are by the clocks of the machines.
        last_activity_at: When its last one was; that somebody has read its usage is none.
    """

    identity: Identity
    state: ExperimentState
    backend: str | None
    jobs: int
    results: int
    session_id: str | None
    started_at: datetime | None
    last_activity_at: datetime | None

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "experiment": self.identity.name,
            "number": self.identity.number,
            "uid": self.identity.uid,
            "state": self.state.value,
            "backend": self.backend,
            "jobs": self.jobs,
            "results": self.results,
            "session_id": self.session_id,
            "started_at": _text(self.started_at),
            "last_activity_at": _text(self.last_activity_at),
        }


def overviews(ledger: Ledger) -> list[Overview]:
    """Return every experiment of a ledger, oldest first."""
    return [overview(ledger, identity) for identity in known_experiments(ledger)]


def overview(ledger: Ledger, identity: Identity) -> Overview:
    """Return one experiment at a glance."""
    facts = ledger.facts(identity.uid)
    bodies = {fact.key: fact.body for fact in facts}
    sessions = read_sessions(ledger, identity.uid)
    outcomes = (body for key, body in bodies.items() if key.startswith("outcome/"))
    session_ids = [one.session_id for one in sessions if one.session_id]
    moments = [fact.created_at for fact in facts if not fact.key.startswith("usage")]
    return Overview(
        identity=identity,
        state=_state(ledger, identity.uid, bodies, sessions),
        backend=bodies.get(BACKEND_KEY, {}).get("name"),
        jobs=sum(records.made_job(outcome) for outcome in outcomes),
        results=sum(key.startswith("result/") for key in bodies),
        session_id=session_ids[-1] if session_ids else None,
        started_at=moments[0] if moments else None,
        last_activity_at=moments[-1] if moments else None,
    )


def held_submissions(keys: Iterable[str]) -> set[str]:
    """Return the submissions that wait for an operator, told from the keys of facts.

    One waits if its latest generation is held, has no result, and nobody has decided about it.
    """
    known = set(keys)
    decided = {tuple(key.split("/")[1:3]) for key in known if key.startswith("operator/")}
    held = (key.split("/")[1:] for key in known if key.startswith("hold/"))
    return {
        submission
        for submission, generation in held
        if (submission, generation) not in decided
        and records.result_key(submission) not in known
        and records.intent_key(submission, int(generation) + 1) not in known
    }


def described_in_full(ledger: Ledger, identity: Identity) -> dict[str, Any]:
    """Return all that the ledger tells of an experiment, as JSON values.

    Its ``sessions``, ``submissions``, ``attempts``, ``flow_runs`` that opened it, ``budget`` (how
    many jobs are counted against limits, ``None`` without any, and how many were refused by them),
    ``usage`` as far as it is recorded, and ``report``.
    """
    view = ExperimentView(identity, ledger)
    rows = view.submissions()
    return {
        **overview(ledger, identity).described(),
        "sessions": [RecordedSession(identity, one).described() for one in view.sessions],
        "submissions": [_plain_times(row) for row in rows],
        "attempts": _attempts(ledger.facts(identity.uid, "attempt/", "failed/")),
        "flow_runs": flow_runs_of(ledger, identity.uid),
        "budget": {
            "jobs_counted": Tickets(ledger, identity.uid).used() or None,
            "refused": sum(
                fact.body.get("cause") == records.BUDGET
                for fact in ledger.facts(identity.uid, "outcome/")
            ),
        },
        "usage": recorded_usage(ledger, identity.uid).described(),
        "report": view.report(),
    }


def _state(
    ledger: Ledger, uid: str, keys: Iterable[str], sessions: list[SessionRecord]
) -> ExperimentState:
    if SEALED_KEY in keys:
        return ExperimentState.FINISHED
    if held_submissions(keys):
        return ExperimentState.HELD
    if sessions and CANCELLED in (sessions[-1].closing, sessions[-1].end):
        return ExperimentState.CANCELLED
    failed = last_failure(ledger, uid) is not None
    return ExperimentState.FAILED if failed else ExperimentState.UNFINISHED


def _attempts(facts: list[Fact]) -> list[dict[str, Any]]:
    failed = {
        fact.key.partition("/")[2]: fact.created_at
        for fact in facts
        if fact.key.startswith("failed/")
    }
    return [
        {
            "number": int(number),
            "began_at": fact.created_at.isoformat(),
            "results_before": fact.body["results"],
            "stopped": fact.body["stopped"],
            "failed_at": _text(failed.get(number)),
        }
        for fact in facts
        if (number := fact.key.partition("/")[2]) and fact.key.startswith("attempt/")
    ]


def _plain_times(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
