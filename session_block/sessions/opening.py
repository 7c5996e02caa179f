"""Open a session exactly once, even if several try, or join one that somebody else opened."""

from __future__ import annotations

import logging
import sys

from qiskit_ibm_runtime import Session

from session_block.client import PLAN_WITHOUT_SESSIONS, Connection
from session_block.client.failures import (
    NO_SESSIONS_CODE,
    UNAUTHORIZED,
    Refusal,
    TooManyRequests,
    refusal,
    tells_of_no_sessions,
    too_many_requests,
)
from session_block.environment.backoff import Backoff, until_looking_again
from session_block.errors import (
    ConnectionFailedError,
    InvalidInputError,
    SessionClosedError,
    SessionError,
    SessionsNotAllowedError,
)
from session_block.records.context import ExperimentContext
from session_block.records.keys import Sender, SessionIntent, SessionOutcome
from session_block.records.sender import may_be_alive, sending
from session_block.records.sessions import SessionRecord, read_sessions, report_lost
from session_block.references import SessionDetails, SessionMode
from session_block.sessions.backend import PinnedBackend
from session_block.settings import SessionPlan

OPEN_DEADLINE_SECONDS = 120.0

_logger = logging.getLogger(__name__)


class SessionOpener:
    """Opens the sessions of one experiment.

    Like a submission, a session has two facts: ``session-intent/n`` before it is opened and
    ``session/n`` after. Sessions bear no tags. If an opening is cut off between the two facts, its
    session cannot be recognised: it is reported as lost, and the platform closes it if no job
    starts in it.

    Args:
        context: The experiment.
        connection: The connection to its instance.
        pinned: Its backend.
        plan: What the Block says about sessions.
    """

    def __init__(
        self,
        context: ExperimentContext,
        connection: Connection,
        pinned: PinnedBackend,
        plan: SessionPlan,
    ) -> None:
        self._context = context
        self._journal = context.journal
        self._connection = connection
        self._pinned = pinned
        self._plan = plan
        self._backoff = Backoff(
            f"A {plan.mode} for experiment {context.identity} could not be opened",
            context.environment,
        )
        self._renewed = False

    def open(self, number: int, mode: SessionMode) -> Session | None:
        """Open the n-th session; ``None`` if the next one is to be opened, or another one joined.

        So it is if another process opens it, if this one was too late, and if it was refused for a
        passing reason: an expired token, or too many requests, which is waited out.

        Raises:
            SessionsNotAllowedError: The instance's plan has no sessions.
            ConnectionFailedError: The platform could not be reached, or it refused to open one.
            SessionError: The experiment has used up its number of sessions.
            InvalidInputError: Its maximum time is longer than the instance's plan allows.
        """
        self._check_number()
        max_time_seconds = self._plan.max_time_seconds if mode == self._plan.mode else None
        self._check_caps(mode, max_time_seconds)
        with sending(self._context.environment) as sender:
            if not self.record_intent(number, mode, max_time_seconds, sender=sender):
                return None
            handled = sys.exception()
            try:
                session = self._connection.sessions.open(
                    self._pinned.choice(), max_time_seconds, mode
                )
            except ConnectionFailedError as error:
                refused = refusal(error, handled)
                self._failed(number, refused, error)
                if refused is None or not self._is_passing(refused, error, handled):
                    raise
                return None
            stands, ours = self._journal.record(
                SessionOutcome(number=number, kind="opened", session_id=session.session_id)
            )
        self._renewed = False
        self._backoff.recovered()
        if ours:
            return session
        _logger.warning(
            "Session %s was opened too late; the ledger already has %s in its place. Closing it.",
            session.session_id,
            stands.session_id or f"the outcome {stands.kind!r}",
        )
        self._connection.sessions.close(session, cancel_jobs=True)
        return None

    def record_intent(
        self,
        number: int,
        mode: SessionMode,
        max_time_seconds: int | None = None,
        *,
        sender: Sender | None = None,
        borrowed: str | None = None,
    ) -> bool:
        """Record that the n-th session is wanted; return whether this call was the first."""
        return self._journal.record(
            SessionIntent(
                number=number,
                backend=self._pinned.choice().name,
                instance=self._connection.instance,
                url=self._connection.account.url,
                mode=mode,
                max_time_seconds=max_time_seconds,
                sender=sender,
                borrowed=borrowed,
            )
        )[1]

    def await_opening(self, record: SessionRecord) -> None:
        """Wait until another opener has recorded its session; if it is gone, record a lost one."""
        environment = self._context.environment
        began = environment.monotonic()
        while (waited := environment.monotonic() - began) < OPEN_DEADLINE_SECONDS:
            known = read_sessions(self._journal)
            if known[record.number - 1].kind is not None:
                return
            opener = record.intent.sender
            if opener is None or not may_be_alive(opener, environment):
                break
            environment.pause(until_looking_again(waited))
        self._record_lost(record.number)

    def _failed(self, number: int, refused: Refusal | None, error: ConnectionFailedError) -> None:
        """Record a failed opening: refused if the platform said so, otherwise lost."""
        if refused is None:
            self._record_lost(number)
            return
        self._journal.record(SessionOutcome(number=number, kind="refused"))
        if tells_of_no_sessions(refused.message):
            raise SessionsNotAllowedError(
                f"The instance {self._connection.instance} has no sessions, like all instances of "
                f"the open plan, so experiment {self._context.identity} cannot open one. Set the "
                "Block's mode to 'batch' or 'job', or set without_sessions to switch "
                "automatically, or use an instance of another plan.",
                experiment=self._context.uid,
                code=NO_SESSIONS_CODE,
            ) from error

    def _is_passing(
        self, refused: Refusal, error: ConnectionFailedError, handled: BaseException | None
    ) -> bool:
        """Whether another session may be asked for now: wait, or renew the token, until it may."""
        too_many = too_many_requests(error, handled)
        if too_many is not None:
            self._wait(too_many, error)
            return True
        if refused.status == UNAUTHORIZED and not self._renewed:
            self._renewed = True
            self._connection.renew()
            return True
        return False

    def _wait(self, too_many: TooManyRequests, error: ConnectionFailedError) -> None:
        if too_many.too_long:
            _logger.warning(
                "The platform asks to wait %.0f s before another session is opened. Asking again "
                "after %.0f s.",
                too_many.retry_after_seconds,
                too_many.pause_seconds,
            )
        pause = self._backoff.failed(error)
        self._context.environment.pause(max(pause, too_many.pause_seconds or 0.0))

    def _record_lost(self, number: int) -> None:
        _, ours = self._journal.record(SessionOutcome(number=number, kind="lost"))
        if ours:
            report_lost(self._context.identity, number, self._pinned.choice().name)

    def _check_caps(self, mode: SessionMode, max_time_seconds: int | None) -> None:
        """Refuse what the instance's plan cannot give, before anything is opened."""
        left = self._plan.min_time_left_seconds
        if max_time_seconds is None and not left:
            return
        refused = self._connection.plan_caps().why_not(max_time_seconds, left)
        if refused is not None and not (mode == "session" and self._has_no_sessions()):
            why, advice = refused
            raise InvalidInputError(
                f"Experiment {self._context.identity} cannot open a {mode} at "
                f"{self._connection.instance}: {why}. Nothing was opened. {advice}.",
                experiment=self._context.uid,
            )

    def _has_no_sessions(self) -> bool:
        """Whether the plan has batches alone: its caps are theirs, and a session is refused."""
        try:
            return self._connection.plan() == PLAN_WITHOUT_SESSIONS
        except ConnectionFailedError:
            return False  # opening it fails as well, and says so

    def _check_number(self) -> None:
        records = read_sessions(self._journal)
        opened = list(dict.fromkeys(one.session_id for one in records if one.opened))
        if len(opened) >= self._plan.max_sessions:
            raise SessionError(
                f"Experiment {self._context.identity} has opened {len(opened)} sessions, the last "
                f"one {opened[-1]}. Its Block allows no more (max_sessions). Find out why they end "
                "so soon (max_time, or closed by somebody). Then raise the limit to continue, or "
                f"start a new experiment {self._context.identity.anew}.",
                experiment=self._context.uid,
                session_id=opened[-1],
            )


