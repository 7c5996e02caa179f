"""Find the execution mode of an experiment whose plan may have no sessions."""

from __future__ import annotations

import logging

from session_block.client import Connection
from session_block.errors import ConnectionFailedError
from session_block.records.context import ExperimentContext
from session_block.records.keys import ModeChosen
from session_block.records.sessions import execution_mode
from session_block.references import ExecutionMode
from session_block.settings import SessionPlan

_logger = logging.getLogger(__name__)


class ModeFallback:
    """Knows the mode, and falls back to the one that the Block names for plans without sessions.

    Args:
        context: The experiment. It keeps the mode that it fell back to.
        connection: The connection to its instance.
        plan: What the Block says about sessions.
    """

    def __init__(
        self, context: ExperimentContext, connection: Connection, plan: SessionPlan
    ) -> None:
        self._context = context
        self._connection = connection
        self._plan = plan
        self._mode: ExecutionMode | None = None
        self._used: set[str] = set()

    def mode(self) -> ExecutionMode:
        """Return the execution mode: the Block's, or the one that replaced it."""
        if self._mode is None or self._mode == "session":
            self._mode = execution_mode(self._context.journal, self._plan)
        return self._mode

    def take(self, because: str) -> bool:
        """Fall back to the Block's mode for plans without sessions.

        Args:
            because: Why, for the record.

        Returns:
            Whether the Block names such a mode.
        """
        if self._plan.without_sessions == "fail":
            return False
        chosen, _ = self._context.journal.record(
            ModeChosen(mode=self._plan.without_sessions, because=because)
        )
        _logger.warning(
            "The instance %s has no sessions, so experiment %s runs in %s mode.",
            self._connection.instance,
            self._context.identity,
            chosen.mode,
        )
        return True

    def is_ignored(self, session_id: str, job_id: str) -> bool:
        """Return whether the platform ran a session's job outside the session.

        The platform is asked once per session. On some plans it opens a session and then ignores
        it, and the client drops the message that says so.
        """
        if session_id in self._used:
            return False
        try:
            job = self._connection.jobs.get(job_id)
        except ConnectionFailedError as error:
            _logger.warning("Could not check whether session %s is used: %s", session_id, error)
            return False
        self._used.add(session_id)
        return job is not None and job.session_id is None
