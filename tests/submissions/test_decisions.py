"""The decision table, row by row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_block.errors import LedgerError
from session_block.ledger.store import Fact
from session_block.records import submissions as records
from session_block.records.keys import Kind, typed
from session_block.records.submissions import Situation
from session_block.settings import Policy
from session_block.submissions import decisions
from session_block.submissions.decisions import BUYS, Action, Answer, decide

ROWS = [
    (Situation.NOTHING, Answer.NOT_ASKED, Action.LOOK),
    (Situation.NOTHING, Answer.NO_JOB, Action.SUBMIT),
    (Situation.NOTHING, Answer.ONE_JOB, Action.RESTORE),
    (Situation.NOTHING, Answer.SEVERAL_JOBS, Action.RESTORE),
    (Situation.NOTHING, Answer.UNREADABLE, Action.LOOK),
    (Situation.INTENT_WITH_SENDER, Answer.NOT_ASKED, Action.WAIT_FOR_SENDER),
    (Situation.INTENT_WITH_SENDER, Answer.ONE_JOB, Action.WAIT_FOR_SENDER),
    (Situation.INTENT_WITH_SENDER, Answer.SEVERAL_JOBS, Action.WAIT_FOR_SENDER),
    (Situation.INTENT_ORPHANED, Answer.NOT_ASKED, Action.LOOK),
    (Situation.INTENT_ORPHANED, Answer.ONE_JOB, Action.ADOPT),
    (Situation.INTENT_ORPHANED, Answer.SEVERAL_JOBS, Action.ADOPT),
    (Situation.INTENT_ORPHANED, Answer.NO_JOB_YET, Action.LOOK),
    (Situation.INTENT_ORPHANED, Answer.NO_JOB, Action.ABANDON),
    (Situation.INTENT_ORPHANED, Answer.UNREADABLE, Action.LOOK),
    (Situation.HELD, Answer.NOT_ASKED, Action.LOOK),
    (Situation.HELD, Answer.ONE_JOB, Action.ADOPT),
    (Situation.HELD, Answer.SEVERAL_JOBS, Action.ADOPT),
    (Situation.HELD, Answer.NO_JOB_YET, Action.HOLD),
    (Situation.HELD, Answer.NO_JOB, Action.HOLD),
    (Situation.HELD, Answer.UNREADABLE, Action.HOLD),
    (Situation.REJECTED_BY_CLOSED_SESSION, Answer.NOT_ASKED, Action.NEXT_GENERATION_IN_NEW_SESSION),
    (Situation.REJECTED_BY_CLOSED_SESSION, Answer.ONE_JOB, Action.ADOPT_AS_NEXT),
    (Situation.REJECTED_BY_CLOSED_SESSION, Answer.SEVERAL_JOBS, Action.ADOPT_AS_NEXT),
    (Situation.REJECTED_FOR_NOW, Answer.NOT_ASKED, Action.NEXT_GENERATION),
    (Situation.REJECTED_FOR_NOW, Answer.ONE_JOB, Action.ADOPT_AS_NEXT),
    (Situation.REJECTED_FOR_NOW, Answer.SEVERAL_JOBS, Action.ADOPT_AS_NEXT),
    (Situation.REJECTED_BY_BUDGET, Answer.NOT_ASKED, Action.ASK_BUDGET),
    (Situation.REJECTED_BY_BUDGET, Answer.WITHIN_BUDGET, Action.NEXT_GENERATION),
    (Situation.REJECTED_BY_BUDGET, Answer.OVER_BUDGET, Action.RAISE),
    (Situation.REJECTED_BY_BUDGET, Answer.ONE_JOB, Action.ADOPT_AS_NEXT),
    (Situation.REJECTED_BY_BUDGET, Answer.SEVERAL_JOBS, Action.ADOPT_AS_NEXT),
    (Situation.REJECTED, Answer.NOT_ASKED, Action.RAISE),
    (Situation.REJECTED, Answer.ASKED_ANEW, Action.NEXT_GENERATION),
    (Situation.REJECTED, Answer.ONE_JOB, Action.ADOPT_AS_NEXT),
    (Situation.REJECTED, Answer.SEVERAL_JOBS, Action.ADOPT_AS_NEXT),
    (Situation.ABANDONED, Answer.NOT_ASKED, Action.NEXT_GENERATION),
    (Situation.ABANDONED, Answer.ONE_JOB, Action.ADOPT_AS_NEXT),
    (Situation.ABANDONED, Answer.SEVERAL_JOBS, Action.ADOPT_AS_NEXT),
    (Situation.JOB, Answer.NOT_ASKED, Action.ASK_JOB),
    (Situation.JOB, Answer.OTHER_JOBS, Action.CANCEL_TWINS),
    (Situation.JOB, Answer.PENDING, Action.WAIT),
    (Situation.JOB, Answer.DONE, Action.FETCH),
    (Situation.JOB, Answer.DONE_UNREADABLE, Action.FETCH_AGAIN),
    (Situation.JOB, Answer.STILL_UNREADABLE, Action.HOLD),
    (Situation.JOB, Answer.ENDED_WITH_SESSION, Action.END_WITH_SESSION),
    (Situation.JOB, Answer.STOPPED_WITH_SESSION, Action.END_AND_STOP),
    (Situation.JOB, Answer.FAILED_IN_PASSING, Action.WRITE_OFF),
    (Situation.JOB, Answer.FAILED, Action.RAISE),
    (Situation.JOB, Answer.CANCELLED, Action.RAISE),
    (Situation.JOB, Answer.UNKNOWN_JOB_YET, Action.WAIT),
    (Situation.JOB, Answer.UNKNOWN_JOB, Action.HOLD),
    (Situation.JOB_ENDED_WITH_SESSION, Answer.NOT_ASKED, Action.NEXT_GENERATION_IN_NEW_SESSION),
    (Situation.JOB_ENDED_WITH_SESSION, Answer.ONE_JOB, Action.ADOPT_AS_NEXT),
    (Situation.JOB_ENDED_WITH_SESSION, Answer.SEVERAL_JOBS, Action.ADOPT_AS_NEXT),
    (Situation.JOB_ENDED_WITH_SESSION, Answer.OTHER_JOBS, Action.CANCEL_TWINS),
    (Situation.JOB_WRITTEN_OFF, Answer.NOT_ASKED, Action.NEXT_GENERATION),
    (Situation.JOB_WRITTEN_OFF, Answer.ONE_JOB, Action.ADOPT_AS_NEXT),
    (Situation.JOB_WRITTEN_OFF, Answer.SEVERAL_JOBS, Action.ADOPT_AS_NEXT),
    (Situation.JOB_WRITTEN_OFF, Answer.OTHER_JOBS, Action.CANCEL_TWINS),
    (Situation.SUPERSEDED, Answer.OTHER_JOBS, Action.CANCEL_TWINS),
    (Situation.RESULT, Answer.NOT_ASKED, Action.ANSWER),
    (Situation.RESULT, Answer.OTHER_JOBS, Action.CANCEL_TWINS),
]
# What the code may ask the platform in each situation, and what it may hear.
LISTED = {Answer.ONE_JOB, Answer.SEVERAL_JOBS}
LOOKED_UP = {*LISTED, Answer.NO_JOB, Answer.NO_JOB_YET, Answer.UNREADABLE}
ASKED = {
    Answer.PENDING,
    Answer.DONE,
    Answer.DONE_UNREADABLE,
    Answer.STILL_UNREADABLE,
    Answer.ENDED_WITH_SESSION,
    Answer.STOPPED_WITH_SESSION,
    Answer.FAILED_IN_PASSING,
    Answer.FAILED,
    Answer.CANCELLED,
    Answer.UNKNOWN_JOB_YET,
    Answer.UNKNOWN_JOB,
}
REACHABLE: dict[Situation, set[Answer]] = {
    Situation.NOTHING: {*LISTED, Answer.NO_JOB, Answer.UNREADABLE, Answer.NOT_ASKED},
    Situation.INTENT_WITH_SENDER: {*LISTED, Answer.NOT_ASKED},
    Situation.INTENT_ORPHANED: {*LOOKED_UP, Answer.NOT_ASKED},
    Situation.HELD: {*LOOKED_UP, Answer.NOT_ASKED},
    Situation.REJECTED_BY_CLOSED_SESSION: {*LISTED, Answer.NOT_ASKED},
    Situation.REJECTED_FOR_NOW: {*LISTED, Answer.NOT_ASKED},
    Situation.REJECTED_BY_BUDGET: {
        *LISTED,
        Answer.WITHIN_BUDGET,
        Answer.OVER_BUDGET,
        Answer.NOT_ASKED,
    },
    Situation.REJECTED: {*LISTED, Answer.ASKED_ANEW, Answer.NOT_ASKED},
    Situation.ABANDONED: {*LISTED, Answer.NOT_ASKED},
    Situation.JOB: {*ASKED, Answer.OTHER_JOBS, Answer.NOT_ASKED},
    Situation.JOB_ENDED_WITH_SESSION: {*LISTED, Answer.OTHER_JOBS, Answer.NOT_ASKED},
    Situation.JOB_WRITTEN_OFF: {*LISTED, Answer.OTHER_JOBS, Answer.NOT_ASKED},
    Situation.SUPERSEDED: {Answer.OTHER_JOBS},
    Situation.RESULT: {Answer.OTHER_JOBS, Answer.NOT_ASKED},
}
GIVES_A_JOB_UP = {Action.CANCEL_TWINS, Action.ABANDON}


@pytest.mark.parametrize(("situation", "answer", "action"), ROWS)
def test_each_row_says_what_to_do(situation: Situation, answer: Answer, action: Action) -> None:
    """A situation and an answer lead to exactly one action."""
    assert decide(situation, answer) is action


def test_the_table_holds_no_other_rows() -> None:
    """A row that is added or removed is a change of policy, and changes this test."""
    assert {(situation, answer) for situation, answer, _ in ROWS} == set(decisions.TABLE)


def test_all_that_can_be_reached_is_decided_and_nothing_else() -> None:
    """No reachable combination is undecided, and no row is dead."""
    reachable = {(one, answer) for one, answers in REACHABLE.items() for answer in answers}
    assert reachable == set(decisions.TABLE)
    assert set(REACHABLE) == set(Situation)


@given(st.sampled_from(Situation), st.sampled_from(Answer), st.sampled_from(Policy))
def test_no_job_is_made_while_one_may_exist(
    situation: Situation, answer: Answer, policy: Policy
) -> None:
    """P1: only where the earlier generation is known to have ended without a result."""
    ended = {
        Situation.ABANDONED,
        Situation.REJECTED_FOR_NOW,
        Situation.REJECTED_BY_CLOSED_SESSION,
        Situation.JOB_ENDED_WITH_SESSION,
        Situation.JOB_WRITTEN_OFF,
    }
    try:
        action = decide(situation, answer, policy)
    except LedgerError:
        return
    if action in BUYS:
        first_or_allowed = {
            (Situation.NOTHING, Answer.NO_JOB),
            (Situation.REJECTED_BY_BUDGET, Answer.WITHIN_BUDGET),
            (Situation.REJECTED, Answer.ASKED_ANEW),
        }
        assert (situation, answer) in first_or_allowed or (
            situation in ended and answer is Answer.NOT_ASKED
        )


@given(st.sampled_from(Situation), st.sampled_from(Answer), st.sampled_from(Policy))
def test_no_job_is_given_up_that_may_be_the_only_one(
    situation: Situation, answer: Answer, policy: Policy
) -> None:
    """P2: what the platform shows is adopted, and its silence is no answer."""
    try:
        action = decide(situation, answer, policy)
    except LedgerError:
        return
    if answer in LISTED:
        assert action in {
            Action.ADOPT,
            Action.ADOPT_AS_NEXT,
            Action.RESTORE,
            Action.WAIT_FOR_SENDER,
        }
    if answer in {Answer.UNREADABLE, Answer.NO_JOB_YET, Answer.UNKNOWN_JOB}:
        assert action in {Action.LOOK, Action.HOLD}
    if action in GIVES_A_JOB_UP:
        assert answer in {Answer.OTHER_JOBS, Answer.NO_JOB}


@given(st.sampled_from(Situation))
def test_every_situation_is_decided_before_the_platform_is_asked(situation: Situation) -> None:
    """The ledger alone always says what comes next; of an earlier generation nothing does."""
    if situation is not Situation.SUPERSEDED:
        assert isinstance(decide(situation), Action)


def test_under_hold_an_operator_decides_what_is_not_to_be_seen() -> None:
    """The policy changes the one row of a submission without sender and without job."""
    row = (Situation.INTENT_ORPHANED, Answer.NO_JOB)
    assert decide(*row, Policy.RESUBMIT) is Action.ABANDON
    assert decide(*row, Policy.HOLD) is Action.HOLD
    others = set(decisions.TABLE) - {row}
    assert all(decide(*other, Policy.HOLD) is decide(*other) for other in others)


def test_what_excludes_each_other_is_an_error() -> None:
    """A result in the ledger and a missing job's tag cannot both be; nothing is done then."""
    with pytest.raises(LedgerError, match="nothing is submitted"):
        decide(Situation.RESULT, Answer.NO_JOB)


