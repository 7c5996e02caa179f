"""The attempt half of an experiment: count it, show it in the Prefect UI, note its failure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from session_block.attempts import note_attempt, note_failure
from session_block.circuit_handle import CircuitHandle
from session_block.errors import SessionBlockError
from session_block.progress import Point, Progress
from session_block.views import ExperimentView

if TYPE_CHECKING:
    from session_block.monitor import Monitor

_logger = logging.getLogger(__name__)


class AttemptHandle(CircuitHandle):
    """One attempt at an experiment, as it is watched and recorded."""

    _attempt: int | None = None
    _monitor: Monitor | None = None

    def note_attempt(self, most: int | None) -> None:
        """Record that an attempt begins.

        Args:
            most: How many in a row may begin without a new result; ``None`` for no limit.

        Raises:
            CrashLoopError: This is one more.
        """
        results = self.recorded_results
        self._attempt = note_attempt(self._ledger, self.identity, results, most)

    def watch(self) -> None:
        """Show the experiment in the Prefect UI, as long as this process works on it."""
        from session_block.monitor import Monitor
        from session_block.watched import Watched

        view = ExperimentView(self.identity, self._ledger)
        watched = Watched(view, self._progress, lambda: self._keeper_made, self._budget)
        self._monitor = Monitor(watched)
        self.notices.listen(self._monitor.notice)

    def progress(
        self, value: float | None = None, error: float = 0.0, *, of: int | None = None
    ) -> None:
        """Tell the report in the Prefect UI how far the work is; nothing is recorded.

        Args:
            value: The next value of the objective, for the figure of convergence. Where none is
                told, the figure shows the Estimator's expectation values.
            error: Its standard error.
            of: How many results the experiment will have, if that is known.
        """
        if value is not None:
            self._progress.add(Point(value, error))
        if of is not None:
            self._progress.total = of

    def _end_watch(self) -> None:
        if self._monitor is not None:
            self._monitor.close()

    def _note_failure(self, keep_seconds: int) -> None:
        """Note that this attempt failed; its session is kept for another one for a while."""
        if self._attempt is None:
            return
        note_failure(self._ledger, self.identity, self._attempt, keep_seconds)
        if keep_seconds == 0:
            self._end_quietly(self.close_session)

    def _end_quietly(self, end: Callable[[], bool]) -> None:
        """End the session while an error is on its way; that one is what is raised."""
        try:
            end()
        except SessionBlockError as error:
            _logger.warning(
                "The session of experiment %s may be open still: %s", self.identity, error
            )

    @cached_property
    def _progress(self) -> Progress:
        return Progress()
