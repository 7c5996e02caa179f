"""The decision table, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_block import decisions
from session_block.decisions import Action, Answer, Situation, decide
from session_block.errors import LedgerError

ROWS = [
    (Situation.NOTHING, Answer.NOT_ASKED, Action.SUBMIT),
    (Situation.INTENT_OWNED, Answer.NOT_ASKED, Action.WAIT_FOR_OWNER),
    (Situation.INTENT_ORPHANED, Answer.NOT_ASKED, Action.LOOK),
    (Situation.INTENT_ORPHANED, Answer.ONE_JOB, Action.ADOPT),
    (Situation.INTENT_ORPHANED, Answer.SEVERAL_JOBS, Action.ADOPT_EARLIEST),
    (Situation.INTENT_ORPHANED, Answer.NO_JOB_YET, Action.LOOK),
    (Situation.INTENT_ORPHANED, Answer.NO_JOB, Action.ABANDON),
    (Situation.INTENT_ORPHANED, Answer.UNREADABLE, Action.LOOK),
    (
        Situation.REJECTED_BY_CLOSED_SESSION,
        Answer.NOT_ASKED,
        Action.NEXT_GENERATION_IN_NEW_SESSION,
    ),
    (Situation.REJECTED_FOR_NOW, Answer.NOT_ASKED, Action.NEXT_GENERATION),
    (Situation.REJECTED, Answer.NOT_ASKED, Action.RAISE),
    (Situation.ABANDONED, Answer.NOT_ASKED, Action.NEXT_GENERATION),
    (Situation.JOB, Answer.NOT_ASKED, Action.ASK_JOB),
    (Situation.JOB, Answer.PENDING, Action.WAIT),
    (Situation.JOB, Answer.DONE, Action.FETCH),
    (Situation.JOB, Answer.DONE_UNREADABLE, Action.FETCH_AGAIN),
    (Situation.JOB, Answer.ENDED_WITH_SESSION, Action.END_WITH_SESSION),
    (Situation.JOB, Answer.FAILED, Action.RAISE),
    (Situation.JOB, Answer.CANCELLED, Action.RAISE),
    (Situation.JOB, Answer.UNKNOWN_JOB, Action.HOLD),
    (Situation.JOB_ENDED_WITH_SESSION, Answer.NOT_ASKED, Action.NEXT_GENERATION_IN_NEW_SESSION),
    (Situation.RESULT, Answer.NOT_ASKED, Action.ANSWER),
]
_MAKING_A_JOB = {Action.SUBMIT, Action.NEXT_GENERATION, Action.NEXT_GENERATION_IN_NEW_SESSION}


@pytest.mark.parametrize(("situation", "answer", "action"), ROWS)
def test_each_row_says_what_to_do(situation: Situation, answer: Answer, action: Action) -> None:
    """A situation and an answer lead to exactly one action."""
    assert decide(situation, answer) is action


def test_the_table_holds_no_other_rows() -> None:
    """A row that is added or removed is a change of policy, and changes this test."""
    assert {(situation, answer) for situation, answer, _ in ROWS} == set(decisions.TABLE)


@given(st.sampled_from(Situation), st.sampled_from(Answer))
def test_no_job_is_made_while_one_may_exist(situation: Situation, answer: Answer) -> None:
    """P1: only where the earlier generation is known to have ended without a result."""
    safe = {
        Situation.NOTHING,
        Situation.ABANDONED,
        Situation.REJECTED_FOR_NOW,
        Situation.REJECTED_BY_CLOSED_SESSION,
        Situation.JOB_ENDED_WITH_SESSION,
    }
    try:
        action = decide(situation, answer)
    except LedgerError:
        return
    assert action not in _MAKING_A_JOB or situation in safe


@given(st.sampled_from(Situation))
def test_every_situation_is_decided_before_the_platform_is_asked(situation: Situation) -> None:
    """The ledger alone always says what comes next."""
    assert isinstance(decide(situation), Action)


def test_what_excludes_each_other_is_an_error() -> None:
    """A result in the ledger and a missing job's tag cannot both be; nothing is done then."""
    with pytest.raises(LedgerError, match="nothing is submitted"):
        decide(Situation.RESULT, Answer.NO_JOB)


JOB = {"kind": "job", "job_id": "j1"}


@pytest.mark.parametrize(
    ("facts", "owner_alive", "situation"),
    [
        ({}, False, Situation.NOTHING),
        ({"intent/s/1": {}}, True, Situation.INTENT_OWNED),
        ({"intent/s/1": {}}, False, Situation.INTENT_ORPHANED),
        ({"intent/s/1": {}, "outcome/s/1": JOB}, False, Situation.JOB),
        (
            {"intent/s/1": {}, "outcome/s/1": JOB, "ended/s/1": {}},
            False,
            Situation.JOB_ENDED_WITH_SESSION,
        ),
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
    facts: dict[str, Any], owner_alive: bool, situation: Situation
) -> None:
    """State is a fold over facts, and facts of other submissions are none of its business."""
    assert decisions.fold("s", facts.items()).situation(owner_alive=owner_alive) is situation


def test_an_unknown_outcome_is_not_guessed_at() -> None:
    """A ledger of a newer version stops the run."""
    submission = decisions.fold("s", {"intent/s/1": {}, "outcome/s/1": {"kind": "new"}}.items())
    with pytest.raises(LedgerError, match="newer version"):
        submission.situation(owner_alive=False)
