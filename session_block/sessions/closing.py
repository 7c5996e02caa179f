"""Who may close a session: only the experiment that opened it. A borrowed one is left alone."""

from __future__ import annotations

from qiskit_ibm_runtime import Session

from session_block.client import Connection
from session_block.errors import SessionError
from session_block.records.context import ExperimentContext
from session_block.records.sessions import CANCELLED, SessionRecord, record_closing
from session_block.references import SessionDetails
from session_block.sessions.backend import PinnedBackend


class SessionCloser:
    """Closes the sessions of one experiment.

    Why a session is closed is recorded before the platform is asked, so that a process killed in
    between leaves no session whose end nobody can explain.

    Args:
        context: The experiment.
        connection: Its instance.
        pinned: Its backend.
    """

    def __init__(
        self, context: ExperimentContext, connection: Connection, pinned: PinnedBackend
    ) -> None:
        self._journal = context.journal
        self._connection = connection
        self._pinned = pinned

    def may_close(self, record: SessionRecord) -> bool:
        """Whether the experiment opened the session, and it is not known to be over."""
        return record.opened and record.usable

    def close(self, record: SessionRecord, reason: str, session: Session | None = None) -> None:
        """Close one of the experiment's own sessions.

        Args:
            record: The session.
            reason: Why, as one of the reasons of :mod:`session_block.records.sessions`. A user's
                cancellation cancels its queued jobs too; after all others they run.
            session: The client's object, where there is one already.

        Raises:
            SessionError: The platform did not close it; it may go on billing.
        """
        cancel_jobs = reason == CANCELLED
        attached = session or self.attach(record)
        record_closing(self._journal, record, reason)
        try:
            self._connection.sessions.close(attached, cancel_jobs=cancel_jobs)
        except SessionError as error:
            if not self._connection.renew_after(error):
                raise
            self._connection.sessions.close(self.attach(record), cancel_jobs=cancel_jobs)

    def attach(self, record: SessionRecord, details: SessionDetails | None = None) -> Session:
        """Return the client's object for a session, made from the platform's details."""
        told = details or self._connection.sessions.look(str(record.session_id))
        # Only the platform knows the mode of a session that was brought back from its jobs' tags.
        mode = record.mode or told.execution_mode
        return self._connection.sessions.attach(told, self._pinned.choice(), mode)
