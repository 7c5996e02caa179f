"""One experiment in full, as its ledger records it. Touches no network."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from session_block.ledger.store import Ledger
from session_block.operations.sessions import RecordedSession
from session_block.records import submissions as records
from session_block.records.charges import expected_cost
from session_block.records.identity import Identity, flow_runs_of
from session_block.records.job_quota import JobQuota
from session_block.records.journal import Journal
from session_block.records.keys import (
    AttemptBegan,
    AttemptFailed,
    ExperimentBegan,
    Outcome,
    Resumed,
    Stopped,
)
from session_block.records.overviews import overview
from session_block.records.stops import read_stops
from session_block.records.usage import recorded_usage
from session_block.records.views import ExperimentView


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

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> described = described_in_full(ledger, experiment.identity)
        >>> described["submissions"][-1]["state"], described["chapter"]
        ('result', 1)
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
