"""Decide who or what ended a session, and whether another one may take its place.

The table is the whole policy, with one test for each row. This module does no I/O:
:mod:`session_block.sessions.endings` finds out what is known. The first piece of evidence that
holds decides. In doubt it is a stop: a session too few costs a command, a session too many costs
money that somebody had refused to spend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from session_block.records.keys import SessionClosing
from session_block.records.sessions import CLOSED_BY_OPERATOR, SessionRecord
from session_block.references import SessionDetails

CLOSED_EARLY = "session_closed_early"
"""IBM's word for a session that was closed by a request: somebody's, or our own [real]."""

IDLED = "session_inactivated_by_interactive_ttl"
"""IBM's word for a session without a job for its interactive time [real]."""

TOLERANCE = timedelta(minutes=1)
"""How far from its computed end a session may close and still count as closed by time."""

UNUSED = timedelta(minutes=30)
"""After this time IBM closes a session in which no job has started [docs]."""

CLOSE_WINDOW = timedelta(minutes=1)
"""How long a close of ours may take; a job that the session takes later shows that it failed."""


class Evidence(StrEnum):
    """What is known of a session that takes no more jobs, in the order in which it counts."""

    REPLACED = "another session of the experiment has taken its place before"
    PERSON_CLOSED_IT_HERE = "a fact says that a person closed it with our tools"
    CLOSED_IT_OURSELVES = "a fact says why we closed it"
    CLOSED_EARLY = "IBM says that it was closed early, and no fact of ours says why"
    IDLED = "IBM says that it became inactive for want of jobs"
    AT_ITS_END = "it closed within a minute of its computed end, or later"
    UNUSED = "it closed after 30 minutes without a job"
    CLOSING = "it takes no more jobs, although it goes on and has time left"
    COST_LIMIT = "the instance has reached its limit"
    NOTHING = "nothing explains it"


class SessionFate(StrEnum):
    """What an ended session means for its experiment."""

    REPLACE = "another session may take its place"
    STOP_CLOSED = "a person closed it with our tools: stop"
    STOP_ENDED_EARLY = "somebody ended it: stop"
    STOP_COST_LIMIT = "the cost limit ended it: stop"


TABLE: Mapping[Evidence, SessionFate] = {
    Evidence.REPLACED: SessionFate.REPLACE,
    Evidence.PERSON_CLOSED_IT_HERE: SessionFate.STOP_CLOSED,
    Evidence.CLOSED_IT_OURSELVES: SessionFate.REPLACE,
    Evidence.CLOSED_EARLY: SessionFate.STOP_ENDED_EARLY,
    Evidence.IDLED: SessionFate.REPLACE,
    Evidence.AT_ITS_END: SessionFate.REPLACE,
    Evidence.UNUSED: SessionFate.REPLACE,
    Evidence.CLOSING: SessionFate.STOP_ENDED_EARLY,
    Evidence.COST_LIMIT: SessionFate.STOP_COST_LIMIT,
    Evidence.NOTHING: SessionFate.STOP_ENDED_EARLY,
}


def decide_end(evidence: Evidence) -> SessionFate:
    """Return what a session's end means, from the first evidence that holds."""
    return TABLE[evidence]


def own_closing(record: SessionRecord, taken_at: Sequence[datetime]) -> SessionClosing | None:
    """Return the fact of ours that explains why a session is closed; ``None`` if none does.

    A request to close may be lost, and the session go on. So a fact no longer counts once the
    session has taken a job a while after it.

    Args:
        record: The session.
        taken_at: When it took each of the experiment's jobs, by their senders' clocks.
    """
    latest = record.closings[-1] if record.closings else None
    if latest is None or latest.recorded_at is None:
        return None
    too_late = latest.recorded_at + CLOSE_WINDOW
    return None if any(moment > too_late for moment in taken_at) else latest


def evidence_before_figures(
    closing: SessionClosing | None, details: SessionDetails, now: datetime
) -> Evidence | None:
    """Return the first evidence that needs no figures of the instance; ``None`` if there is none.

    Args:
        closing: The fact of ours that explains the close, if there is one.
        details: What the platform says about the session.
        now: The time, by the platform's clock.
    """
    if closing is not None:
        person = closing.reason == CLOSED_BY_OPERATOR
        return Evidence.PERSON_CLOSED_IT_HERE if person else Evidence.CLOSED_IT_OURSELVES
    if details.state_reason == CLOSED_EARLY:
        return Evidence.CLOSED_EARLY
    if details.state_reason == IDLED:
        return Evidence.IDLED
    closed_at = details.closed_at or now
    if details.closes_at is not None and closed_at >= details.closes_at - TOLERANCE:
        return Evidence.AT_ITS_END
    unused_at = None if details.opened_at is None else details.opened_at + UNUSED - TOLERANCE
    if details.last_job_started is None and unused_at is not None and closed_at >= unused_at:
        return Evidence.UNUSED
    return None if details.state == "closed" else Evidence.CLOSING
