"""Open the sessions of one experiment when needed; reattach to, replace and close them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

from qiskit.transpiler import Target
from qiskit_ibm_runtime import IBMBackend, Session

from session_block.client import BackendChoice, Connection, Program
from session_block.client.outages import through_outages
from session_block.environment.forks import ForkLock
from session_block.errors import (
    ConnectionFailedError,
    ExperimentStoppedError,
    SessionClosedError,
    SessionError,
    SessionsNotAllowedError,
)
from session_block.events import EventKind
from session_block.prechecks.checking import Precheck
from session_block.prechecks.subject import Device
from session_block.pubs.request import Request
from session_block.records.context import ExperimentContext
from session_block.records.keys import Place
from session_block.records.sessions import (
    CANCELLED,
    CLOSED,
    IGNORED,
    NEAR_ITS_END,
    SessionRecord,
    read_sessions,
    record_end,
)
from session_block.references import ExecutionMode, SessionDetails
from session_block.sessions.backend import CalibrationWatch, PinnedBackend
from session_block.sessions.closing import SessionCloser
from session_block.sessions.endings import SessionEndings
from session_block.sessions.execution_mode import ModeFallback
from session_block.sessions.expiry import Expiry
from session_block.sessions.opening import SessionJoiner, SessionOpener
from session_block.sessions.stops import StopGuard
from session_block.settings import SessionPlan

_logger = logging.getLogger(__name__)


def session_id_of(mode: Session | IBMBackend) -> str | None:
    """Return the ID of the session or batch that a job runs in; ``None`` in job mode."""
    return mode.session_id if isinstance(mode, Session) else None


@dataclass(frozen=True)
class _Current:
    """The session that jobs run in now.

    Attributes:
        session: The client's object.
        renewals: How often its connection had been renewed when it was attached.
    """

    record: SessionRecord
    session: Session
    renewals: int


class SessionManager:
    """Keeps one experiment inside one session for as long as the platform allows.

    If a session ends, one replacement serves all: threads of a process share one manager, and
    processes share the replacement through the ledger.

    Args:
        context: The experiment.
        connection: The connection to its instance.
        plan: What the Block says about sessions.
    """

    def __init__(
        self, context: ExperimentContext, connection: Connection, plan: SessionPlan
    ) -> None:
        self._context = context
        self._journal = context.journal
        self.connection = connection
        self.plan = plan
        self._pinned = PinnedBackend(context, connection, plan)
        self._fallback = ModeFallback(context, connection, plan)
        self._expiry = Expiry(context, connection, plan)
        self._calibration = CalibrationWatch(
            context, connection, self._pinned, plan.on_recalibration
        )
        self._opener = SessionOpener(context, connection, self._pinned, plan)
        self._joiner = SessionJoiner(context, connection, self._pinned, self._opener, plan)
        self._closer = SessionCloser(context, connection, self._pinned)
        self._endings = SessionEndings(context, connection)
        self._stops = StopGuard(context, plan)
        self._precheck = Precheck(str(context.identity), context.uid)
        self._lock = ForkLock(reentrant=True)
        self._current: _Current | None = None

    @property
    def backend_choice(self) -> BackendChoice:
        """The backend of all jobs of this experiment, chosen when first needed."""
        return self._pinned.choice()

    @property
    def backend(self) -> IBMBackend:
        """The backend of all jobs, as the client's object."""
        return through_outages(
            self._context.environment,
            f"The backend of experiment {self._context.identity} could not be read",
            lambda: self.connection.backends.get(self.backend_choice),
        )

    @property
    def target(self) -> Target:
        """What circuits may consist of on the backend."""
        return through_outages(
            self._context.environment,
            f"The backend of experiment {self._context.identity} could not be read",
            lambda: self.connection.backends.target(self.backend_choice),
        )

    @property
    def device(self) -> Device:
        """What requests are checked against."""
        return Device(self.backend, self.target)

    def prepared(self, request: Request, *, is_new: bool = True) -> Program:
        """Return what the client sends for a request.

        Args:
            request: The request.
            is_new: Whether nothing is recorded of it. What was sent before is not checked by rules
                that may be newer.

        Raises:
            NotISAError: A circuit does not fit the backend.
            FaultyQubitError: A circuit uses what the backend calls faulty.
            CheckFailedError: It would fail after it was queued.
            InvalidInputError: The client cannot encode it.
        """
        device = self.device
        request.check_isa(device.target)
        request.check_faulty(device.backend)
        if is_new:
            self._precheck.check(request, device)
        program = Program.of(lambda mode: request.send(mode, ()), device.backend)
        if is_new:
            self._precheck.check(request, device, program)
        return program

    @property
    def place(self) -> Place:
        """Where the experiment's jobs are sent."""
        return Place(
            self.backend_choice.name, self.connection.instance, str(self.connection.account.url)
        )

    def current(self) -> Session | IBMBackend:
        """Return what the next job runs in, as the client's primitives take it.

        That is the experiment's open session or batch, or a new one if there is none. In job mode
        it is the backend.

        Raises:
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SessionClosedError: The session has ended, and the Block does not let it be replaced.
            SessionsNotAllowedError: The instance's plan has no sessions.
            SessionError: The experiment has used up its number of sessions.
            ConnectionFailedError: The platform could not be reached or refused to open one.
        """
        with self._lock:
            while True:
                self._forget_other_connections()
                self._retire_near_its_end()
                if self._current is not None:
                    return self._current.session
                self._stops.check()
                mode, record = self.mode(), self._latest()
                if mode == "job" and (record is None or not record.usable):
                    return self.backend
                if record is None:
                    self._open(1, mode)
                elif record.kind is None:
                    self._opener.await_opening(record)
                elif record.usable:
                    self._reattach(record)
                else:
                    self._expiry.check_renewable(record)
                    self._open(record.number + 1, mode)

    def attached(self) -> Session | None:
        """Return the client's object of the open session or batch; open none if there is none.

        Raises:
            ConnectionFailedError: The platform could not be reached.
        """
        with self._lock:
            self._forget_other_connections()
            record = self._latest()
            if self._current is None and record is not None and record.kind and record.usable:
                self._reattach(record)
            return None if self._current is None else self._current.session

    def mode(self) -> ExecutionMode:
        """Return the execution mode: the Block's, or its replacement if the platform refuses it."""
        return self._fallback.mode()

    def is_borrowed(self, session_id: str | None) -> bool:
        """Whether a session of the experiment was opened by somebody else."""
        current = self._current
        if current is not None and current.record.session_id == session_id:
            return not current.record.opened
        return any(one.session_id == session_id and not one.opened for one in self.records())

    def calibrated_at(self, session_id: str | None) -> str | None:
        """Return when the backend was last calibrated, as ISO 8601; ``None`` if it does not say.

        Args:
            session_id: The session that the next job runs in; ``None`` for none.

        Raises:
            BackendRecalibratedError: It was recalibrated, and the Block says to stop then.
        """
        return self._calibration.look(session_id)

    def borrow(self, session_id: str) -> Session:
        """Attach the experiment to a session or batch that somebody else opened.

        If the Block names no backend, the experiment takes the session's.

        Raises:
            SessionNotFoundError: The instance has no such session.
            SessionMismatchError: It is on another backend, or has another mode.
            SessionClosedError: It accepts no more jobs.
            InvalidInputError: The Block's mode is job.
        """
        with self._lock:
            self._judge_before_leaving(session_id)
            if self._joiner.join(session_id):
                self._current = None
            return cast(Session, self.current())

    def replace(self, ended_session_id: str, *, asked_again: bool = False) -> Session | IBMBackend:
        """Return what the next job runs in after a session has ended; all callers get the same one.

        Args:
            ended_session_id: The session that has ended.
            asked_again: Whether the user asks again for a job that the session refused, and so
                wants it to run even though the session was cancelled.

        Raises:
            ExperimentStoppedError: A person or the cost limit ended it.
            SessionClosedError: This experiment's program cancelled it, or the Block does not let
                it be replaced.
        """
        with self._lock:
            self._stops.check()
            if self._current is not None and self._current.record.session_id == ended_session_id:
                self._current = None
            for record in self.records():
                if record.session_id != ended_session_id:
                    continue
                if record.closing == CANCELLED and not asked_again:
                    raise SessionClosedError(
                        f"Session {ended_session_id} of experiment {self._context.identity} was "
                        "cancelled, with everything that had not run in it. Ask again to run it "
                        "in a new session.",
                        experiment=self._context.uid,
                        session_id=ended_session_id,
                    )
                self._judge(record)
            return self.current()

    def records(self) -> list[SessionRecord]:
        """Return the experiment's sessions, oldest first."""
        return read_sessions(self._journal)

    def has_own_open(self) -> bool:
        """Whether this experiment opened a session that is not known to be over."""
        return any(self._closer.may_close(record) for record in self.records())

    def details(self) -> SessionDetails:
        """Return the latest session's details, asked from the platform."""
        record = next((one for one in reversed(self.records()) if one.session_id), None)
        if record is None:
            why = "runs in job mode" if self.mode() == "job" else "has not opened a session yet"
            raise SessionError(
                f"Experiment {self._context.identity} {why}.", experiment=self._context.uid
            )
        return self.details_of(record)

    def details_of(self, record: SessionRecord) -> SessionDetails:
        """Return the details of one of the experiment's sessions, asked from the platform."""
        return self.connection.sessions.look(str(record.session_id))

    def seconds_left(self) -> float | None:
        """Return how many seconds the session that is attached has left.

        Returns:
            ``None`` if none is attached, or before its first job has started.

        Raises:
            ConnectionFailedError: The platform does not answer.
        """
        current = self._current
        return None if current is None else self._expiry.seconds_left(current.session)

    def is_closed(self, session_id: str) -> bool:
        """Whether the platform says that a session accepts no more jobs."""
        return not self.connection.sessions.look(session_id).accepts_jobs

    def judge_end(self, session_id: str) -> None:
        """Find out who ended a session that takes no more jobs; record a stop if it was one."""
        with self._lock:
            for record in self.records():
                if record.session_id == session_id:
                    self._endings.judge(record, job_died=True)
                    if self._current is not None and self._current.record.number == record.number:
                        self._current = None

    def check_after_refusal(self) -> None:
        """Look whether a refusal for now means that the session has ended, as at the cost limit.

        Raises:
            ExperimentStoppedError: A person or the cost limit ended it.
        """
        with self._lock:
            current = self._current
            if current is None:
                return
            details = self.details_of(current.record)
            if not details.accepts_jobs:
                self._judge(current.record, details)
        self._stops.check()

    @property
    def was_stopped(self) -> bool:
        """Whether this process was refused something because the experiment is stopped."""
        return self._stops.has_refused

    def check_not_stopped(self) -> None:
        """Check that nobody has stopped the experiment.

        Raises:
            ExperimentStoppedError: A person or the cost limit did.
        """
        self._stops.check()

    def check_is_used(self, session_id: str, job_id: str) -> None:
        """Give up the session if the platform ran one of its jobs outside it."""
        with self._lock:
            if self._current is None or self._current.record.session_id != session_id:
                return
            if self._fallback.is_ignored(session_id, job_id):
                self._give_up(self._current, IGNORED)
                self._fallback.take(IGNORED)

    def close(self, *, cancel_jobs: bool = False) -> bool:
        """Close the sessions that this experiment opened; borrowed ones stay open.

        Args:
            cancel_jobs: Cancel the session's queued jobs instead of letting them finish.

        Returns:
            Whether a session was closed.

        Raises:
            SessionError: The platform did not close it, so it may still be billed.
        """
        with self._lock:
            own = [one for one in self.records() if self._closer.may_close(one)]
            for record in own:
                self._close(record, CANCELLED if cancel_jobs else CLOSED)
            return bool(own)

    def _close(self, record: SessionRecord, reason: str) -> None:
        self._forget_other_connections()
        current = self._current
        known = current is not None and current.record.number == record.number
        if self._was_ended_by_others(record) and reason != CANCELLED:
            return
        self._closer.close(record, reason, current.session if current and known else None)
        self._end(record, reason)

    def _was_ended_by_others(self, record: SessionRecord) -> bool:
        """Whether a session that we are about to close takes no more jobs; judge its end then."""
        if record.closings:
            return False
        try:
            details = self.details_of(record)
        except ConnectionFailedError:
            return False  # to close it fails too, and says what that means
        if details.accepts_jobs:
            return False
        self._judge(record, details)
        return True

    def _judge_before_leaving(self, for_session_id: str) -> None:
        """Judge the session that another one is to follow, in case a person has ended it.

        Raises:
            ExperimentStoppedError: A person or the cost limit did, and nobody has resumed it.
        """
        latest = self._latest()
        if latest is None or latest.session_id == for_session_id:
            return
        if latest.kind is not None and latest.usable:
            details = self.details_of(latest)
            if not details.accepts_jobs:
                self._judge(latest, details)
        self._stops.check()

    def _latest(self) -> SessionRecord | None:
        records = self.records()
        return records[-1] if records else None

    def _open(self, number: int, mode: ExecutionMode) -> None:
        if mode == "job":
            return
        if self.plan.on_recalibration == "stop":
            self.calibrated_at(None)
        renewals = self.connection.renewals
        try:
            session = self._opener.open(number, mode)
        except SessionsNotAllowedError as error:
            if not self._fallback.take(str(error)):
                raise
            return
        if session is not None:
            self._current = _Current(self.records()[number - 1], session, renewals)
            renewed = any(one.opened and one.number < number for one in self.records())
            kind = EventKind.SESSION_RENEWED if renewed else EventKind.SESSION_OPENED
            self._context.publish(kind, session.session_id, f"on {self.backend_choice.name}")
            self._close_if_stopped(self._current.record)

    def _close_if_stopped(self, record: SessionRecord) -> None:
        """Close a session that was being opened while somebody stopped the experiment.

        Raises:
            ExperimentStoppedError: Somebody did.
        """
        try:
            self._stops.check()
        except ExperimentStoppedError:
            self._close(record, CLOSED)
            raise

    def _reattach(self, record: SessionRecord) -> None:
        renewals = self.connection.renewals
        details = self.details_of(record)
        if details.accepts_jobs:
            self._current = _Current(record, self._closer.attach(record, details), renewals)
            self._context.publish(EventKind.SESSION_REATTACHED, record.session_id, details.status)
        else:
            self._judge(record, details)

    def _forget_other_connections(self) -> None:
        """Drop the client's session object if its connection has been renewed since."""
        if self._current is not None and self._current.renewals != self.connection.renewals:
            self._current = None

    def _retire_near_its_end(self) -> None:
        """Give up the current session before its end, as early as the Block wants."""
        current = self._current
        if current is None or not self._expiry.is_near(current.session):
            return
        session_id = current.record.session_id
        _logger.info(
            "Session %s of experiment %s is near its end; no more jobs are submitted to it.",
            session_id,
            self._context.identity,
        )
        self._context.publish(EventKind.SESSION_NEAR_ITS_END, session_id)
        self._give_up(current, NEAR_ITS_END)

    def _give_up(self, current: _Current, reason: str) -> None:
        if current.record.opened:
            self._close(current.record, reason)
            return
        details = self.details_of(current.record)
        if details.accepts_jobs:
            self._end(current.record, reason)
        else:
            self._judge(current.record, details)

    def _judge(self, record: SessionRecord, details: SessionDetails | None = None) -> None:
        self._endings.judge(record, details)
        self._current = None

    def _end(self, record: SessionRecord, reason: str) -> None:
        record_end(self._journal, record, reason)
        self._current = None
        self._context.publish(EventKind.SESSION_CLOSED, record.session_id, reason)
