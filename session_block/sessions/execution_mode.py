"""Which execution mode an experiment runs in, where its plan may have no sessions."""

from __future__ import annotations

import logging

from session_block.client import Connection
from session_block.errors import ConnectionFailedError
from session_block.records.journal import Journal
from session_block.records.keys import ModeChosen
from session_block.references import ExecutionMode
from session_block.settings import SessionPlan

_logger = logging.getLogger(__name__)


class Fallback:
    """Knows the mode, and takes the one that the Block names for plans without sessions.

    Args:
        journal: Where the mode is recorded that took the place of the Block's.
        plan: What the Block says of sessions.
    """

    def __init__(self, journal: Journal, plan: SessionPlan) -> None:
        self._journal = journal
        self._plan = plan
        self._mode = plan.mode
        self._used: set[str] = set()

    def mode(self) -> ExecutionMode:
        """Return the execution mode: the Block's, or what took its place where that is refused."""
        if self._mode == "session" and self._plan.without_sessions != "fail":
            chosen = self._journal.get(ModeChosen)
            if chosen is not None:
                self._mode = chosen.mode
        return self._mode

    def take(self, connection: Connection, because: str) -> bool:
        """Run in another mode from now on; say whether the Block names one."""
        if self._plan.without_sessions == "fail":
            return False
        chosen, _ = self._journal.record(
            ModeChosen(mode=self._plan.without_sessions, because=because)
        )
        _logger.warning(
            "The instance %s has no sessions, so experiment %s runs in %s mode.",
            connection.instance,
            self._journal.scope,
            chosen.mode,
        )
        return True

    def is_ignored(self, connection: Connection, session_id: str, job_id: str) -> bool:
        """Find out, once for each session, whether a job of it was run outside of it.

        Some plans let a session be opened all the same; the client drops the message that says so.
        """
        if session_id in self._used:
            return False
        try:
            job = connection.jobs.get(job_id)
        except ConnectionFailedError as error:
            _logger.warning("It is not known yet whether session %s is used: %s", session_id, error)
            return False
        self._used.add(session_id)
        return job is not None and job.session_id is None
