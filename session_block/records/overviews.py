"""Experiments at a glance, from their ledger alone: where they stand, and what they have found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from session_block.ledger.store import Ledger
from session_block.records.attempts import last_failure
from session_block.records.chapters import (
    chapter_report,
    held_submissions,
    is_sealed,
    latest_chapter,
)
from session_block.records.identity import Identity, known_experiments
from session_block.records.journal import Journal
from session_block.records.keys import (
    BackendChosen,
    FinalJobUsage,
    FinalSessionUsage,
    Outcome,
    Result,
)
from session_block.records.outcomes import (
    best_of,
    counts_of,
    doubt_of,
    exact_of,
    parameters_of,
    reference_of,
)
from session_block.records.sessions import CANCELLED, read_sessions
from session_block.records.stops import read_stops


class ExperimentState(StrEnum):
    """Where an experiment stands, as far as the ledger alone shows.

    A running experiment and a killed one are both ``unfinished``: a killed process records nothing.
    One that somebody cancelled is ``cancelled``, and one whose session a person or the cost limit
    ended is ``stopped``: neither buys anything until it is resumed.

    Examples:
        >>> overview(ledger, experiment.identity).state
        <ExperimentState.UNFINISHED: 'unfinished'>
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
        reference: A value to compare with, if its report has one.
        parameters: What the best value was found at, by name, if its report says so: a number or a
            list of numbers, in radians for angles.
        counts: Shots by outcome, most frequent first, if its report has them.
        doubt: Why the value may not be what was looked for, such as an optimiser that stopped at
            its limit; ``None`` if nothing speaks against it.
        session_id: Its latest session.
        started_at: When its first fact was recorded. Times are by the machines' clocks.
        last_activity_at: When its last fact was recorded, apart from facts about its usage.

    Examples:
        >>> with block.experiment("bell-pairs") as experiment:
        ...     result = experiment.run_sampler([circuit], shots=1000)
        >>> found = overview(ledger, experiment.identity)
        >>> found.state.value, found.jobs, found.results
        ('finished', 1, 1)
    """

    identity: Identity
    state: ExperimentState
    backend: str | None
    jobs: int
    results: int
    best: float | None
    exact: float | None
    reference: float | None
    parameters: dict[str, float | list[float]] | None
    counts: dict[str, int] | None
    doubt: str | None
    session_id: str | None
    started_at: datetime | None
    last_activity_at: datetime | None

    def described(self) -> dict[str, Any]:
        """Return it as JSON values.

        Examples:
            >>> overview(ledger, experiment.identity).described()["experiment"]
            'example'
        """
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
            "reference": self.reference,
            "parameters": self.parameters,
            "counts": self.counts,
            "doubt": self.doubt,
            "session_id": self.session_id,
            "started_at": _text(self.started_at),
            "last_activity_at": _text(self.last_activity_at),
        }


def overviews(ledger: Ledger) -> list[Overview]:
    """Return the overview of every experiment in a ledger, oldest first.

    Examples:
        >>> block.experiment("bell-pairs").identity.name in {
        ...     one.identity.name for one in overviews(ledger)
        ... }
        True
    """
    return [overview(ledger, identity) for identity in known_experiments(ledger)]


def overview(ledger: Ledger, identity: Identity) -> Overview:
    """Return the overview of one experiment.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> found = overview(ledger, experiment.identity)
        >>> found.state.value, found.backend, found.results == experiment.recorded_results
        ('unfinished', 'ibm_manila', True)
    """
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
        state=state_of(journal),
        backend=backends[0] if backends else None,
        jobs=sum(isinstance(one, Outcome) and one.made_job for one in known),
        results=sum(isinstance(one, Result) for one in known),
        best=best_of(report),
        exact=exact_of(report),
        reference=reference_of(report),
        parameters=parameters_of(report),
        counts=counts_of(report),
        doubt=doubt_of(report),
        session_id=session_ids[-1] if session_ids else None,
        started_at=moments[0] if moments else None,
        last_activity_at=moments[-1] if moments else None,
    )


def state_of(journal: Journal) -> ExperimentState:
    """Return where an experiment stands. Reads few facts, however many it has."""
    if is_sealed(journal):
        return ExperimentState.FINISHED
    if held_submissions(journal):
        return ExperimentState.HELD
    stops = read_stops(journal)
    if stops and stops[-1][1] is None:
        was_cancelled = stops[-1][0].cause == "cancelled"
        return ExperimentState.CANCELLED if was_cancelled else ExperimentState.STOPPED
    sessions = read_sessions(journal)
    if not stops and sessions and CANCELLED in (sessions[-1].closing, sessions[-1].end):
        return ExperimentState.CANCELLED  # by its program, or by an older version
    failed = last_failure(journal) is not None
    return ExperimentState.FAILED if failed else ExperimentState.UNFINISHED


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
