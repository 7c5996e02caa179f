"""Join a session that somebody else opened."""

from __future__ import annotations

from session_block.client import Connection
from session_block.errors import InvalidInputError, SessionClosedError
from session_block.ledger import Ledger
from session_block.pinned_backend import PinnedBackend
from session_block.plan import SessionPlan
from session_block.references import SessionDetails, SessionMode
from session_block.session_opening import SessionOpener
from session_block.session_records import read_sessions


class SessionJoiner:
    """Makes a session that is there already one experiment's latest.

    Args:
        ledger: Where sessions are recorded.
        experiment: The experiment's UID.
        plan: What the Block says of sessions.
        pinned: The experiment's backend; it becomes the session's where nothing else names one.
        opener: Records what is wanted.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: str,
        plan: SessionPlan,
        pinned: PinnedBackend,
        opener: SessionOpener,
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._plan = plan
        self._pinned = pinned
        self._opener = opener

    def join(self, connection: Connection, session_id: str) -> bool:
        """Record the session as the experiment's latest; say whether it was not until now.

        Raises:
            SessionNotFoundError: The instance has no such session.
            SessionMismatchError: It is on another backend, or of another mode.
            SessionClosedError: It accepts no more jobs.
            InvalidInputError: The Block's mode is job.
        """
        mode = self._plan.mode
        if mode == "job":
            raise InvalidInputError(
                f"Session {session_id} cannot be joined: the Block's mode is 'job', whose jobs run "
                "in no session. Use a Block of mode 'session' or 'batch'."
            )
        self._check(connection, connection.sessions.look(session_id), mode)
        joined = False
        while True:
            records = read_sessions(self._ledger, self._experiment)
            if records and records[-1].session_id == session_id:
                return joined
            known = next((one for one in records if one.session_id == session_id), None)
            kind = "borrowed" if known is None else known.kind
            number = len(records) + 1
            if self._opener.record_intent(number, mode, borrowed=session_id):
                body = {"kind": kind, "session_id": session_id}
                self._ledger.create(self._experiment, f"session/{number}", body)
                joined = True

    def _check(self, connection: Connection, details: SessionDetails, mode: SessionMode) -> None:
        """Check a session before it decides anything; the experiment then has its backend."""
        pinned = self._pinned.known(connection)
        name = self._plan.backend_name or details.backend_name
        if pinned is not None:
            choice = pinned
        elif name is not None:
            choice = self._pinned.wanted(name)
        else:
            choice = self._pinned.choice(connection)
        connection.sessions.attach(details, choice, mode)
        if not details.accepts_jobs:
            raise SessionClosedError(
                f"Session {details.id} is closed, so no job can join it. Reattach to one that is "
                "open, or open a new one."
            )
        if pinned is None:
            self._pinned.pin(connection, choice.name, f"session {details.id} is on it")
