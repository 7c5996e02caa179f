"""What jobs were charged, and what this teaches about later ones of their kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from session_block.ledger.store import Ledger
from session_block.records.journal import Journal
from session_block.records.keys import CHARGES, FinalJobUsage, JobCharged, Result
from session_block.records.usage import SentJob, jobs_of


@dataclass(frozen=True)
class JobKind:
    """Jobs that are charged by the same constants.

    Attributes:
        program: ``sampler``, ``estimator`` or ``executor``: what was asked for.
        level: The resilience level; 0 for programs without one.
        backend: The backend's name.
        url: The platform's URL.
    """

    program: str
    level: int
    backend: str
    url: str


def record_charge(
    journal: Journal,
    job: SentJob,
    seconds: float,
    began: datetime | None = None,
    ended: datetime | None = None,
) -> None:
    """Record a job's final usage; if it gave its submission's result, others learn from it.

    Args:
        journal: The experiment's journal.
        job: The job.
        seconds: What it was charged.
        began: When it began to run, if that is known.
        ended: When it ended.
    """
    usage = FinalJobUsage(
        job_id=job.job_id,
        seconds=seconds,
        began_at=None if began is None else began.isoformat(),
        ended_at=None if ended is None else ended.isoformat(),
    )
    journal.record(usage)
    intent = job.intent
    if intent is None or intent.implementation != "executor" or not has_given_result(journal, job):
        return
    if intent.executions is None or intent.execution_seconds is None:
        return
    charged = JobCharged(
        program=str(intent.kind),
        level=intent.level or 0,
        backend=intent.backend,
        url=str(intent.url),
        job_id=job.job_id,
        executions=intent.executions,
        execution_seconds=intent.execution_seconds,
        seconds=seconds,
    )
    Journal(journal.ledger, CHARGES).record(charged)


def has_given_result(journal: Journal, job: SentJob) -> bool:
    """Whether the result of a job's submission came from that job."""
    return any(one.job_id == job.job_id for one in journal.all(Result, job.submission))


def charges_of(ledger: Ledger, kind: JobKind) -> Sequence[JobCharged]:
    """Return what the ledger's finished jobs of a kind were charged, oldest first."""
    place = (kind.program, kind.level, kind.backend, kind.url)
    return Journal(ledger, CHARGES).all(JobCharged, *place)


@dataclass(frozen=True)
class ExpectedCost:
    """What an experiment's jobs were expected to be charged when they were sent, in seconds.

    Attributes:
        jobs: How many jobs it has made.
        estimated: For how many of them there was an estimate; the other fields are of these alone.
        seconds: Their expected charge together, by themselves or in a batch.
        low: The lower end.
        high: The upper end.
    """

    jobs: int
    estimated: int
    seconds: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether all jobs were estimated, and there is one."""
        return self.jobs > 0 and self.estimated == self.jobs

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def expected_cost(journal: Journal) -> ExpectedCost:
    """Return what the jobs that an experiment has made were expected to be charged."""
    intents = [one.intent for one in jobs_of(journal)]
    expected = [one.expected_seconds for one in intents if one is not None and one.expected_seconds]
    seconds, low, high = (round(sum(ends), 3) for ends in zip((0.0,) * 3, *expected, strict=True))
    return ExpectedCost(len(intents), len(expected), seconds, low, high)
