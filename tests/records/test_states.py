"""One vocabulary: a submission, and a session, has one state, whoever tells it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from session_block.errors import LedgerError
from session_block.records import keys
from session_block.records import submissions as records
from session_block.records.keys import Hold, Intent, JobEnded, Kind, Outcome, Result
from session_block.records.sessions import SessionRecord
from session_block.records.states import SessionState, SubmissionState
from session_block.records.submissions import fold_all

INTENT = Intent(
    submission="s",
    generation=1,
    fingerprint="f",
    occurrence=1,
    label=None,
    concurrent=False,
    backend="b",
    instance="i",
    url="u",
    session_id="session",
    tag="t",
)
SECOND = replace(INTENT, generation=2)
JOB = Outcome.of_job("s", 1, "j")
REFUSED = Outcome(submission="s", generation=1, kind="rejected", cause="request")
GONE = Outcome.abandoned("s", 1)
UNKNOWN = Hold(submission="s", generation=1, because="nobody knows", job_id=None)
UNREADABLE = Hold(submission="s", generation=1, because="unreadable", job_id="j")
ENDED = JobEnded(submission="s", generation=1, because=records.ENDED_WITH_SESSION)
RESULT = Result(submission="s", job_id="j")

SITUATIONS: tuple[tuple[tuple[Kind, ...], SubmissionState], ...] = (
    ((INTENT,), SubmissionState.UNSETTLED),
    ((INTENT, UNKNOWN), SubmissionState.HELD),
    ((INTENT, UNKNOWN, JOB), SubmissionState.JOB),
    ((INTENT, UNKNOWN, GONE), SubmissionState.ABANDONED),
    ((INTENT, JOB), SubmissionState.JOB),
    ((INTENT, JOB, UNREADABLE), SubmissionState.HELD),
    ((INTENT, JOB, UNREADABLE, ENDED), SubmissionState.ENDED),
    ((INTENT, JOB, UNREADABLE, RESULT), SubmissionState.RESULT),
    ((INTENT, JOB, ENDED), SubmissionState.ENDED),
    ((INTENT, JOB, ENDED, SECOND), SubmissionState.UNSETTLED),
    ((INTENT, GONE, SECOND, Outcome.of_job("s", 2, "k")), SubmissionState.JOB),
    ((INTENT, REFUSED), SubmissionState.REJECTED),
    ((INTENT, REFUSED, replace(ENDED, because=records.WRITTEN_OFF)), SubmissionState.ENDED),
    ((INTENT, GONE), SubmissionState.ABANDONED),
    ((INTENT, JOB, RESULT), SubmissionState.RESULT),
)


@pytest.mark.parametrize(("facts", "state"), SITUATIONS)
def test_each_situation_has_one_state(facts: tuple[Kind, ...], state: SubmissionState) -> None:
    """In whatever order its facts are read."""
    for order in (facts, facts[::-1]):
        assert fold_all(order)["s"].state is state


def test_every_state_is_reached() -> None:
    """None is left that no situation has."""
    assert {state for _, state in SITUATIONS} == set(SubmissionState)
    assert {"job", "rejected", "abandoned"} == set(get_args(keys.OutcomeKind))


def test_of_nothing_there_is_no_state() -> None:
    """Somebody who asks for it has a mistake in the ID."""
    with pytest.raises(LedgerError) as raised:
        _ = records.fold("s", ()).state
    assert raised.value.submission == "s"


SESSION = keys.SessionIntent(number=1, backend="b", instance="i", url="u", max_time_seconds=None)


@pytest.mark.parametrize(
    ("kind", "end", "state"),
    [
        (None, None, SessionState.OPENING),
        ("opened", None, SessionState.OPEN),
        ("borrowed", None, SessionState.OPEN),
        ("opened", "closed by the experiment", SessionState.ENDED),
        ("borrowed", "closed by the platform", SessionState.ENDED),
        ("lost", None, SessionState.LOST),
        ("refused", None, SessionState.REFUSED),
    ],
)
def test_each_session_has_one_state(
    kind: keys.SessionKind | None, end: str | None, state: SessionState
) -> None:
    """From how it came about, and whether it is over."""
    known = None if kind in {None, "lost", "refused"} else "s"
    assert SessionRecord(1, SESSION, kind, known, end).state is state
