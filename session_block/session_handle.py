"""The session half of an experiment: open, reattach, look, close."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import uuid4

from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

from session_block import aio
from session_block.account import Account
from session_block.client import Connection
from session_block.errors import InvalidInputError
from session_block.identity import Identity
from session_block.ledger import Ledger
from session_block.notices import Notices
from session_block.plan import SessionPlan
from session_block.records import BACKEND_KEY, ExperimentRecords
from session_block.references import ExecutionMode, SessionDetails, SessionRef
from session_block.session import SessionKeeper, session_id_of


class SessionHandle(ExperimentRecords):
    """An experiment's records, and its session. It connects when the platform is first needed.

    Attributes:
        opening: Token of this opening; ``None`` in a process that did not open the experiment.
        notices: Tells who listens what happens to the experiment in this process.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        ledger: Ledger,
        account: Callable[[], Account],
        plan: SessionPlan,
        block: str | None,
        opener: bool,
    ) -> None:
        super().__init__(identity, ledger)
        self.opening = uuid4().hex if opener else None
        self._account = account
        self._plan = plan
        self._block = block
        self._lock = threading.Lock()
        self._keeper_made: SessionKeeper | None = None
        self.notices = Notices()
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
        """Open the experiment's session or batch, or reattach to it, and return its ID.

        A sealed experiment opens nothing, and job mode has nothing to open.

        Raises:
            ConnectionFailedError: The platform refused the credentials or could not be reached.
            BackendNotFoundError: The instance has no such backend.
            SessionClosedError: The session has ended, and is not to be replaced.
            SessionsNotAllowedError: The instance's plan has no sessions.
        """
        if self.sealed:
            return self.session_id
        return session_id_of(self._keeper().current())

    def borrow_session(self, session_id: str) -> str | None:
        """Attach to a session or batch that somebody else opened; it is never closed from here.

        Raises:
            SessionNotFoundError: The instance has no such session.
            SessionMismatchError: It is on another backend, or of another mode.
            SessionClosedError: It accepts no more jobs.
        """
        if self.sealed or self.session_id == session_id:
            return session_id
        self._keeper().borrow(session_id)
        return self.session_id

    def session_details(self) -> SessionDetails:
        """Return the details of the experiment's session, asked from the platform.

        Raises:
            SessionError: There is none: it was not opened yet, or jobs run in job mode.
        """
        return self._keeper().details()

    def session_status(self) -> str | None:
        """Return the client's words for the session's state; ``None`` where there is no session.

        ``Pending``, ``In progress, accepting new jobs``, ``In progress, not accepting new jobs`` or
        ``Closed``.
        """
        return self._keeper().details().status if self.session_id else None

    def session_usage(self) -> float | None:
        """Return the session's usage in seconds; ``None`` where there is no session."""
        return self._keeper().details().usage_time if self.session_id else None

    @property
    def service(self) -> QiskitRuntimeService:
        """The client's own service, connected to the experiment's instance."""
        return self._keeper().connection.service

    @property
    def backend(self) -> IBMBackend:
        """The backend of all jobs of the experiment, as the client's object.

        Raises:
            BackendNotFoundError: The instance has no such backend.
        """
        return self._keeper().backend

    @property
    def mode(self) -> ExecutionMode:
        """The execution mode: the Block's, or what took its place where that is not allowed."""
        return self._keeper().mode()

    def close_session(self) -> bool:
        """Close the session that this experiment opened; queued and running jobs finish.

        Returns:
            Whether a session was closed; a borrowed one never is.
        """
        return self._has_open_session() and self._keeper().close()

    aopen_session = aio.async_twin(open_session)
    aborrow_session = aio.async_twin(borrow_session)
    asession_details = aio.async_twin(session_details)
    asession_status = aio.async_twin(session_status)
    asession_usage = aio.async_twin(session_usage)
    aclose_session = aio.async_twin(close_session)

    async def aservice(self) -> QiskitRuntimeService:
        """Async twin of :attr:`service`."""
        return await aio.in_thread(lambda: self.service)

    async def abackend(self) -> IBMBackend:
        """Async twin of :attr:`backend`."""
        return await aio.in_thread(lambda: self.backend)

    async def amode(self) -> ExecutionMode:
        """Async twin of :attr:`mode`."""
        return await aio.in_thread(lambda: self.mode)

    def _check_backend(self) -> None:
        about = {
            "name": self.identity.name,
            "number": self.identity.number,
            "backend": self._plan.backend_name,
        }
        fact, _ = self._ledger.create(self.uid, "experiment", about)
        wanted, began_with = self._plan.backend_name, fact.body["backend"]
        if wanted == began_with:
            return
        pinned = self._ledger.get(self.uid, BACKEND_KEY)
        if pinned is None or wanted != pinned.body["name"]:
            raise InvalidInputError(
                f"Experiment {self.identity} began on {began_with or 'the least busy backend'}, "
                f"but the Block names {wanted or 'none'}. Use the Block it began with, or start "
                "anew with fresh=True."
            )

    @property
    def _connected(self) -> bool:
        return self._keeper_made is not None

    def _has_open_session(self) -> bool:
        return any(record.usable and record.kind == "opened" for record in self.sessions)

    def _keeper(self) -> SessionKeeper:
        with self._lock:
            if self._keeper_made is None:
                self._keeper_made = SessionKeeper(
                    self._ledger,
                    self.uid,
                    Connection(self._account()),
                    self._plan,
                    lost=self.identity.lost,
                    notices=self.notices,
                )
            return self._keeper_made
