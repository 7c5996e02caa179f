"""The session half of an experiment: open, reattach, look, close."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import uuid4

from session_block.account import Account
from session_block.client import Connection
from session_block.errors import InvalidInputError
from session_block.identity import Identity
from session_block.ledger import Ledger
from session_block.records import ExperimentRecords
from session_block.references import SessionDetails, SessionRef
from session_block.session import SessionKeeper


class SessionHandle(ExperimentRecords):
    """An experiment's records, and its session. It connects when the platform is first needed.

    Attributes:
        opening: Token of this opening; ``None`` in a process that did not open the experiment.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        ledger: Ledger,
        account: Callable[[], Account],
        backend_name: str,
        max_time_seconds: int | None,
        block: str | None,
        opener: bool,
    ) -> None:
        super().__init__(identity, ledger)
        self.opening = uuid4().hex if opener else None
        self._account = account
        self._backend_name = backend_name
        self._max_time_seconds = max_time_seconds
        self._block = block
        self._lock = threading.Lock()
        self._keeper_made: SessionKeeper | None = None
        self._check_backend()

    @property
    def session_ref(self) -> SessionRef:
        """A reference that tasks can pass on."""
        latest = [record for record in self.sessions if record.session_id]
        return SessionRef(
            block=self._block,
            experiment=self.identity.name,
            number=self.identity.number,
            uid=self.uid,
            opening=self.opening,
            session_id=latest[-1].session_id if latest else None,
            borrowed=bool(latest) and latest[-1].kind == "borrowed",
            sealed=self.sealed,
        )

    def open_session(self) -> str | None:
        """Open the experiment's session, or reattach to it, and return its ID.

        A sealed experiment opens nothing.

        Raises:
            ConnectionFailedError: The platform refused the credentials or could not be reached.
            BackendNotFoundError: The instance has no such backend.
            SessionClosedError: The session was borrowed and has ended.
        """
        if self.sealed:
            return self.session_id
        session_id: str | None = self._keeper().current().session_id
        return session_id

    def borrow_session(self, session_id: str) -> str | None:
        """Attach to a session that somebody else opened; it is never closed from here.

        Raises:
            SessionNotFoundError: The instance has no such session.
            SessionMismatchError: It is on another backend, or is a batch.
            SessionClosedError: It accepts no more jobs.
        """
        if self.sealed or any(record.session_id == session_id for record in self.sessions):
            return session_id
        self._keeper().borrow(session_id)
        return self.session_id

    def session_details(self) -> SessionDetails:
        """Return the details of the experiment's session, asked from the platform."""
        return self._keeper().details()

    def close_session(self) -> bool:
        """Close the session that this experiment opened; queued and running jobs finish.

        Returns:
            Whether a session was closed; a borrowed one never is.
        """
        return self._has_open_session() and self._keeper().close()

    def _check_backend(self) -> None:
        about = {
            "name": self.identity.name,
            "number": self.identity.number,
            "backend": self._backend_name,
        }
        fact, _ = self._ledger.create(self.uid, "experiment", about)
        if fact.body["backend"] != self._backend_name:
            raise InvalidInputError(
                f"Experiment {self.identity} began on {fact.body['backend']}, but the Block names "
                f"{self._backend_name}. Use the Block it began with, or start anew with fresh=True."
            )

    def _has_open_session(self) -> bool:
        return any(record.usable and record.kind == "opened" for record in self.sessions)

    def _keeper(self) -> SessionKeeper:
        with self._lock:
            if self._keeper_made is None:
                self._keeper_made = SessionKeeper(
                    self._ledger,
                    self.uid,
                    Connection(self._account()),
                    self._backend_name,
                    self._max_time_seconds,
                )
            return self._keeper_made
