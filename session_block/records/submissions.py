"""Pure: the facts of a submission, folded into where it stands.

Each generation of a submission has an ``intent`` and an ``outcome``, which is a job, a rejection or
an abandonment. A job that is known to have given no result, and never to give one, has an ``ended``
fact as well, and a generation that waits for an operator a ``hold``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from session_block.errors import LedgerError


class Situation(StrEnum):
    """What the ledger says about a submission, or about one generation of it."""

    NOTHING = "nothing"
    INTENT_OWNED = "intent, its owner alive and within its deadline"
    INTENT_ORPHANED = "intent, its owner gone"
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


@dataclass(frozen=True)
class Generation:
    """One attempt at a submission, as the ledger tells it.

    Attributes:
        number: 1 for the first attempt.
        intent: Body of the intent fact: where it was sent, and by whom.
        outcome: Body of the outcome fact, or ``None`` while it is open.
        ended: Why the outcome's job is known to have given no result, or ``None``.
        held: Whether the generation waits for an operator.
    """

    number: int
    intent: Mapping[str, Any]
    outcome: Mapping[str, Any] | None = None
    ended: str | None = None
    held: bool = False

    @property
    def job_id(self) -> str | None:
        """The job that this generation made, if it made one."""
        return None if self.outcome is None else self.outcome.get("job_id")


@dataclass(frozen=True)
class Submission:
    """All that the ledger says about one submission."""

    id: str
    generations: tuple[Generation, ...] = ()
    has_result: bool = False

    @property
    def latest(self) -> Generation | None:
        """The last generation, or ``None`` when nothing is recorded."""
        return self.generations[-1] if self.generations else None

    @property
    def refused_with(self) -> int | None:
        """The HTTP status with which the last generation was refused, if it was."""
        outcome = None if self.latest is None else self.latest.outcome
        return None if outcome is None else outcome.get("status")

    @property
    def failures_in_passing(self) -> int:
        """How many of its jobs failed for a passing reason."""
        return sum(one.ended == FAILED_IN_PASSING for one in self.generations)

    def situation(self, *, owner_alive: bool) -> Situation:
        """Return where the submission stands; ``owner_alive`` is of the latest intent's owner."""
        latest = self.latest
        if self.has_result:
            return Situation.RESULT
        if latest is None:
            return Situation.NOTHING
        if latest.outcome is None:
            if latest.held:
                return Situation.HELD
            return Situation.INTENT_OWNED if owner_alive else Situation.INTENT_ORPHANED
        match latest.outcome["kind"]:
            case "job":
                return _ENDED.get(latest.ended, Situation.JOB_WRITTEN_OFF)
            case "abandoned":
                return Situation.ABANDONED
            case "rejected" if latest.ended:
                return Situation.ABANDONED
            case "rejected":
                return _REJECTED.get(latest.outcome["cause"], Situation.REJECTED)
            case kind:
                raise LedgerError(
                    f"Submission {self.id} has an outcome of the unknown kind {kind!r}. Was the "
                    "ledger written by a newer version?"
                )


def made_job(outcome: Mapping[str, Any]) -> bool:
    """Whether an outcome's body says that its generation made a job."""
    return bool(outcome["kind"] == "job")


def intent_key(submission: str, generation: int) -> str:
    """Return the key of an intent fact."""
    return f"intent/{submission}/{generation}"


def outcome_key(submission: str, generation: int) -> str:
    """Return the key of an outcome fact."""
    return f"outcome/{submission}/{generation}"


def ended_key(submission: str, generation: int) -> str:
    """Return the key of the fact that a generation's job gave no result and never will."""
    return f"ended/{submission}/{generation}"


def hold_key(submission: str, generation: int) -> str:
    """Return the key of the fact that a generation waits for an operator."""
    return f"hold/{submission}/{generation}"


def twin_key(submission: str, job_id: str) -> str:
    """Return the key of the fact that a job was one too many."""
    return f"twin/{submission}/{job_id}"


def result_key(submission: str) -> str:
    """Return the key of a result fact."""
    return f"result/{submission}"


def prefixes(submission: str) -> tuple[str, ...]:
    """Return what the keys of a submission's facts begin with."""
    kinds = ("intent", "outcome", "ended", "hold")
    return (*(f"{kind}/{submission}/" for kind in kinds), result_key(submission))


def fold(submission: str, facts: Iterable[tuple[str, Mapping[str, Any]]]) -> Submission:
    """Fold facts (key, body) into what they say about one submission; others are ignored."""
    bodies = dict(facts)
    generations: list[Generation] = []
    while (intent := bodies.get(intent_key(submission, len(generations) + 1))) is not None:
        number = len(generations) + 1
        generations.append(
            Generation(
                number=number,
                intent=intent,
                outcome=bodies.get(outcome_key(submission, number)),
                ended=bodies.get(ended_key(submission, number), {}).get("because"),
                held=hold_key(submission, number) in bodies,
            )
        )
    return Submission(submission, tuple(generations), result_key(submission) in bodies)
