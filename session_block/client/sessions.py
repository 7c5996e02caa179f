"""The sessions and batches of one instance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from qiskit_ibm_runtime import Batch, Session
from qiskit_ibm_runtime.exceptions import IBMError

from session_block import crashpoints
from session_block.client.backends import BackendChoice, Backends
from session_block.client.failures import UnknownEffectError
from session_block.client.service import connecting
from session_block.errors import (
    ConnectionFailedError,
    SessionError,
    SessionMismatchError,
    SessionNotFoundError,
)
from session_block.references import SessionDetails, SessionMode, checked_id

_CLASSES: dict[str, type[Session]] = {"session": Session, "batch": Batch}
_ON_THE_WIRE = {"session": "dedicated", "batch": "batch"}
_FIELDS = {
    "interactive_ttl": "interactive_timeout",
    "max_ttl": "max_time",
    "active_ttl": "active_timeout",
    "elapsed_time": "usage_time",
}
"""The client's names for the platform's fields of a session."""
_LISTING_PAGE = 50
_NOT_FOUND = 404
_CLOSE_TRIES = 4
_CLOSE_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class ListedSession:
    """A session or batch as the platform's listing of workloads shows it.

    Attributes:
        status: ``pending``, ``in_progress``, ``completed``, ``canceled`` or ``failed``.
    """

    session_id: str
    mode: str
    backend: str | None
    created: datetime
    status: str

    @property
    def ended(self) -> bool:
        """Whether the session is over."""
        return self.status not in {"pending", "in_progress"}


class Sessions:
    """Opens, finds and closes an instance's sessions and batches.

    Args:
        api: Returns the client's HTTP layer for the instance.
        instance: CRN of the instance.
        backends: The instance's backends.
        pause: Sleeps between two tries.
    """

    def __init__(
        self,
        api: Callable[[], Any],
        instance: str,
        backends: Backends,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._instance = instance
        self._backends = backends
        self._pause = pause

    def open(
        self,
        backend: BackendChoice,
        max_time_seconds: int | None,
        mode: SessionMode = "session",
    ) -> Session:
        """Open a new session or batch. The caller must record its ID at once."""
        device = self._backends.get(backend)
        with (
            connecting(f"open a {mode} on {backend.name}"),
            crashpoints.around("open session"),
        ):
            try:
                session = _CLASSES[mode](device, max_time=max_time_seconds)
            except (AttributeError, KeyError, TypeError) as error:
                raise UnknownEffectError("the platform's answer is of an unknown form") from error
            if not session.session_id:
                raise UnknownEffectError("the platform's answer names no session")
            return session

    def look(self, session_id: str) -> SessionDetails:
        """Return the platform's details of a session or batch, in one request.

        Raises:
            SessionNotFoundError: The instance has no session with this ID.
        """
        checked_id("session", session_id)
        try:
            with connecting(f"look up session {session_id}"):
                with crashpoints.around("look at session"):
                    told = self._api().session_details(session_id)
                return SessionDetails(**{_FIELDS.get(name, name): told[name] for name in told})
        except ConnectionFailedError as error:
            if getattr(error.__cause__, "status_code", None) == _NOT_FOUND:
                raise SessionNotFoundError(
                    f"The instance {self._instance} has no session {session_id!r}. Check the ID, "
                    "and that the Block's credentials are for the instance that opened it.",
                    session_id=session_id,
                ) from error
            raise

    def attach(
        self, details: SessionDetails, backend: BackendChoice, mode: SessionMode = "session"
    ) -> Session:
        """Return an existing session or batch, after checking its backend and mode.

        Unlike ``Session.from_id`` this works before the session's first job, and does not change
        the service's active instance.

        Args:
            details: The platform's details of the session.
            backend: The expected backend, and which of its gates and calibrations to use.
            mode: The expected mode.

        Raises:
            SessionMismatchError: Its backend or mode is another one.
        """
        found = (details.mode, details.backend_name or backend.name)
        if found != (_ON_THE_WIRE[mode], backend.name):
            raise SessionMismatchError(
                f"Session {details.id} is of mode {found[0]!r} on backend {found[1]!r}, but the "
                f"Block needs mode {_ON_THE_WIRE[mode]!r} on backend {backend.name!r}. Use a Block "
                "with the session's backend and mode, or another session.",
                session_id=details.id,
            )
        session = _CLASSES[mode](self._backends.get(backend), create_new=False)
        session._session_id = details.id  # noqa: SLF001 - as Session.from_id does
        return session

    def close(self, session: Session, *, cancel_jobs: bool) -> None:
        """Close a session, with retries: the client never retries this request by itself.

        Args:
            session: The session.
            cancel_jobs: Whether to cancel its pending jobs; otherwise they still finish.

        Raises:
            SessionError: The platform did not close it, so it may still be billed.
        """
        for tries_left in reversed(range(_CLOSE_TRIES)):
            try:
                with crashpoints.around("close session"):
                    if cancel_jobs:
                        session.cancel()
                    else:
                        session.close()
            except (IBMError, requests.RequestException) as error:
                if not tries_left:
                    raise SessionError(
                        f"Session {session.session_id} could not be closed: {error}. It may still "
                        "be billed. Close it on the platform.",
                        session_id=session.session_id,
                    ) from error
                self._pause(_CLOSE_PAUSE_SECONDS)
            else:
                return

    def close_seen(self, details: SessionDetails, *, cancel_jobs: bool) -> None:
        """Close a session or batch on any backend, whoever opened it.

        Raises:
            SessionError: It has no backend yet, or the platform did not close it.
        """
        if details.backend_name is None:
            raise SessionError(
                f"Session {details.id} has no backend yet, so it was opened by another client. "
                "Close it there, or here once its first job has started.",
                session_id=details.id,
            )
        backend = BackendChoice(details.backend_name)
        session = self.attach(details, backend, details.execution_mode)
        self.close(session, cancel_jobs=cancel_jobs)

    def listed(
        self, mode: SessionMode, backend: str, created_after: datetime
    ) -> list[ListedSession]:
        """List the instance's sessions on a backend, oldest first.

        Args:
            mode: ``session`` or ``batch``.
            backend: Name of the backend.
            created_after: List only sessions opened after this aware time.

        Raises:
            ConnectionFailedError: The listing failed or was incomplete.
        """
        with connecting(f"list the sessions on {backend}"):
            return [
                ListedSession(
                    session_id=item["id"],
                    mode=item["mode"],
                    backend=item.get("backend"),
                    created=datetime.fromisoformat(item["created"]),
                    status=item["status"],
                )
                for item in self._workloads(mode, backend, created_after)
            ]

    def _workloads(
        self, mode: str, backend: str, created_after: datetime
    ) -> Iterator[dict[str, Any]]:
        rest = self._api()._api  # noqa: SLF001
        cursor: str | None = None
        while True:
            page = rest.workloads_get(
                mode=mode,
                backend=backend,
                # The client converts naive local times correctly, and aware times wrongly.
                created_after=created_after.astimezone().replace(tzinfo=None),
                sort="createdAt",
                limit=_LISTING_PAGE,
                next=cursor,
            )
            yield from page["workloads"]
            cursor = _cursor(page.get("next"))
            if cursor is None:
                return


def _cursor(following: Any) -> str | None:
    """Return the cursor in a link to the next page; ``None`` on the last page."""
    href = (following or {}).get("href", "")
    cursors = parse_qs(urlsplit(href).query).get("next", [])
    return cursors[0] if cursors else None
