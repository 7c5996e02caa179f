"""Look at the sessions of a ledger, close them, and close those that were left open.

An operator's action is a fact like any other: the experiment learns why its session is over.
"""

from __future__ import annotations

import getpass
import logging
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from session_block.errors import InvalidInputError
from session_block.ledger.store import Fact, Ledger
from session_block.records.attempts import last_failure
from session_block.records.chapters import is_sealed
from session_block.records.context import ExperimentContext
from session_block.records.identity import Identity, experiments_called, known_experiments
from session_block.records.journal import Journal
from session_block.records.keys import SessionDeed, SessionFact, Stopped
from session_block.records.sessions import (
    CANCELLED,
    CLOSED_BY_OPERATOR,
    TIDIED,
    SessionRecord,
    read_sessions,
    record_closing,
    record_end,
)
from session_block.records.stops import CLOSED as STOP_CLOSED
from session_block.records.stops import record_stop

if TYPE_CHECKING:
    from session_block.client import Connection
    from session_block.ledger.store import Ledger

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordedSession:
    """One session of one experiment, as the ledger records it.

    Examples:
        >>> session_id = experiment.open_session()
        >>> found = SessionOperator(ledger).sessions(experiment.uid)[-1]
        >>> found.experiment.name, found.record.session_id == session_id
        ('example', True)
    """

    experiment: Identity
    record: SessionRecord

    def described(self) -> dict[str, Any]:
        """Return it as JSON values.

        Examples:
            >>> session_id = experiment.open_session()
            >>> SessionOperator(ledger).sessions(experiment.uid)[-1].described()["state"]
            'open'
        """
        return {
            "experiment": self.experiment.name,
            "number": self.experiment.number,
            "uid": self.experiment.uid,
            "session_number": self.record.number,
            "session_id": self.record.session_id,
            "mode": self.record.mode,
            "backend": self.record.backend,
            "instance": self.record.instance,
            "kind": self.record.kind,
            "state": self.record.state.value,
            "opened_at": self.record.intended_at.isoformat(),
            "end": self.record.end,
        }


SHORT_ID = 8
"""So many characters of an ID stand for a session."""


