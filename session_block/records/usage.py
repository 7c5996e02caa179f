"""Report usage from the ledger alone: the figures that were final when last read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from session_block.records.journal import Journal
from session_block.records.keys import FinalJobUsage, FinalSessionUsage, Intent, Outcome, Twin
from session_block.records.sessions import read_sessions


@dataclass(frozen=True)
class RecordedUsage:
    """Recorded usage of an experiment, in seconds.

    Attributes:
        seconds: The recorded part of the usage that it is charged with.
        complete: Whether all usage that it is charged with is recorded.
        sessions: Usage by the ID of each of its own sessions and batches; ``None`` if not recorded.
        jobs: Usage by the ID of each job that is charged by itself; ``None`` if not recorded.
    """

    seconds: float
    complete: bool
    sessions: dict[str, float | None]
    jobs: dict[str, float | None]

    @property
    def known_seconds(self) -> float | None:
        """The recorded part; ``None`` if something was charged and nothing of it is recorded."""
        recorded = [*self.sessions.values(), *self.jobs.values()]
        nothing = bool(recorded) and all(one is None for one in recorded)
        return None if nothing else self.seconds

    def described(self) -> dict[str, Any]:
        """Return the usage as JSON values."""
        return {
            "seconds": self.seconds,
            "complete": self.complete,
            "sessions": self.sessions,
            "jobs": self.jobs,
        }


def recorded_usage(journal: Journal) -> RecordedUsage:
    """Return the recorded usage of an experiment; :class:`UsageMeter` also asks the platform."""
    opened = {
        one.session_id: one.number
        for one in read_sessions(journal)
        if one.opened and one.session_id
    }
    of_sessions = {one.number: one.seconds for one in journal.all(FinalSessionUsage)}
    of_jobs = {one.job_id: one.seconds for one in journal.all(FinalJobUsage)}
    sessions = {session_id: of_sessions.get(number) for session_id, number in opened.items()}
    jobs = {
        one.job_id: of_jobs.get(one.job_id)
        for one in jobs_of(journal)
        if one.session_id not in opened
    }
    charged = [*sessions.values(), *jobs.values()]
    return RecordedUsage(
        seconds=sum(one or 0.0 for one in charged),
        complete=None not in charged,
        sessions=sessions,
        jobs=jobs,
    )


@dataclass(frozen=True)
class SentJob:
    """A job that an experiment has made, twin or not, as recorded in the ledger.

    Attributes:
        job_id: The job.
        submission: The submission that it was made for.
        intent: The intent that it was sent for; a twin has the first one of its submission;
            ``None`` if the ledger has none.
    """

    job_id: str
    submission: str
    intent: Intent | None

    @property
    def session_id(self) -> str | None:
        """The session or batch that it was sent to, or ``None``."""
        return None if self.intent is None else self.intent.session_id


def jobs_of(journal: Journal) -> Iterator[SentJob]:
    """Yield the jobs of an experiment in the order in which they were recorded."""
    facts = journal.several(Intent, Outcome, Twin)
    intents = {(one.submission, one.generation): one for one in facts if isinstance(one, Intent)}
    for one in facts:
        match one:
            case Outcome(submission=submission, generation=number, job_id=str(job_id)):
                yield SentJob(job_id, submission, intents.get((submission, number)))
            case Twin(submission=submission, job_id=job_id):
                yield SentJob(job_id, submission, intents.get((submission, 1)))
