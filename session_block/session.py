"""Open, reattach, replace and close the sessions of one experiment.

A session has two facts, like a submission: ``session-intent/n`` before it is opened and
``session/n`` after. Sessions bear no tags, so one whose opening was cut off between the two cannot
be recognised; it is reported, and the platform closes it by itself when no job starts in it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any

from qiskit.transpiler import Target
from qiskit_ibm_runtime import IBMBackend, Session

from session_block import owner
from session_block.client import Connection
from session_block.errors import (
    ConnectionFailedError,
    SessionClosedError,
    SessionError,
)
from session_block.ledger import Ledger
from session_block.references import SessionDetails
from session_block.refusals import Refusal, refusal, tells_of_refused_token
from session_block.session_records import CANCELLED, SessionRecord, read_sessions, report_lost

MAX_SESSIONS = 20
"""How many sessions one experiment opens before it stops and asks."""

OPEN_DEADLINE_SECONDS = 120.0
_LOOK_SECONDS = 0.05
_logger = logging.getLogger(__name__)


class SessionKeeper:
    """Keeps one experiment inside one session for as long as the platform lets it.

    All threads of a process share one keeper, and with it the session that replaces an ended one.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: str,
        connection: Connection,
        backend_name: str,
        max_time_seconds: int | None,
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self.connection = connection
        self.backend_name = backend_name
        self._max_time_seconds = max_time_seconds
        self._lock = threading.RLock()
        self._current: tuple[SessionRecord, Session] | None = None

    @property
    def backend(self) -> IBMBackend:
        """The backend of all sessions of this experiment."""
        return self.connection.backend(self.backend_name)

    @property
    def target(self) -> Target:
        """What a circuit may consist of."""
        return self.connection.target(self.backend_name)

    def current(self) -> Session:
        """Return the experiment's session: the open one, else a new one.

        Raises:
            SessionClosedError: A borrowed session has ended; only its owner may renew it.
            SessionError: The experiment has used up its number of sessions.
            ConnectionFailedError: The platform could not be reached or refused to open one.
        """
        with self._lock:
            while self._current is None:
                record = self._latest()
                if record is None:
                    self._open(1)
                elif record.kind is None:
                    self._await_opening(record)
                elif not record.usable:
                    self._refuse_to_renew_borrowed(record)
                    self._open(record.number + 1)
                else:
                    self._reattach(record)
            return self._current[1]

    @property
    def borrowed(self) -> bool:
        """Whether the session in use was opened by somebody else."""
        return self._current is not None and self._current[0].kind == "borrowed"

    def reconnect_after(self, error: BaseException) -> bool:
        """Connect anew if an error says that the access token was refused; say whether it did.

        The client goes on with a token that the platform refuses; a new connection gets another.
        """
        if not tells_of_refused_token(error):
            return False
        with self._lock:
            self.connection = Connection(self.connection.account)
            self._current = None
        return True

    def borrow(self, session_id: str) -> Session:
        """Attach the experiment to a session that somebody else opened.

        Raises:
            SessionNotFoundError: The instance has no such session.
            SessionMismatchError: It is on another backend, or is a batch.
            SessionClosedError: It accepts no more jobs.
        """
        with self._lock:
            session = self.connection.session(session_id, self.backend_name)
            if not self.connection.accepts_jobs(session):
                raise SessionClosedError(
                    f"Session {session_id} is closed, so no job can join it. Reattach to one that "
                    "is open, or open a new one."
                )
            while (record := self._latest()) is None or record.session_id != session_id:
                number = 1 if record is None else record.number + 1
                if self._record_intent(number, borrowed=session_id):
                    body = {"kind": "borrowed", "session_id": session_id}
                    self._ledger.create(self._experiment, f"session/{number}", body)
                    self._current = None
            return self.current()

    def replace(self, ended_session_id: str) -> Session:
        """Return the session that replaces an ended one; all callers get the same.

        Raises:
            SessionClosedError: This experiment's user cancelled it, or it was borrowed.
        """
        with self._lock:
            for record in self.records():
                if record.session_id == ended_session_id and record.closing == CANCELLED:
                    raise SessionClosedError(
                        f"Session {ended_session_id} was cancelled, and with it what was still to "
                        "run in it. Ask again to run it in a new session."
                    )
                if record.session_id == ended_session_id and record.end is None:
                    self._end(record, "closed by the platform")
            return self.current()

    def records(self) -> list[SessionRecord]:
        """Return the experiment's sessions, oldest first."""
        return read_sessions(self._ledger, self._experiment)

    def details(self) -> SessionDetails:
        """Return the current session's details, asked from the platform."""
        record = self._latest()
        if record is None or record.session_id is None:
            raise SessionError(f"Experiment {self._experiment} has not opened a session yet.")
        session = self._attached(record)
        return SessionDetails(
            **self.connection.describe(session), status=self.connection.status(session)
        )

    def is_closed(self, session_id: str) -> bool:
        """Whether the platform says that a session has ended."""
        return not self.connection.accepts_jobs(
            self.connection.session(session_id, self.backend_name)
        )

    def close(self, *, cancel_jobs: bool = False) -> bool:
        """Close the session that this experiment opened; a borrowed one is left alone.

        Args:
            cancel_jobs: Cancel the session's queued jobs instead of letting them finish.

        Returns:
            Whether a session was closed.

        Raises:
            SessionError: The platform did not close it; it may go on billing.
        """
        reason = CANCELLED if cancel_jobs else "closed by the experiment"
        with self._lock:
            own = [one for one in self.records() if one.usable and one.kind == "opened"]
            for record in own:
                session = self._attached(record)
                self._ledger.create(
                    self._experiment, f"session-closing/{record.number}", {"reason": reason}
                )
                try:
                    self.connection.close_session(session, cancel_jobs=cancel_jobs)
                except SessionError as error:
                    if not self.reconnect_after(error):
                        raise
                    self.connection.close_session(self._attached(record), cancel_jobs=cancel_jobs)
                self._end(record, reason)
            return bool(own)

    def _latest(self) -> SessionRecord | None:
        records = self.records()
        return records[-1] if records else None

    def _open(self, number: int) -> None:
        if sum(record.kind == "opened" for record in self.records()) >= MAX_SESSIONS:
            raise SessionError(
                f"Experiment {self._experiment} has used {MAX_SESSIONS} sessions. Look why they "
                "end so soon (max_time, or closed by somebody), then start it with fresh=True."
            )
        device = self.backend
        with owner.attempt() as owner_now:
            if not self._record_intent(number, owner=owner_now):
                return
            handled = sys.exception()
            try:
                session = self.connection.open_session(device.name, self._max_time_seconds)
            except ConnectionFailedError as error:
                self._record_failed_opening(number, refusal(error, handled))
                raise
            fact, ours = self._ledger.create(
                self._experiment,
                f"session/{number}",
                {"kind": "opened", "session_id": session.session_id},
            )
        if ours:
            self._current = (self._record(number), session)
            return
        _logger.warning(
            "Session %s was opened too late: %s stands in its place. It is closed.",
            session.session_id,
            fact.body,
        )
        self.connection.close_session(session, cancel_jobs=True)

    def _record_intent(self, number: int, **more: Any) -> bool:
        _, ours = self._ledger.create(
            self._experiment,
            f"session-intent/{number}",
            {
                "backend": self.backend_name,
                "instance": self.connection.instance,
                "url": self.connection.account.url,
                "max_time_seconds": self._max_time_seconds,
                **more,
            },
        )
        return ours

    def _record_failed_opening(self, number: int, refused: Refusal | None) -> None:
        """A refused opening made no session; of any other nobody knows."""
        kind = "lost" if refused is None else "refused"
        self._ledger.create(self._experiment, f"session/{number}", {"kind": kind})
        if refused is None:
            report_lost(self._experiment, number, self.backend_name)

    def _await_opening(self, record: SessionRecord) -> None:
        """Wait until another opener has recorded its session, or is gone."""
        deadline = time.monotonic() + OPEN_DEADLINE_SECONDS
        while time.monotonic() < deadline:
            if self._record(record.number).kind is not None:
                return
            if "owner" not in record.intent or not owner.may_be_alive(record.intent["owner"]):
                break
            time.sleep(_LOOK_SECONDS)
        _, ours = self._ledger.create(
            self._experiment, f"session/{record.number}", {"kind": "lost"}
        )
        if ours:
            report_lost(self._experiment, record.number, self.backend_name)

    def _reattach(self, record: SessionRecord) -> None:
        session = self.connection.session(str(record.session_id), self.backend_name)
        if self.connection.accepts_jobs(session):
            self._current = (record, session)
        else:
            self._end(record, "closed by the platform")

    def _attached(self, record: SessionRecord) -> Session:
        if self._current is not None and self._current[0].number == record.number:
            return self._current[1]
        return self.connection.session(str(record.session_id), self.backend_name)

    def _refuse_to_renew_borrowed(self, record: SessionRecord) -> None:
        if record.kind == "borrowed":
            raise SessionClosedError(
                f"Session {record.session_id}, which experiment {self._experiment} borrowed, has "
                "ended. Only who opened it can renew it: reattach to another session."
            )

    def _end(self, record: SessionRecord, reason: str) -> None:
        self._ledger.create(
            self._experiment,
            f"session-end/{record.number}",
            {"session_id": record.session_id, "reason": reason},
        )
        self._current = None

    def _record(self, number: int) -> SessionRecord:
        return self.records()[number - 1]
