"""The end of an experiment's opening: finished, failed, cancelled, or simply killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from session_block.errors import SessionBlockError
from session_block.experiments.assembly import Assembly
from session_block.records.attempts import note_attempt, note_failure
from session_block.records.context import ExperimentContext
from session_block.records.keys import Hold, Intent, Result, Sealed, SessionOutcome
from session_block.records.states import SubmissionState
from session_block.records.submissions import FACTS, fold_all

_logger = logging.getLogger(__name__)


class Completion:
    """Ends one opening. A killed process ends nothing, so that the next one can continue.

    Args:
        context: The experiment.
        parts: Its parts.
        keep_failed_seconds: How long a failed attempt's session is kept for the next attempt.
    """

    def __init__(
        self, context: ExperimentContext, parts: Assembly, keep_failed_seconds: int
    ) -> None:
        self._context = context
        self._journal = context.journal
        self._sessions = parts.sessions
        self._reconciler = parts.reconciler
        self._jobs = parts.jobs
        self._keep_failed_seconds = keep_failed_seconds
        self._attempt: int | None = None

    def begin(self, most: int | None) -> None:
        """Record that an attempt begins; see :func:`session_block.records.attempts.note_attempt`.

        Raises:
            CrashLoopError: ``most`` attempts in a row have begun without a new result.
        """
        results = self._journal.count(Result)
        self._attempt = note_attempt(self._journal, self._context.identity, results, most)

    def seal(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Finish the experiment; return the report that stands, the first one ever given."""
        sealed, _ = self._journal.record(Sealed(report=dict(report)))
        return dict(sealed.report)

    def finish(self) -> bool:
        """Close the session, and seal the experiment unless a submission waits for an operator.

        Returns:
            Whether a session was closed.
        """
        closed = self.close_session()
        if held := self._held():
            _logger.warning(
                "Experiment %s is not finished: %s held (%s). Run 'session-block submissions list "
                "--held' to see what to decide, and then run the experiment again.",
                self._context.identity,
                "a submission is" if len(held) == 1 else f"{len(held)} submissions are",
                ", ".join(held),
            )
        else:
            self.seal({})
        return closed

    def close_session(self) -> bool:
        """Close the session that this experiment opened.

        Returns:
            Whether a session was closed.
        """
        sessions = self._sessions
        if sessions.connection.is_open or any(one.usable for one in sessions.records()):
            self._reconciler.check_twins(now=True)
        return sessions.has_own_open() and sessions.close()

    def cancel(self) -> bool:
        """Cancel the pending jobs, and close the session if this experiment opened it.

        Returns:
            Whether a session was closed.
        """
        if not self._journal.count(SessionOutcome) and not self._journal.count(Intent):
            return False
        if self._sessions.has_own_open() and self._sessions.close(cancel_jobs=True):
            return True
        self._jobs.cancel_pending()
        return False

    def failed(self) -> None:
        """Note that this attempt failed; its session is kept for the next attempt for a while."""
        if self._attempt is None:
            return
        note_failure(self._journal, self._attempt, self._keep_failed_seconds)
        if self._keep_failed_seconds == 0:
            self._quietly(self.close_session)

    def cancelled(self) -> None:
        """End an attempt after a user has cancelled its run."""
        self._quietly(self.cancel)

    def _held(self) -> list[str]:
        """Return the IDs of the submissions that wait for an operator."""
        # Counting is cheap, and few experiments ever have a hold; folding reads all the facts.
        if not self._journal.count(Hold):
            return []
        recorded = fold_all(self._journal.several(*FACTS)).values()
        return [one.id for one in recorded if one.state is SubmissionState.HELD]

    def _quietly(self, end: Callable[[], bool]) -> None:
        """End the session, and only log an error: the caller must see the first one."""
        try:
            end()
        except SessionBlockError as error:
            _logger.warning(
                "The session of experiment %s may still be open: %s", self._context.identity, error
            )
