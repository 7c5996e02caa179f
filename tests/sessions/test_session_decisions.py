"""Who ended a session: the table, row by row, and the evidence in its order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from session_block.records.keys import SessionClosing, SessionIntent
from session_block.records.sessions import CLOSED, CLOSED_BY_OPERATOR, NEAR_ITS_END, SessionRecord
from session_block.references import SessionDetails
from session_block.sessions import decisions
from session_block.sessions.decisions import (
    Evidence,
    SessionFate,
    decide_end,
    evidence_before_figures,
    own_closing,
)

ROWS = [
    (Evidence.REPLACED, SessionFate.REPLACE),
    (Evidence.PERSON_CLOSED_IT_HERE, SessionFate.STOP_CLOSED),
    (Evidence.CLOSED_IT_OURSELVES, SessionFate.REPLACE),
    (Evidence.CLOSED_EARLY, SessionFate.STOP_ENDED_EARLY),
    (Evidence.IDLED, SessionFate.REPLACE),
    (Evidence.AT_ITS_END, SessionFate.REPLACE),
    (Evidence.UNUSED, SessionFate.REPLACE),
    (Evidence.CLOSING, SessionFate.STOP_ENDED_EARLY),
    (Evidence.COST_LIMIT, SessionFate.STOP_COST_LIMIT),
    (Evidence.NOTHING, SessionFate.STOP_ENDED_EARLY),
]
OPENED = datetime(2026, 11, 29, 12, tzinfo=UTC)
STARTED = OPENED + timedelta(minutes=5)
MAX_TIME = timedelta(hours=1)
END = STARTED + MAX_TIME
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def _details(**fields: Any) -> SessionDetails:
    given = {
        "id": "s",
        "state": "closed",
        "accepting_jobs": False,
        "created_at": OPENED,
        "started_at": STARTED,
        "last_job_started": STARTED,
        "max_time": int(MAX_TIME.total_seconds()),
        **fields,
    }
    return SessionDetails(**given)


def _closing(reason: str, at: datetime = STARTED) -> SessionClosing:
    return SessionClosing(number=1, reason=reason, recorded_at=at)


@pytest.mark.parametrize(("evidence", "fate"), ROWS)
def test_each_row_says_what_the_end_means(evidence: Evidence, fate: SessionFate) -> None:
    """Each evidence leads to one fate."""
    assert decide_end(evidence) is fate


def test_the_table_holds_no_other_rows() -> None:
    """A row that is added or removed is a change of policy, and changes this test."""
    assert {evidence for evidence, _ in ROWS} == set(decisions.TABLE) == set(Evidence)


UNSTARTED = {"started_at": None, "last_job_started": None}
EARLY = {"state_reason": "session_closed_early"}


@pytest.mark.parametrize(
    ("closing", "fields", "evidence"),
    [
        (_closing(CLOSED), EARLY, Evidence.CLOSED_IT_OURSELVES),
        (_closing(NEAR_ITS_END), {"closed_at": END}, Evidence.CLOSED_IT_OURSELVES),
        (_closing(CLOSED_BY_OPERATOR), EARLY, Evidence.PERSON_CLOSED_IT_HERE),
        (None, {**EARLY, "closed_at": END}, Evidence.CLOSED_EARLY),
        (None, {"state_reason": "session_inactivated_by_interactive_ttl"}, Evidence.IDLED),
        (None, {"closed_at": END}, Evidence.AT_ITS_END),
        (None, {"closed_at": END - MINUTE}, Evidence.AT_ITS_END),
        (None, {"closed_at": END + 30 * MINUTE}, Evidence.AT_ITS_END),
        (None, {"closed_at": END - MINUTE - SECOND}, None),
        (None, {"closed_at": END - MINUTE - SECOND, "state_reason": "a new word"}, None),
        (None, {**UNSTARTED, "closed_at": OPENED + 30 * MINUTE}, Evidence.UNUSED),
        (None, {**UNSTARTED, "closed_at": OPENED + 29 * MINUTE}, Evidence.UNUSED),
        (None, {**UNSTARTED, "closed_at": OPENED + 28 * MINUTE}, None),
        (None, {**UNSTARTED, "created_at": None, "closed_at": END}, None),
        (None, {"max_time": None, "closed_at": END}, None),
        (None, {"state": "active", "closed_at": None}, Evidence.CLOSING),
    ],
)
def test_the_first_evidence_that_holds_counts(
    closing: SessionClosing | None, fields: dict[str, Any], evidence: Evidence | None
) -> None:
    """Our own facts, then IBM's word, then times; the rest needs the instance's figures."""
    now = STARTED + MINUTE
    assert evidence_before_figures(closing, _details(**fields), now) is evidence


def test_a_session_that_is_closing_at_its_end_is_judged_by_now() -> None:
    """A running job finishes after the maximum time, and the session has no closed_at yet."""
    details = _details(state="active", closed_at=None)
    assert evidence_before_figures(None, details, END) is Evidence.AT_ITS_END


def _record(*closings: SessionClosing) -> SessionRecord:
    intent = SessionIntent(
        number=1, backend="b", instance=None, url=None, mode="session", max_time_seconds=3600
    )
    return SessionRecord(1, intent, "opened", "s", None, closings)


def test_a_close_that_was_lost_explains_nothing() -> None:
    """If the session takes a job later than a minute after our fact, the close did not happen."""
    first, second = _closing(NEAR_ITS_END), _closing(CLOSED, STARTED + 10 * MINUTE)
    assert own_closing(_record(), []) is None
    assert own_closing(_record(first), []) == first
    assert own_closing(_record(first), [STARTED - SECOND, STARTED + MINUTE]) == first
    assert own_closing(_record(first), [STARTED + MINUTE + SECOND]) is None
    assert own_closing(_record(first, second), [STARTED + 5 * MINUTE]) == second
