"""Decide when a session is replaced: how much time is left, and whether another may follow."""

from __future__ import annotations

from qiskit_ibm_runtime import Session

from session_block.client import Connection
from session_block.errors import SessionClosedError, SessionsNotAllowedError
from session_block.records.context import ExperimentContext
from session_block.records.sessions import (
    CANCELLED,
    CLOSED,
    IGNORED,
    STOPPED,
    TIDIED,
    SessionRecord,
)
from session_block.references import SessionDetails
from session_block.settings import SessionPlan


class Expiry:
    """Applies what the Block says about sessions that end.

    Args:
        context: The experiment.
        connection: The connection to its instance.
        plan: What the Block says about sessions.
    """

    def __init__(
        self, context: ExperimentContext, connection: Connection, plan: SessionPlan
    ) -> None:
        self._context = context
        self._connection = connection
        self._plan = plan
        self._details: SessionDetails | None = None

    def seconds_left(self, session: Session) -> float | None:
        """Return how many seconds a session has left; ``None`` until its first job has started.

        Its end is fixed once that job has started, so the platform is then asked only once.

        Raises:
            ConnectionFailedError: The platform does not answer.
        """
        known = self._details
        if known is None or known.id != session.session_id or known.closes_at is None:
            known = self._details = self._connection.sessions.look(str(session.session_id))
        if known.closes_at is None:
            return None
        return (known.closes_at - self._connection.account.now()).total_seconds()

    def is_near(self, session: Session) -> bool:
        """Whether a session has less time left than the Block wants for a submission."""
        if not self._plan.min_time_left_seconds:
            return False
        left = self.seconds_left(session)
        return left is not None and left < self._plan.min_time_left_seconds

    def check_renewable(self, record: SessionRecord) -> None:
        """Refuse to replace a session that ended by itself if the Block says so.

        Raises:
            SessionClosedError: The Block does not let it be replaced.
            SessionsNotAllowedError: The platform opened it, but ran no job in it.
        """
        if record.end == IGNORED and self._plan.without_sessions == "fail":
            raise SessionsNotAllowedError(
                f"Session {record.session_id} was opened, but the platform ran the job of "
                f"experiment {self._context.identity} outside of it, as it does on the open plan. "
                "What is recorded stays. Set the Block's mode to 'batch' or 'job', or set "
                "without_sessions to switch automatically, or use an instance of another plan.",
                experiment=self._context.uid,
                session_id=record.session_id,
            )
        ours = (CLOSED, CANCELLED, IGNORED, TIDIED, STOPPED)
        by_itself = record.session_id is not None and record.end not in ours
        borrowed = record.kind == "borrowed"
        if not by_itself or self._plan.reopens(borrowed=borrowed):
            return
        whose = "borrowed" if borrowed else "opened"
        raise SessionClosedError(
            f"Session {record.session_id}, which experiment {self._context.identity} {whose}, has "
            f"ended ({record.end}), and its Block does not let it be replaced. Reattach to "
            "another session, or set on_expiry='reopen' to continue in a new one. What is recorded "
            "stays.",
            experiment=self._context.uid,
            session_id=record.session_id,
        )
