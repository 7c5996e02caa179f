"""Fold the facts of a submission into where it stands; no I/O but in :func:`read_submission`.

Each generation of a submission has an ``intent`` and an ``outcome``, which is a job, a rejection or
an abandonment. If a job is known to have given no result and never to give one, its generation also
has an ``ended`` fact. A generation that waits for an operator has a ``hold``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from session_block.errors import LedgerError
from session_block.records.journal import Journal
from session_block.records.keys import (
    Asker,
    Hold,
    Intent,
    JobEnded,
    Kind,
    Outcome,
    Result,
    SubmissionFact,
)
from session_block.records.states import SubmissionState, submission_state


class Situation(StrEnum):
    """What the ledger says about a submission, or about one generation of it."""

    NOTHING = "nothing"
    INTENT_WITH_SENDER = "intent, its sender alive and within its deadline"
    INTENT_ORPHANED = "intent, its sender gone"
    HELD = "intent, held for an operator"
    REJECTED_BY_CLOSED_SESSION = "rejected: the session was closed"
    REJECTED_FOR_NOW = "rejected earlier for a reason that lies outside the request"
    REJECTED_BY_BUDGET = "rejected by our own budget"
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    JOB = "a job"
    JOB_ENDED_WITH_SESSION = "a job that is known to have ended with its session"
    JOB_WRITTEN_OFF = "a job that failed in passing, or that an operator has written off"
    SUPERSEDED = "an earlier generation"
    RESULT = "a result"


ENDED_WITH_SESSION = "its session ended"
FAILED_IN_PASSING = "it failed in passing"
WRITTEN_OFF = "an operator wrote it off"
SUPERSEDED = "a later generation took its place before the ledger was lost"

_ENDED = {None: Situation.JOB, ENDED_WITH_SESSION: Situation.JOB_ENDED_WITH_SESSION}
BUDGET = "budget"
"""The cause of a rejection by the experiment's own budget: nothing was sent."""

_REJECTED = {
    BUDGET: Situation.REJECTED_BY_BUDGET,
    "session-closed": Situation.REJECTED_BY_CLOSED_SESSION,
    "for-now": Situation.REJECTED_FOR_NOW,
}


class Named(TypedDict):
    """The attributes of an error about a generation; see :mod:`session_block.errors`."""

    experiment: str
    submission: str
    session_id: str | None
    job_id: str | None


@dataclass(frozen=True)
class Asked:
    """What an intent says of its request, apart from where it is sent.

    Attributes:
        fingerprint: The request's fingerprint.
        occurrence: Which of several equal requests it is, counted from 1.
        label: The user's label, or ``None``.
        concurrent: Whether several threads or tasks make requests.
        asker: Which flow run asks, if others of its tree may ask of the same experiment.
        chapter: The experiment's chapter.
        task_run: ID of the Prefect task run that asks; empty if none does.
    """

    fingerprint: str
    occurrence: int
    label: str | None
    concurrent: bool
    asker: Asker | None = None
    chapter: int = 1
    task_run: str = ""


@dataclass(frozen=True)
class Generation:
    """One attempt at a submission, as recorded in the ledger.

    Attributes:
        number: 1 for the first attempt.
        intent: Where it is sent, and by whom.
        outcome: What came of it; ``None`` while it is open.
        ended: Why the job is known to have given no result, or ``None``.
        hold: Why the generation waits for an operator; ``None`` if it was never held.
    """

    number: int
    intent: Intent
    outcome: Outcome | None = None
    ended: str | None = None
    hold: Hold | None = None

    @property
    def held(self) -> bool:
        """Whether it still waits for an operator's decision.

        A hold no longer counts once the generation has ended or has got another outcome.
        """
        if self.hold is None or self.ended is not None:
            return False
        return self.outcome is None or (self.job_id is not None and self.job_id == self.hold.job_id)

    def named(self, experiment: str) -> Named:
        """Return the attributes of an error about this generation."""
        return {
            "experiment": experiment,
            "submission": self.intent.submission,
            "session_id": self.intent.session_id,
            "job_id": self.job_id,
        }

    @property
    def job_id(self) -> str | None:
        """The job that this generation made, if it made one."""
        return None if self.outcome is None else self.outcome.job_id


