"""Pure: what the ledger says and what the platform says -> what to do next.

The table is the whole policy of a submission. It holds no I/O: ``submission.py`` finds out the
situation and the answer, looks the action up here, and carries it out.

Each generation of a submission has two facts, its ``intent`` and its ``outcome``. Whoever creates
the outcome decides it for everybody. Generation n+1 needs n to have ended without a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from session_block.errors import LedgerError


class Situation(StrEnum):
    """What the ledger says about a submission."""

    NOTHING = "nothing"
    INTENT_OWNED = "intent, its owner alive and within its deadline"
    INTENT_ORPHANED = "intent, its owner gone"
    REJECTED_BY_CLOSED_SESSION = "rejected: the session was closed"
    REJECTED_FOR_NOW = "rejected earlier for a reason that lies outside the request"
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    JOB = "a job"
    JOB_ENDED_WITH_SESSION = "a job that is known to have ended with its session"
    RESULT = "a result"


class Answer(StrEnum):
    """What the platform says about a submission."""

    NOT_ASKED = "not asked"
    NO_JOB_YET = "no job bears the tag; the settle window is open"
    NO_JOB = "no job bears the tag; the settle window is over"
    ONE_JOB = "one job bears the tag"
    SEVERAL_JOBS = "several jobs bear the tag"
    UNREADABLE = "the listing failed or was incomplete"
    PENDING = "queued or running"
    DONE = "done"
    DONE_UNREADABLE = "done, but its result is empty or truncated"
    ENDED_WITH_SESSION = "ended because its session ended"
    FAILED = "failed for good"
    CANCELLED = "cancelled by a user"
    UNKNOWN_JOB = "unknown at its instance"


class Action(StrEnum):
    """What to do next."""

    SUBMIT = "create the intent, submit, create the outcome"
    WAIT_FOR_OWNER = "wait for the outcome; do not submit"
    LOOK = "look the tag up in the platform's listing"
    ADOPT = "create the outcome with the job"
    ADOPT_EARLIEST = "create the outcome with the earliest usable job; the others are twins"
    ABANDON = "create the outcome 'abandoned'"
    NEXT_GENERATION = "create the next generation's intent, submit"
    NEXT_GENERATION_IN_NEW_SESSION = "the next generation, in the session that replaces it"
    ASK_JOB = "ask for the job's state"
    WAIT = "wait for the job"
    FETCH = "fetch the result, store it"
    FETCH_AGAIN = "fetch the result again; then hold"
    END_WITH_SESSION = "record that the job ended with its session"
    RAISE = "raise, with the platform's code and message"
    HOLD = "raise; an operator decides"
    ANSWER = "answer from the ledger"


TABLE: Mapping[tuple[Situation, Answer], Action] = {
    (Situation.NOTHING, Answer.NOT_ASKED): Action.SUBMIT,
    (Situation.INTENT_OWNED, Answer.NOT_ASKED): Action.WAIT_FOR_OWNER,
    (Situation.INTENT_ORPHANED, Answer.NOT_ASKED): Action.LOOK,
    (Situation.INTENT_ORPHANED, Answer.ONE_JOB): Action.ADOPT,
    (Situation.INTENT_ORPHANED, Answer.SEVERAL_JOBS): Action.ADOPT_EARLIEST,
    (Situation.INTENT_ORPHANED, Answer.NO_JOB_YET): Action.LOOK,
    (Situation.INTENT_ORPHANED, Answer.NO_JOB): Action.ABANDON,
    (Situation.INTENT_ORPHANED, Answer.UNREADABLE): Action.LOOK,
    (Situation.REJECTED_BY_CLOSED_SESSION, Answer.NOT_ASKED): Action.NEXT_GENERATION_IN_NEW_SESSION,
    (Situation.REJECTED_FOR_NOW, Answer.NOT_ASKED): Action.NEXT_GENERATION,
    (Situation.REJECTED, Answer.NOT_ASKED): Action.RAISE,
    (Situation.ABANDONED, Answer.NOT_ASKED): Action.NEXT_GENERATION,
    (Situation.JOB, Answer.NOT_ASKED): Action.ASK_JOB,
    (Situation.JOB, Answer.PENDING): Action.WAIT,
    (Situation.JOB, Answer.DONE): Action.FETCH,
    (Situation.JOB, Answer.DONE_UNREADABLE): Action.FETCH_AGAIN,
    (Situation.JOB, Answer.ENDED_WITH_SESSION): Action.END_WITH_SESSION,
    (Situation.JOB, Answer.FAILED): Action.RAISE,
    (Situation.JOB, Answer.CANCELLED): Action.RAISE,
    (Situation.JOB, Answer.UNKNOWN_JOB): Action.HOLD,
    (Situation.JOB_ENDED_WITH_SESSION, Answer.NOT_ASKED): Action.NEXT_GENERATION_IN_NEW_SESSION,
    (Situation.RESULT, Answer.NOT_ASKED): Action.ANSWER,
}


def decide(situation: Situation, answer: Answer = Answer.NOT_ASKED) -> Action:
    """Return what to do.

    Raises:
        LedgerError: The two cannot occur together, so the ledger or the platform is not what it
            seems; nothing is submitted then.
    """
    try:
        return TABLE[situation, answer]
    except KeyError:
        raise LedgerError(
            f"The ledger says '{situation}' and the platform '{answer}'. These exclude each "
            "other, so nothing is submitted."
        ) from None


@dataclass(frozen=True)
class Generation:
    """One attempt at a submission, as the ledger tells it.

    Attributes:
        number: 1 for the first attempt.
        intent: Body of the intent fact: where it was sent, and by whom.
        outcome: Body of the outcome fact, or ``None`` while it is open.
        ended_with_session: The outcome's job is known to have ended with its session.
    """

    number: int
    intent: Mapping[str, Any]
    outcome: Mapping[str, Any] | None = None
    ended_with_session: bool = False

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

    def situation(self, *, owner_alive: bool) -> Situation:
        """Return where the submission stands; ``owner_alive`` is of the latest intent's owner."""
        latest = self.latest
        if self.has_result:
            return Situation.RESULT
        if latest is None:
            return Situation.NOTHING
        if latest.outcome is None:
            return Situation.INTENT_OWNED if owner_alive else Situation.INTENT_ORPHANED
        match latest.outcome["kind"]:
            case "job":
                ended = latest.ended_with_session
                return Situation.JOB_ENDED_WITH_SESSION if ended else Situation.JOB
            case "abandoned":
                return Situation.ABANDONED
            case "rejected" if latest.outcome["cause"] == "session-closed":
                return Situation.REJECTED_BY_CLOSED_SESSION
            case "rejected" if latest.outcome["cause"] == "for-now":
                return Situation.REJECTED_FOR_NOW
            case "rejected":
                return Situation.REJECTED
            case kind:
                raise LedgerError(
                    f"Submission {self.id} has an outcome of the unknown kind {kind!r}. Was the "
                    "ledger written by a newer version?"
                )


def intent_key(submission: str, generation: int) -> str:
    """Return the key of an intent fact."""
    return f"intent/{submission}/{generation}"


def outcome_key(submission: str, generation: int) -> str:
    """Return the key of an outcome fact."""
    return f"outcome/{submission}/{generation}"


def ended_key(submission: str, generation: int) -> str:
    """Return the key of the fact that a generation's job ended with its session."""
    return f"ended/{submission}/{generation}"


def result_key(submission: str) -> str:
    """Return the key of a result fact."""
    return f"result/{submission}"


def fold(submission: str, facts: Iterable[tuple[str, Mapping[str, Any]]]) -> Submission:
    """Fold facts (key, body) into what they say about one submission; others are ignored."""
    bodies = dict(facts)
    generations: list[Generation] = []
    while (key := intent_key(submission, len(generations) + 1)) in bodies:
        number = len(generations) + 1
        generations.append(
            Generation(
                number=number,
                intent=bodies[key],
                outcome=bodies.get(outcome_key(submission, number)),
                ended_with_session=ended_key(submission, number) in bodies,
            )
        )
    return Submission(submission, tuple(generations), result_key(submission) in bodies)