JOB = {"kind": "job", "job_id": "j1"}


LEAST: dict[str, dict[str, Any]] = {
    "intent": {
        "fingerprint": "f",
        "occurrence": 1,
        "label": None,
        "concurrent": False,
        "backend": "b",
        "instance": "i",
        "url": "u",
        "session_id": None,
        "tag": "t",
    },
    "hold": {"because": "nobody knows", "job_id": None},
    "ended": {"because": "it failed"},
    "result": {"job_id": "j"},
    "outcome": {},
}
"""What the body of a fact has at least."""


def recorded(facts: dict[str, dict[str, Any]]) -> list[Kind]:
    """Return facts as they are read, from what of them matters here."""
    read = [
        typed(Fact("e", key, {**LEAST[key.partition("/")[0]], **body}, "w", datetime.now(UTC)))
        for key, body in facts.items()
    ]
    return [one for one in read if one is not None]


@pytest.mark.parametrize(
    ("facts", "sender_alive", "situation"),
    [
        ({}, False, Situation.NOTHING),
        ({"intent/s/1": {}}, True, Situation.INTENT_WITH_SENDER),
        ({"intent/s/1": {}}, False, Situation.INTENT_ORPHANED),
        ({"intent/s/1": {}, "outcome/s/1": JOB}, False, Situation.JOB),
        (
            {
                "intent/s/1": {},
                "outcome/s/1": JOB,
                "ended/s/1": {"because": records.ENDED_WITH_SESSION},
            },
            False,
            Situation.JOB_ENDED_WITH_SESSION,
        ),
        (
            {
                "intent/s/1": {},
                "outcome/s/1": JOB,
                "ended/s/1": {"because": records.FAILED_IN_PASSING},
            },
            False,
            Situation.JOB_WRITTEN_OFF,
        ),
        ({"intent/s/1": {}, "hold/s/1": {}}, True, Situation.HELD),
        ({"intent/s/1": {}, "hold/s/1": {}, "outcome/s/1": JOB}, True, Situation.JOB),
        (
            {"intent/s/1": {}, "outcome/s/1": {"kind": "abandoned"}},
            False,
            Situation.ABANDONED,
        ),
        (
            {"intent/s/1": {}, "outcome/s/1": {"kind": "abandoned"}, "intent/s/2": {}},
            False,
            Situation.INTENT_ORPHANED,
        ),
        (
            {"intent/s/1": {}, "outcome/s/1": {"kind": "rejected", "cause": "request"}},
            False,
            Situation.REJECTED,
        ),
        (
            {"intent/s/1": {}, "outcome/s/1": {"kind": "rejected", "cause": "for-now"}},
            False,
            Situation.REJECTED_FOR_NOW,
        ),
        (
            {"intent/s/1": {}, "outcome/s/1": {"kind": "rejected", "cause": "budget"}},
            False,
            Situation.REJECTED_BY_BUDGET,
        ),
        (
            {"intent/s/1": {}, "outcome/s/1": {"kind": "rejected", "cause": "session-closed"}},
            False,
            Situation.REJECTED_BY_CLOSED_SESSION,
        ),
        (
            {"intent/s/1": {}, "outcome/s/1": JOB, "result/s": {}},
            False,
            Situation.RESULT,
        ),
        ({"intent/other/1": {}, "result/other": {}}, False, Situation.NOTHING),
    ],
)
def test_facts_fold_to_a_situation(
    facts: dict[str, Any], sender_alive: bool, situation: Situation
) -> None:
    """State is a fold over facts, and facts of other submissions are none of its business."""
    assert records.fold("s", recorded(facts)).situation(sender_alive=sender_alive) is situation


def test_an_unknown_outcome_is_not_guessed_at() -> None:
    """A ledger of a newer version stops the run."""
    submission = records.fold("s", recorded({"intent/s/1": {}, "outcome/s/1": {"kind": "new"}}))
    with pytest.raises(LedgerError, match="newer version"):
        submission.situation(sender_alive=False)


FACTS = st.sampled_from(["intent", "outcome", "ended", "hold", "result"])


@given(
    st.lists(
        st.tuples(FACTS, st.integers(1, 3), st.sampled_from(["job", "abandoned", "rejected"])),
        max_size=12,
    ),
    st.booleans(),
)
def test_whatever_the_ledger_holds_is_a_situation(
    written: list[tuple[str, int, str]], sender_alive: bool
) -> None:
    """Any set of facts, in any order, folds to a situation that the table decides."""
    facts = {}
    for kind, number, outcome in written:
        key = "result/s" if kind == "result" else f"{kind}/s/{number}"
        facts[key] = {"kind": outcome, "job_id": "j", "cause": "request", "because": "it failed"}
    situation = records.fold("s", recorded(facts)).situation(sender_alive=sender_alive)
    assert isinstance(decide(situation), Action)