@dataclass(frozen=True)
class Submission:
    """Everything that the ledger says about one submission."""

    id: str
    generations: tuple[Generation, ...] = ()
    result: Result | None = None

    @property
    def has_result(self) -> bool:
        """Whether its result is recorded."""
        return self.result is not None

    @property
    def latest(self) -> Generation | None:
        """The latest generation, or ``None`` if nothing is recorded."""
        return self.generations[-1] if self.generations else None

    @property
    def state(self) -> SubmissionState:
        """Where it stands, for people; :meth:`situation` is for deciding what to do next.

        Raises:
            LedgerError: Nothing is recorded about it.
        """
        latest = self.latest
        if latest is None and not self.has_result:
            raise LedgerError(f"Nothing is recorded of submission {self.id}.", submission=self.id)
        return submission_state(
            has_result=self.has_result,
            held=latest is not None and latest.held,
            ended=latest is not None and latest.ended is not None,
            outcome=None if latest is None or latest.outcome is None else latest.outcome.kind,
        )

    @property
    def refused_with(self) -> int | None:
        """The HTTP status of the latest generation's rejection; ``None`` if it has none."""
        outcome = None if self.latest is None else self.latest.outcome
        return None if outcome is None else outcome.status

    @property
    def refusal(self) -> Generation | None:
        """The latest generation if it was refused; ``None`` if it was not."""
        latest = self.latest
        if latest is None or latest.outcome is None or latest.outcome.kind != "rejected":
            return None
        return latest

    @property
    def failures_in_passing(self) -> int:
        """How many of its jobs failed for a passing reason."""
        return sum(one.ended == FAILED_IN_PASSING for one in self.generations)

    def situation(self, *, sender_alive: bool) -> Situation:
        """Return where the submission stands.

        Args:
            sender_alive: Whether the sender of the latest intent may still be at work.

        Raises:
            LedgerError: The latest outcome is of an unknown kind.
        """
        latest = self.latest
        if self.has_result:
            return Situation.RESULT
        if latest is None:
            return Situation.NOTHING
        if latest.outcome is None:
            if latest.held:
                return Situation.HELD
            return Situation.INTENT_WITH_SENDER if sender_alive else Situation.INTENT_ORPHANED
        match latest.outcome.kind:
            case "job":
                return _ENDED.get(latest.ended, Situation.JOB_WRITTEN_OFF)
            case "abandoned":
                return Situation.ABANDONED
            case "rejected" if latest.ended:
                return Situation.ABANDONED
            case "rejected":
                return _REJECTED.get(str(latest.outcome.cause), Situation.REJECTED)
            case kind:
                raise LedgerError(
                    f"Submission {self.id} has an outcome of the unknown kind {kind!r}. Was the "
                    "ledger written by a newer version?",
                    submission=self.id,
                )


FACTS = (Intent, Outcome, JobEnded, Hold, Result)
"""The kinds of facts that submissions are folded from."""


def fold(submission: str, facts: Iterable[Kind]) -> Submission:
    """Fold facts into one submission; facts of other submissions are ignored."""
    known = {fact.fact_key: fact for fact in facts}
    generations: list[Generation] = []
    while True:
        number = len(generations) + 1
        intent = known.get(Intent.prefix(submission, number))
        if not isinstance(intent, Intent):
            break
        outcome = known.get(Outcome.prefix(submission, number))
        ended = known.get(JobEnded.prefix(submission, number))
        hold = known.get(Hold.prefix(submission, number))
        generations.append(
            Generation(
                number=number,
                intent=intent,
                outcome=outcome if isinstance(outcome, Outcome) else None,
                ended=ended.because if isinstance(ended, JobEnded) else None,
                hold=hold if isinstance(hold, Hold) else None,
            )
        )
    result = known.get(Result.prefix(submission))
    return Submission(
        submission, tuple(generations), result if isinstance(result, Result) else None
    )


def fold_all(facts: Iterable[Kind]) -> dict[str, Submission]:
    """Fold facts into submissions, in the order in which they were first requested."""
    grouped: defaultdict[str, list[Kind]] = defaultdict(list)
    asked: dict[str, None] = {}
    for fact in facts:
        if isinstance(fact, SubmissionFact):
            grouped[fact.submission].append(fact)
            if isinstance(fact, Intent):
                asked.setdefault(fact.submission)
    return {submission: fold(submission, grouped[submission]) for submission in asked}


def read_submission(journal: Journal, submission: str) -> Submission:
    """Return what the ledger says about one submission."""
    return fold(submission, journal.several(*FACTS, at=submission))
