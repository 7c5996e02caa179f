"""Overviews of a ledger's experiments, and one experiment in full. Touches no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from session_block.ledger.store import Ledger
from session_block.operations.sessions import RecordedSession
from session_block.records import submissions as records
from session_block.records.attempts import last_failure
from session_block.records.chapters import chapter_report, is_sealed, latest_chapter
from session_block.records.charges import expected_cost
from session_block.records.identity import Identity, flow_runs_of, known_experiments
from session_block.records.job_quota import JobQuota
from session_block.records.journal import Journal
from session_block.records.keys import (
    AttemptBegan,
    AttemptFailed,
    BackendChosen,
    ExperimentBegan,
    FinalJobUsage,
    FinalSessionUsage,
    Kind,
    Outcome,
    Result,
    Resumed,
    Stopped,
)
from session_block.records.outcomes import best_of, doubt_of, exact_of
from session_block.records.sessions import CANCELLED, SessionRecord, read_sessions
from session_block.records.states import SubmissionState
from session_block.records.stops import read_stops
from session_block.records.usage import recorded_usage
from session_block.records.views import ExperimentView


class ExperimentState(StrEnum):
    """Where an experiment stands, as far as the ledger alone shows.

    A running experiment and a killed one are both ``unfinished``: a killed process records nothing.
    One that somebody cancelled is ``cancelled``, and one whose session a person or the cost limit
    ended is ``stopped``: neither buys anything until it is resumed.
    """

    FINISHED = "finished"
    HELD = "held"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Overview:
    """An experiment at a glance.

    Attributes:
        jobs: Number of jobs that its submissions have had.
        results: Number of recorded results.
        best: The value that its report gives first, such as a VQE's energy in hartree; ``None``
            while there is none.
        exact: The exact value, if its report has one.
        doubt: Why the value may not be what was looked for, such as an optimiser that stopped at
            its limit; ``None`` if nothing speaks against it.
        session_id: Its latest session.
        started_at: When its first fact was recorded. Times are by the machines' clocks.
        last_activity_at: When its last fact was recorded, apart from facts about its usage.
    """

    identity: Identity
    state: ExperimentState
    backend: str | None
    jobs: int
    results: int
    best: float | None
    exact: float | None
    doubt: str | None
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
            "best": self.best,
            "exact": self.exact,
            "doubt": self.doubt,
            "session_id": self.session_id,
            "started_at": _text(self.started_at),
            "last_activity_at": _text(self.last_activity_at),
        }


def overviews(ledger: Ledger) -> list[Overview]:
    """Return the overview of every experiment in a ledger, oldest first."""
    return [overview(ledger, identity) for identity in known_experiments(ledger)]


def overview(ledger: Ledger, identity: Identity) -> Overview:
    """Return the overview of one experiment."""
    journal = Journal(ledger, identity.uid)
    facts = journal.everything()
    known = [one for _, one in facts if one is not None]
    sessions = read_sessions(journal)
    session_ids = [one.session_id for one in sessions if one.session_id]
    backends = [one.name for one in known if isinstance(one, BackendChosen)]
    # Usage facts are left out: reading an experiment's usage is no activity of it.
    moments = [
        fact.created_at
        for fact, one in facts
        if not isinstance(one, FinalJobUsage | FinalSessionUsage)
    ]
    report = chapter_report(journal, latest_chapter(journal))
    return Overview(
        identity=identity,
        state=_state(journal, known, sessions),
        backend=backends[0] if backends else None,
        jobs=sum(isinstance(one, Outcome) and one.made_job for one in known),
        results=sum(isinstance(one, Result) for one in known),
        best=best_of(report),
        exact=exact_of(report),
        doubt=doubt_of(report),
        session_id=session_ids[-1] if session_ids else None,
        started_at=moments[0] if moments else None,
        last_activity_at=moments[-1] if moments else None,
    )


def described_in_full(ledger: Ledger, identity: Identity) -> dict[str, Any]:
    """Return all that the ledger records about an experiment, as JSON values.

    The overview, ``opened_in`` (the subflows around the opening of an experiment without a name),
    and ``sessions``, ``submissions``, ``attempts``, ``flow_runs`` (those that opened it),
    ``budget`` (how many jobs count against limits, ``None`` without limits, and how many the limits
    refused),
    ``stops`` (who or what stopped it, and who resumed it), ``noise_models`` (where they come from,
    and how old they were when it took them), ``usage`` as far as it is recorded, what was
    ``expected`` for its jobs by themselves, and the number of the latest ``chapter`` and its
    ``report``.
    """
    view, journal = ExperimentView(identity, ledger), Journal(ledger, identity.uid)
    rows, began = view.submissions(), journal.get(ExperimentBegan)
    return {
        **overview(ledger, identity).described(),
        "opened_in": None if began is None else began.opened_in,
        "sessions": [RecordedSession(identity, one).described() for one in view.sessions],
        "submissions": [_plain_times(row) for row in rows],
        "attempts": _attempts(journal),
        "flow_runs": flow_runs_of(ledger, identity.uid),
        "budget": {
            "jobs_counted": JobQuota(journal).used() or None,
            "refused": sum(one.cause == records.BUDGET for one in journal.all(Outcome)),
        },
        "stops": [_stop(*one) for one in read_stops(journal)],
        "noise_models": [one.model_dump(mode="json") for one in view.noise_models],
        "usage": recorded_usage(journal).described(),
        "expected": expected_cost(journal).described(),
        "chapter": view.chapter,
        "report": view.report(),
    }


def _state(
    journal: Journal, facts: Sequence[Kind], sessions: Sequence[SessionRecord]
) -> ExperimentState:
    if is_sealed(journal):
        return ExperimentState.FINISHED
    recorded = records.fold_all(facts).values()
    if any(one.state is SubmissionState.HELD for one in recorded):
        return ExperimentState.HELD
    stops = read_stops(journal)
    if stops and stops[-1][1] is None:
        was_cancelled = stops[-1][0].cause == "cancelled"
        return ExperimentState.CANCELLED if was_cancelled else ExperimentState.STOPPED
    if not stops and sessions and CANCELLED in (sessions[-1].closing, sessions[-1].end):
        return ExperimentState.CANCELLED  # by its program, or by an older version
    failed = last_failure(journal) is not None
    return ExperimentState.FAILED if failed else ExperimentState.UNFINISHED


def _attempts(journal: Journal) -> list[dict[str, Any]]:
    failed = {one.attempt: one.recorded_at for one in journal.all(AttemptFailed)}
    return [
        {
            "number": one.attempt,
            "began_at": _text(one.recorded_at),
            "results_before": one.results,
            "stopped": one.stopped,
            "failed_at": _text(failed.get(one.attempt)),
        }
        for one in journal.all(AttemptBegan)
    ]


def _stop(stop: Stopped, lifted: Resumed | None) -> dict[str, Any]:
    return {
        "number": stop.number,
        "at": _text(stop.recorded_at),
        "cause": stop.cause,
        "because": stop.because,
        "session_id": stop.session_id,
        "jobs": list(stop.jobs),
        "charged_seconds": stop.charged_seconds,
        "resumed_at": None if lifted is None else _text(lifted.recorded_at),
        "resumed_by": None if lifted is None else lifted.by,
    }


def _plain_times(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
