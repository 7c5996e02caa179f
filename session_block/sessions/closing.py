"""Close sessions. Only the experiment that opened a session may close it, never a borrower."""

from __future__ import annotations

from qiskit_ibm_runtime import Session

from session_block.client import Connection
from session_block.errors import SessionError
from session_block.records.context import ExperimentContext
from session_block.records.sessions import CANCELLED, SessionRecord, record_closing
from session_block.references import SessionDetails
from session_block.sessions.backend import PinnedBackend


class SessionCloser:
    """Closes the sessions of one experiment, attaching to them first if necessary.

    The reason is recorded before the platform is asked to close the session. If the process is
    killed in between, the ledger still explains why the session ended.

    Args:
        context: The experiment.
        connection: The connection to its instance.
        pinned: Its backend.
    """

    def __init__(
        self, context: ExperimentContext, connection: Connection, pinned: PinnedBackend
    ) -> None:
        self._journal = context.journal
        self._connection = connection
        self._pinned = pinned

    def may_close(self, record: SessionRecord) -> bool:
        """Whether the experiment opened the session and does not know it to be over."""
        return record.opened and record.usable

    def close(self, record: SessionRecord, reason: str, session: Session | None = None) -> None:
        """Close one of the experiment's own sessions.

        Args:
            record: The session.
            reason: One of the reasons in :mod:`session_block.records.sessions`. With ``CANCELLED``
                the queued jobs are cancelled too; with any other reason they still run.
            session: The client's object, if there is one already.

        Raises:
            SessionError: The platform did not close it, so it may still be billed.
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
        """Return the client's object for a session.

        Args:
            record: The session.
            details: What the platform says about it; asked for if ``None``.
        """
        known = details or self._connection.sessions.look(str(record.session_id))
        # For a session that was restored from its jobs' tags, only the platform knows the mode.
        mode = record.mode or known.execution_mode
        return self._connection.sessions.attach(known, self._pinned.choice(), mode)