class SessionOperator:
    """Looks at the sessions of a ledger, and closes those that its experiments opened.

    Examples:
        >>> session_id = experiment.open_session()
        >>> open_now = [one for one in SessionOperator(ledger).sessions() if one.record.usable]
        >>> session_id in {one.record.session_id for one in open_now}
        True
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def sessions(self, experiment: str | None = None) -> list[RecordedSession]:
        """Return the sessions of an experiment, given by name or UID, or of all experiments.

        Raises:
            InvalidInputError: The ledger knows no such experiment.

        Examples:
            >>> session_id = experiment.open_session()
            >>> [one.record.backend for one in SessionOperator(ledger).sessions(experiment.uid)][-1]
            'ibm_manila'
        """
        wanted = (
            known_experiments(self._ledger)
            if experiment is None
            else experiments_called(self._ledger, experiment)
        )
        if experiment is not None and not wanted:
            raise InvalidInputError(f"{self._ledger} has no experiment {experiment!r}.")
        return [
            RecordedSession(one, record)
            for one in wanted
            for record in read_sessions(Journal(self._ledger, one.uid))
        ]

    def called(self, beginning: str) -> str:
        """Return the ID of the session that begins so; what no session does, as it is.

        Raises:
            InvalidInputError: Several begin so.

        Examples:
            >>> session_id = experiment.open_session()
            >>> SessionOperator(ledger).called(session_id[:8]) == session_id
            True
        """
        ids = {one.record.session_id for one in self.sessions()} - {None}
        found = sorted(one for one in ids if one is not None and one.startswith(beginning))
        if beginning in ids or len(beginning) < SHORT_ID or not found:
            return beginning
        if len(found) > 1:
            raise InvalidInputError(
                f"Several sessions begin with {beginning!r}: {', '.join(found)}. Give more of it."
            )
        return found[0]

    def facts(self, session_id: str) -> list[Fact]:
        """Return all facts about a session, from all experiments, oldest first.

        Examples:
            >>> session_id = experiment.open_session()
            >>> facts = SessionOperator(ledger).facts(session_id)
            >>> facts[0].key.partition("/")[0]
            'session-intent'
        """
        numbers = {
            (one.experiment.uid, one.record.number)
            for one in self.sessions()
            if one.record.session_id == session_id
        }
        found = []
        for experiment in known_experiments(self._ledger):
            journal = Journal(self._ledger, experiment.uid)
            for fact, known in journal.everything():
                if isinstance(known, SessionFact):
                    about_it = (experiment.uid, known.number) in numbers
                else:
                    about_it = (
                        isinstance(known, SessionDeed | Stopped) and known.session_id == session_id
                    )
                if about_it:
                    found.append(fact)
        return sorted(found, key=lambda fact: fact.created_at)

    def close(
        self,
        session_id: str,
        connection: Connection,
        *,
        cancel_jobs: bool = False,
        reason: str = CLOSED_BY_OPERATOR,
    ) -> bool:
        """Close a session that an experiment of this ledger opened, and record why.

        If a person closes it, that stops the experiment: nothing more is bought until somebody
        resumes it.

        Args:
            session_id: The session's ID.
            connection: A connection to the session's instance.
            cancel_jobs: Cancel the session's queued jobs instead of letting them finish.
            reason: Why it is closed; not used with ``cancel_jobs``.

        Returns:
            Whether this call closed it; ``False`` if it was already closed.

        Raises:
            InvalidInputError: The session was borrowed, or is unknown to the ledger.
            SessionNotFoundError: The connection's instance has no such session.
            SessionError: The platform did not close it; it may go on billing.

        Examples:
            >>> from session_block.client import Connection
            >>> experiment = block.experiment("left-running", fresh=True)
            >>> session_id = experiment.open_session()
            >>> connection = Connection(block.credentials)
            >>> SessionOperator(ledger).close(session_id, connection)
            True
            >>> experiment.stopped_because  # nothing more is bought until somebody resumes it
            '... closed its session ...'
        """
        from session_block.sessions.endings import SessionEndings

        found = self._opened(session_id)
        journal, record = Journal(self._ledger, found.experiment.uid), found.record
        details = connection.sessions.look(session_id)
        is_closed = details.state == "closed"
        if is_closed or not (details.accepts_jobs or record.closings):
            # Somebody else was first, and it may have been a stop.
            context = ExperimentContext(found.experiment, journal)
            SessionEndings(context, connection).judge(record, details)
        if is_closed:
            return False
        if reason == CLOSED_BY_OPERATOR and not is_sealed(journal):
            because = f"{operator()} closed its session {session_id}"
            charged = details.usage_time
            record_stop(
                journal, STOP_CLOSED, because, session_id=session_id, charged_seconds=charged
            )
        note(journal, session_id, "cancel" if cancel_jobs else "close")
        reason = CANCELLED if cancel_jobs else reason
        record_closing(journal, record, reason)
        connection.sessions.close_seen(details, cancel_jobs=cancel_jobs)
        record_end(journal, record, reason)
        return True

    def _opened(self, session_id: str) -> RecordedSession:
        known = [one for one in self.sessions() if one.record.session_id == session_id]
        opened = next((one for one in known if one.record.opened), None)
        if opened is not None:
            return opened
        if known:
            raise InvalidInputError(
                f"Session {session_id} was borrowed by experiment {known[0].experiment}. It is "
                "left open, since only whoever opened it may close it: ask them, or close it with "
                "their ledger."
            )
        raise InvalidInputError(
            f"No experiment of the ledger {self._ledger.shown} opened session {session_id}, so it "
            "is left as it is. If its opening was cut off, 'session-block sessions orphans' finds "
            "it; else use the ledger of whoever opened it (--block)."
        )


def left_open(ledger: Ledger) -> list[RecordedSession]:
    """Return the open sessions that no experiment will use again.

    They belong to failed attempts that are past their ``keep_failed`` time (set by the Block), and
    to experiments that were killed after they were finished. The session of any other killed
    attempt is not among them: a worker's death closes nothing.

    Examples:
        >>> session_id = experiment.open_session()
        >>> session_id in {one.record.session_id for one in left_open(ledger)}  # it is in use
        False
    """
    return [
        session
        for session in SessionOperator(ledger).sessions()
        if session.record.opened
        and session.record.usable
        and _is_over(Journal(ledger, session.experiment.uid))
    ]


def _is_over(journal: Journal) -> bool:
    if is_sealed(journal):
        return True
    failure = last_failure(journal)
    return failure is not None and failure.kept_until <= datetime.now(UTC)


def close_left_open(ledger: Ledger, connection: Connection) -> list[RecordedSession]:
    """Close the left-open sessions at the connection's instance; their jobs finish.

    An attempt that begins meanwhile opens a new session.

    Raises:
        SessionError: The platform did not close one; it may go on billing.
        ConnectionFailedError: The platform could not be reached.

    Examples:
        >>> from session_block.client import Connection
        >>> closed = close_left_open(ledger, Connection(block.credentials))
        >>> experiment.session_id in {one.record.session_id for one in closed}
        False
    """
    closed = []
    for session in left_open(ledger):
        intent = session.record.intent
        here = (connection.instance, str(connection.account.url))
        if (intent.instance, intent.url) != here:
            continue
        session_id = str(session.record.session_id)
        if SessionOperator(ledger).close(session_id, connection, reason=TIDIED):
            _logger.info(
                "Closed session %s of experiment %s, which was left open.",
                session_id,
                session.experiment,
            )
            closed.append(session)
    return closed


def note(journal: Journal, session_id: str, deed: str) -> None:
    """Record in an experiment's journal who did what to a session."""
    journal.record(SessionDeed(session_id=session_id, verb=deed, deed=deed, by=operator()))


def operator() -> str:
    """Return who runs this program, as user and host."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