class SessionJoiner:
    """Makes an existing session the latest one of an experiment.

    Args:
        context: The experiment.
        connection: The connection to its instance.
        pinned: Its backend; the session's is pinned if nothing else names one.
        opener: Records the intent.
        plan: What the Block says about sessions.
    """

    def __init__(
        self,
        context: ExperimentContext,
        connection: Connection,
        pinned: PinnedBackend,
        opener: SessionOpener,
        plan: SessionPlan,
    ) -> None:
        self._context = context
        self._journal = context.journal
        self._connection = connection
        self._pinned = pinned
        self._opener = opener
        self._plan = plan

    def join(self, session_id: str) -> bool:
        """Record the session as the experiment's latest; return ``False`` if it already was.

        Raises:
            SessionNotFoundError: The instance has no such session.
            SessionMismatchError: It is on another backend, or has another mode.
            SessionClosedError: It accepts no more jobs.
            InvalidInputError: The Block's mode is job.
        """
        mode = self._plan.mode
        if mode == "job":
            raise InvalidInputError(
                f"Session {session_id} cannot be joined: the Block's mode is 'job', and jobs in "
                "job mode run in no session. Use a Block of mode 'session' or 'batch'.",
                experiment=self._context.uid,
                session_id=session_id,
            )
        self._check(self._connection.sessions.look(session_id), mode)
        joined = False
        while True:
            records = read_sessions(self._journal)
            if records and records[-1].session_id == session_id:
                return joined
            known = next((one for one in records if one.session_id == session_id), None)
            kind = (known and known.kind) or "borrowed"
            number = len(records) + 1
            if self._opener.record_intent(number, mode, borrowed=session_id):
                self._journal.record(
                    SessionOutcome(number=number, kind=kind, session_id=session_id)
                )
                joined = True

    def _check(self, details: SessionDetails, mode: SessionMode) -> None:
        """Check a session before it is recorded, and pin its backend if none is pinned yet."""
        pinned = self._pinned.known()
        name = self._plan.backend_name or details.backend_name
        if pinned is not None:
            choice = pinned
        elif name is not None:
            choice = self._pinned.wanted(name)
        else:
            choice = self._pinned.choice()
        self._connection.sessions.attach(details, choice, mode)
        if not details.accepts_jobs:
            raise SessionClosedError(
                f"Session {details.id} is closed, so no job can join it. Reattach to an open "
                "session, or open a new one.",
                experiment=self._context.uid,
                session_id=details.id,
            )
        if pinned is None:
            self._pinned.pin(choice.name, f"session {details.id} is on it")
