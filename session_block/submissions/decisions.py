"""Decide what to do next from what the ledger and the platform say.

The table is the whole policy of a submission. This module does no I/O: ``submit.py``,
``reconcile.py``, ``settle.py`` and ``results.py`` find out the situation and the answer, look up
the action here, and carry it out.

Each generation of a submission has two facts, its ``intent`` and its ``outcome``. Whoever creates
the outcome first decides it for everybody. Generation n+1 may begin only after n has ended without
a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from session_block.errors import LedgerError
from session_block.records.submissions import Situation
from session_block.settings import Policy


class Answer(StrEnum):
    """What the platform says about a submission or its job, or what our budget or the user says."""

    NOT_ASKED = "not asked"
    NO_JOB_YET = "no job bears the tag; the settle window is open"
    NO_JOB = "no job bears the tag; the settle window is over"
    ONE_JOB = "one job bears the tag"
    SEVERAL_JOBS = "several jobs bear the tag"
    OTHER_JOBS = "jobs beside the recorded one bear the tag, and none is needed"
    UNREADABLE = "the listing failed or was incomplete"
    PENDING = "queued or running"
    DONE = "done"
    DONE_UNREADABLE = "done, but its result is empty or truncated"
    STILL_UNREADABLE = "done, but its result stays empty or truncated"
    ENDED_WITH_SESSION = "ended because its session ended by time, by idling or by our own close"
    STOPPED_WITH_SESSION = "ended because a person or a cost limit ended its session"
    FAILED_IN_PASSING = "failed for a reason listed as retryable"
    FAILED = "failed for good"
    CANCELLED = "cancelled by a user"
    UNKNOWN_JOB_YET = "unknown at its instance; the settle window is open"
    UNKNOWN_JOB = "unknown at its instance"
    WITHIN_BUDGET = "within the limits, which were raised"
    OVER_BUDGET = "over the limits"
    ASKED_ANEW = "not asked since the user made the request anew"


class Action(StrEnum):
    """What to do next."""

    SUBMIT = "create the intent, submit, create the outcome"
    WAIT_FOR_SENDER = "wait for the outcome; do not submit"
    ASK_BUDGET = "ask whether the limits now let it pass"
    LOOK = "look the tag up in the platform's listing"
    RESTORE = "create intent and outcome from the job: the ledger had lost it"
    ADOPT = "create the outcome with the earliest usable job; others are twins"
    ADOPT_AS_NEXT = "create the next generation with the job that appeared after all"
    CANCEL_TWINS = "cancel the jobs, record them as twins"
    ABANDON = "create the outcome 'abandoned'"
    NEXT_GENERATION = "create the next generation's intent, submit"
    NEXT_GENERATION_IN_NEW_SESSION = "the next generation, in the session that replaces it"
    ASK_JOB = "ask for the job's state"
    WAIT = "wait for the job"
    FETCH = "fetch the result, store it"
    FETCH_AGAIN = "fetch the result again"
    END_WITH_SESSION = "record that the job ended with its session"
    END_AND_STOP = "record that the job ended with its session; stop"
    WRITE_OFF = "record that the job failed in passing"
    RAISE = "raise, with the platform's code and message"
    HOLD = "record the hold; raise, naming the operator's command"
    ANSWER = "answer from the ledger"


TABLE: Mapping[tuple[Situation, Answer], Action] = {
    (Situation.NOTHING, Answer.NOT_ASKED): Action.LOOK,
    (Situation.NOTHING, Answer.NO_JOB): Action.SUBMIT,
    (Situation.NOTHING, Answer.ONE_JOB): Action.RESTORE,
    (Situation.NOTHING, Answer.SEVERAL_JOBS): Action.RESTORE,
    (Situation.NOTHING, Answer.UNREADABLE): Action.LOOK,
    (Situation.INTENT_WITH_SENDER, Answer.NOT_ASKED): Action.WAIT_FOR_SENDER,
    (Situation.INTENT_WITH_SENDER, Answer.ONE_JOB): Action.WAIT_FOR_SENDER,
    (Situation.INTENT_WITH_SENDER, Answer.SEVERAL_JOBS): Action.WAIT_FOR_SENDER,
    (Situation.INTENT_ORPHANED, Answer.NOT_ASKED): Action.LOOK,
    (Situation.INTENT_ORPHANED, Answer.ONE_JOB): Action.ADOPT,
    (Situation.INTENT_ORPHANED, Answer.SEVERAL_JOBS): Action.ADOPT,
    (Situation.INTENT_ORPHANED, Answer.NO_JOB_YET): Action.LOOK,
    (Situation.INTENT_ORPHANED, Answer.NO_JOB): Action.ABANDON,
    (Situation.INTENT_ORPHANED, Answer.UNREADABLE): Action.LOOK,
    (Situation.HELD, Answer.NOT_ASKED): Action.LOOK,
    (Situation.HELD, Answer.ONE_JOB): Action.ADOPT,
    (Situation.HELD, Answer.SEVERAL_JOBS): Action.ADOPT,
    (Situation.HELD, Answer.NO_JOB_YET): Action.HOLD,
    (Situation.HELD, Answer.NO_JOB): Action.HOLD,
    (Situation.HELD, Answer.UNREADABLE): Action.HOLD,
    (Situation.REJECTED_BY_CLOSED_SESSION, Answer.NOT_ASKED): Action.NEXT_GENERATION_IN_NEW_SESSION,
    (Situation.REJECTED_BY_CLOSED_SESSION, Answer.ONE_JOB): Action.ADOPT_AS_NEXT,
    (Situation.REJECTED_BY_CLOSED_SESSION, Answer.SEVERAL_JOBS): Action.ADOPT_AS_NEXT,
    (Situation.REJECTED_FOR_NOW, Answer.NOT_ASKED): Action.NEXT_GENERATION,
    (Situation.REJECTED_FOR_NOW, Answer.ONE_JOB): Action.ADOPT_AS_NEXT,
    (Situation.REJECTED_FOR_NOW, Answer.SEVERAL_JOBS): Action.ADOPT_AS_NEXT,
    (Situation.REJECTED_BY_BUDGET, Answer.NOT_ASKED): Action.ASK_BUDGET,
    (Situation.REJECTED_BY_BUDGET, Answer.WITHIN_BUDGET): Action.NEXT_GENERATION,
    (Situation.REJECTED_BY_BUDGET, Answer.OVER_BUDGET): Action.RAISE,
    (Situation.REJECTED_BY_BUDGET, Answer.ONE_JOB): Action.ADOPT_AS_NEXT,
    (Situation.REJECTED_BY_BUDGET, Answer.SEVERAL_JOBS): Action.ADOPT_AS_NEXT,
    (Situation.REJECTED, Answer.NOT_ASKED): Action.RAISE,
    (Situation.REJECTED, Answer.ASKED_ANEW): Action.NEXT_GENERATION,
    (Situation.REJECTED, Answer.ONE_JOB): Action.ADOPT_AS_NEXT,
    (Situation.REJECTED, Answer.SEVERAL_JOBS): Action.ADOPT_AS_NEXT,
    (Situation.ABANDONED, Answer.NOT_ASKED): Action.NEXT_GENERATION,
    (Situation.ABANDONED, Answer.ONE_JOB): Action.ADOPT_AS_NEXT,
    (Situation.ABANDONED, Answer.SEVERAL_JOBS): Action.ADOPT_AS_NEXT,
    (Situation.JOB, Answer.NOT_ASKED): Action.ASK_JOB,
    (Situation.JOB, Answer.OTHER_JOBS): Action.CANCEL_TWINS,
    (Situation.JOB, Answer.PENDING): Action.WAIT,
    (Situation.JOB, Answer.DONE): Action.FETCH,
    (Situation.JOB, Answer.DONE_UNREADABLE): Action.FETCH_AGAIN,
    (Situation.JOB, Answer.STILL_UNREADABLE): Action.HOLD,
    (Situation.JOB, Answer.ENDED_WITH_SESSION): Action.END_WITH_SESSION,
    (Situation.JOB, Answer.STOPPED_WITH_SESSION): Action.END_AND_STOP,
    (Situation.JOB, Answer.FAILED_IN_PASSING): Action.WRITE_OFF,
    (Situation.JOB, Answer.FAILED): Action.RAISE,
    (Situation.JOB, Answer.CANCELLED): Action.RAISE,
    (Situation.JOB, Answer.UNKNOWN_JOB_YET): Action.WAIT,
    (Situation.JOB, Answer.UNKNOWN_JOB): Action.HOLD,
    (Situation.JOB_ENDED_WITH_SESSION, Answer.NOT_ASKED): Action.NEXT_GENERATION_IN_NEW_SESSION,
    (Situation.JOB_ENDED_WITH_SESSION, Answer.ONE_JOB): Action.ADOPT_AS_NEXT,
    (Situation.JOB_ENDED_WITH_SESSION, Answer.SEVERAL_JOBS): Action.ADOPT_AS_NEXT,
    (Situation.JOB_ENDED_WITH_SESSION, Answer.OTHER_JOBS): Action.CANCEL_TWINS,
    (Situation.JOB_WRITTEN_OFF, Answer.NOT_ASKED): Action.NEXT_GENERATION,
    (Situation.JOB_WRITTEN_OFF, Answer.ONE_JOB): Action.ADOPT_AS_NEXT,
    (Situation.JOB_WRITTEN_OFF, Answer.SEVERAL_JOBS): Action.ADOPT_AS_NEXT,
    (Situation.JOB_WRITTEN_OFF, Answer.OTHER_JOBS): Action.CANCEL_TWINS,
    (Situation.SUPERSEDED, Answer.OTHER_JOBS): Action.CANCEL_TWINS,
    (Situation.RESULT, Answer.NOT_ASKED): Action.ANSWER,
    (Situation.RESULT, Answer.OTHER_JOBS): Action.CANCEL_TWINS,
}

WITH_A_DEAD_JOB = frozenset({Situation.JOB_ENDED_WITH_SESSION, Situation.JOB_WRITTEN_OFF})
"""The situations in which another job would be bought, unless the dead one has a twin, or the
ledger is an older copy that does not know the job after it."""

BUYS = frozenset({Action.SUBMIT, Action.NEXT_GENERATION, Action.NEXT_GENERATION_IN_NEW_SESSION})
"""The actions that make a job. None is carried out while the experiment is stopped."""

_HELD_BACK = {(Situation.INTENT_ORPHANED, Answer.NO_JOB): Action.HOLD}
"""The rows that differ under the policy ``hold``."""


def decide(
    situation: Situation, answer: Answer = Answer.NOT_ASKED, policy: Policy = Policy.RESUBMIT
) -> Action:
    """Return what to do next.

    Raises:
        LedgerError: This situation and answer cannot occur together, so the ledger or the platform
            is not in the state it shows. Nothing is submitted then.
    """
    if policy is Policy.HOLD and (situation, answer) in _HELD_BACK:
        return _HELD_BACK[situation, answer]
    try:
        return TABLE[situation, answer]
    except KeyError:
        raise LedgerError(
            f"The ledger says '{situation}' and the platform '{answer}'. They contradict each "
            "other, so nothing is submitted."
        ) from None
