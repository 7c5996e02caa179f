"""Find out who or what ended a session, and record a stop before anybody acts on it."""

from __future__ import annotations

import logging
from datetime import datetime

from session_block.client import Connection
from session_block.environment.backoff import ExponentialPause
from session_block.errors import ConnectionFailedError
from session_block.events import EventKind
from session_block.records.context import ExperimentContext
from session_block.records.keys import Intent, Outcome, StopCause
from session_block.records.sessions import (
    CLOSED_BY_PLATFORM,
    NEAR_ITS_END,
    STOPPED,
    TIDIED,
    SessionRecord,
    read_sessions,
    record_end,
)
from session_block.records.stops import CLOSED, read_stops, record_stop
from session_block.references import SessionDetails
from session_block.sessions.decisions import (
    TOLERANCE,
    Evidence,
    SessionFate,
    decide_end,
    evidence_before_figures,
    own_closing,
)

_LOOKS = 4
"""How often a session that refused a job, and yet seems to take jobs, is looked at."""

_LETS_JOBS_FINISH = frozenset({NEAR_ITS_END, TIDIED})
"""Why we close sessions whose queued jobs still run."""

_CAUSES: dict[SessionFate, StopCause] = {
    SessionFate.STOP_CLOSED: "closed",
    SessionFate.STOP_ENDED_EARLY: "ended early",
    SessionFate.STOP_COST_LIMIT: "cost limit",
}
_logger = logging.getLogger(__name__)


class SessionEndings:
    """Judges the ends of one experiment's sessions; each is judged once.

    Args:
        context: The experiment.
        connection: The connection to its instance.
    """

    def __init__(self, context: ExperimentContext, connection: Connection) -> None:
        self._context = context
        self._journal = context.journal
        self._connection = connection

    def judge(
        self,
        record: SessionRecord,
        details: SessionDetails | None = None,
        *,
        job_died: bool = False,
    ) -> str:
        """Record that a session takes no more jobs; if it was a stop, record that first.

        Args:
            record: The session.
            details: What the platform says about it; asked for if ``None``.
            job_died: Whether a job has died with it.

        Returns:
            Why it ended, as recorded.

        Raises:
            ConnectionFailedError: The platform does not answer.
        """
        if record.end is not None:
            if job_died and record.end in _LETS_JOBS_FINISH:
                self._judge_death(record)
            return record.end
        if self._was_replaced(record):
            fate, reason = decide_end(Evidence.REPLACED), record.closing or CLOSED_BY_PLATFORM
        else:
            known = details or self._look(record)
            # Whoever closed it meanwhile has said so before: the look may be newer than the record.
            record = read_sessions(self._journal)[record.number - 1]
            if record.end is not None:
                return self.judge(record, known, job_died=job_died)
            evidence = self._evidence(record, known)
            fate, reason = decide_end(evidence), record.closing or CLOSED_BY_PLATFORM
            if fate is not SessionFate.REPLACE:
                self._stop(record, known, fate, evidence)
                reason = STOPPED
        record_end(self._journal, record, reason)
        self._context.publish(EventKind.SESSION_CLOSED, record.session_id, reason)
        return reason

    def _judge_death(self, record: SessionRecord) -> None:
        """Judge why a job died in a session that we gave up, and whose jobs were to finish."""
        details = self._connection.sessions.look(str(record.session_id))
        over_at = details.closed_at or self._connection.account.now()
        # Times alone: our own close is why IBM calls the session closed early.
        if details.closes_at is None or over_at < details.closes_at - TOLERANCE:
            because = f"somebody cancelled what still ran in its session {record.session_id}"
            record_stop(
                self._journal,
                "ended early",
                because,
                session_id=record.session_id,
                charged_seconds=details.usage_time,
            )
            self._context.publish(EventKind.EXPERIMENT_STOPPED, self._context.uid, because)

    def _look(self, record: SessionRecord) -> SessionDetails:
        """Ask for the details, a few times while the session still seems to take jobs."""
        pause = ExponentialPause(self._context.environment)
        for _ in range(_LOOKS):
            details = self._connection.sessions.look(str(record.session_id))
            if not details.accepts_jobs:
                break
            self._context.environment.pause(pause.next())
        return details

    def _was_replaced(self, record: SessionRecord) -> bool:
        """Whether a later session exists: then this one's end was judged, maybe before a loss."""
        later = read_sessions(self._journal)[record.number :]
        return any(one.session_id not in {None, record.session_id} for one in later)

    def _evidence(self, record: SessionRecord, details: SessionDetails) -> Evidence:
        closing = own_closing(record, self._taken_at(record)) if record.closings else None
        now = self._connection.account.now()
        evidence = evidence_before_figures(closing, details, now)
        if evidence is not None:
            return evidence
        return Evidence.COST_LIMIT if self._limit_is_reached() else Evidence.NOTHING

    def _taken_at(self, record: SessionRecord) -> list[datetime]:
        """Return when the session took each of the experiment's jobs, by the senders' clocks."""
        sent = {
            (one.submission, one.generation): one.recorded_at
            for one in self._journal.all(Intent)
            if one.session_id == record.session_id
        }
        made = (one for one in self._journal.all(Outcome) if one.made_job and not one.restored)
        moments = (sent.get((one.submission, one.generation)) for one in made)
        return [moment for moment in moments if moment is not None]

    def _limit_is_reached(self) -> bool:
        try:
            allocation = self._connection.allocation()
        except ConnectionFailedError as error:
            _logger.info("The instance's limit could not be asked for: %s", error)
            return False
        return bool(allocation.get("usage_limit_reached"))

    def _stop(
        self, record: SessionRecord, details: SessionDetails, fate: SessionFate, evidence: Evidence
    ) -> None:
        cause = _CAUSES[fate]
        if cause == "ended early" and not record.opened:
            cause = "lender"
        closed_here = cause == CLOSED and any(
            one.session_id == record.session_id for one, _ in read_stops(self._journal)
        )
        if closed_here:
            return  # whoever closed it recorded the stop, and it may have been lifted since
        because = _told(record, details, cause, evidence)
        record_stop(
            self._journal,
            cause,
            because,
            session_id=record.session_id,
            charged_seconds=details.usage_time,
        )
        self._context.publish(EventKind.EXPERIMENT_STOPPED, self._context.uid, because)


def _told(
    record: SessionRecord, details: SessionDetails, cause: StopCause, evidence: Evidence
) -> str:
    """Return who or what ended a session, and how that is known."""
    whose = f"its {details.execution_mode} {record.session_id}"
    match cause:
        case "closed":
            return f"a person closed {whose}"
        case "lender":
            return f"whoever lent it {details.execution_mode} {record.session_id} closed it early"
        case "cost limit":
            return f"{whose} ended early, and the instance has reached its limit"
        case _ if evidence is Evidence.CLOSED_EARLY:
            return f"somebody closed {whose} early, as on IBM's page ({details.state_reason})"
        case _ if evidence is Evidence.CLOSING:
            return f"somebody asked {whose} to take no more jobs, as on IBM's page"
    said = f", and IBM says {details.state_reason!r}" if details.state_reason else ""
    return f"{whose} ended before its time{said}; nothing else explains it, so it counts as a stop"
