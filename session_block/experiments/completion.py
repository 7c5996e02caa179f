"""The end of an experiment's opening: finished, failed, cancelled, or simply killed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from session_block import prefect_context
from session_block.client import at_once
from session_block.environment.forks import ForkLock
from session_block.errors import LedgerError, SessionBlockError
from session_block.experiments.assembly import Parts
from session_block.records import chapters
from session_block.records.attempts import (
    RootAttempt,
    note_attempt,
    note_failure,
    note_leaving,
    others_are_inside,
)
from session_block.records.context import ExperimentContext
from session_block.records.keys import (
    AttemptBegan,
    Intent,
    Result,
    SessionOutcome,
)
from session_block.records.stops import RUN_CANCELLED, seal_unless_stopped, stop_for_good

_logger = logging.getLogger(__name__)


class Completion:
    """Ends openings. A killed process ends nothing, so that the next one can continue.

    An experiment that the flow runs of one tree share has several openings. Its session closes
    when all have ended, and it is sealed when the outermost run has completed.

    Args:
        context: The experiment.
        parts: Its parts.
        keep_failed_seconds: How long a failed attempt's session is kept for the next attempt.
        within: The attempt of the outermost flow run that shares it; ``None`` if nobody does.
    """

    def __init__(
        self,
        context: ExperimentContext,
        parts: Parts,
        keep_failed_seconds: int,
        within: RootAttempt | None = None,
    ) -> None:
        self._context = context
        self._journal = context.journal
        self._parts = parts
        self._keep_failed_seconds = keep_failed_seconds
        self._within = within
        self._lock = ForkLock()
        self._openings: dict[str | None, int] = {}
        self._over: set[str | None] = set()
        self._handed_over = False
        self._inside: Counter[str | None] = Counter()

    @property
    def context(self) -> ExperimentContext:
        """The experiment."""
        return self._context

    @property
    def within(self) -> RootAttempt | None:
        """The attempt of the outermost flow run that shares the experiment, if one does."""
        return self._within

    @property
    def is_shared_now(self) -> bool:
        """Whether another flow run of this process has the experiment open too."""
        others = self._openings.keys() - self._over - {_this_run()}
        return self._within is not None and bool(others)

    @property
    def entered(self) -> bool:
        """Whether a ``with`` block of the user's ends it."""
        return self._inside.total() > 0

    def enter(self) -> None:
        """Note that a ``with`` block begins, which may be inside of another one."""
        with self._lock:
            self._inside[_this_run()] += 1

    def exit(self) -> bool:
        """Note that a ``with`` block ends; return whether that ends the opening.

        A task, or a flow that got the object, may enter what its caller still has entered.
        """
        with self._lock:
            self._inside[_this_run()] -= 1
            return not self._inside[_this_run()] if self._within else not self.entered

    def begin(self, most: int | None) -> None:
        """Record that an attempt begins; see :func:`session_block.records.attempts.note_attempt`.

        Once for each flow run that opens the experiment, until that has left it.

        Raises:
            CrashLoopError: ``most`` attempts in a row have begun without a new result.
        """
        run = _this_run()
        with self._lock:
            known = run in self._openings
            if known and (self._within is None or run not in self._over):
                return
            results = self._journal.count(Result)
            identity = self._context.identity
            self._openings[run] = note_attempt(self._journal, identity, results, most, self._within)
            self._over.discard(run)

    @property
    def may_be_ended(self) -> bool:
        """Whether nobody has the experiment open, but there is something to end."""
        if self._openings.keys() - self._over:
            return False
        if self._handed_over:
            return True
        if self._within is None:
            return self._parts.here.sessions.has_own_open()
        return not others_are_inside(self._journal, self._within)

    def take_over(self, flow_run_id: str | None = None) -> bool:
        """Let a flow run end what another one opened, and handed over by a reference.

        Args:
            flow_run_id: The flow run; ``None`` for the one around this code.

        Returns:
            Whether it was handed over.
        """
        run = flow_run_id or _this_run()
        with self._lock:
            if self._handed_over and run not in self._openings:
                self._handed_over = False
                self._openings[run] = self._journal.count(AttemptBegan)
                return True
        return False

    def hand_over(self, flow_run_id: str) -> None:
        """Leave open what a flow run opened, because it returns a reference to it."""
        self._handed_over = True
        self._end(flow_run_id)

    def is_open_in(self, flow_run_id: str) -> bool:
        """Whether a flow run has opened the experiment and not left it."""
        return flow_run_id in self._openings and flow_run_id not in self._over

    def seal(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Finish the experiment; return the report that stands, the first one ever given."""
        return chapters.seal(self._context.identity, self._journal, report)

    def finish(self, flow_run_id: str | None = None) -> bool:
        """Close the session, and seal the experiment unless a submission waits for an operator.

        A shared experiment is sealed later.

        Args:
            flow_run_id: The flow run whose opening ends; ``None`` for the one around this code.

        Returns:
            Whether a session was closed.
        """
        run = flow_run_id or _this_run()
        closed = self.close_session()
        self._learn()
        self._note_leaving(run)
        if self._within is None:
            noticed = self._parts.here.sessions.was_stopped
            seal_unless_stopped(self._context.identity, self._journal, noticed=noticed)
            number = self._openings.get(run)
            if number is not None and not self._context.sealed:
                note_leaving(self._journal, number)
        return closed

    def leave(self, flow_run_id: str | None = None) -> bool:
        """End an opening: as :meth:`finish` does, but let other openings keep the session."""
        run = flow_run_id or _this_run()
        self._note_leaving(run)
        if self._within is not None and others_are_inside(self._journal, self._within):
            return False
        return self.finish(run)

    def _note_leaving(self, run: str | None) -> None:
        number = self._openings.get(run)
        if self._within is not None and number is not None:
            note_leaving(self._journal, number)
        self._end(run)

    def _end(self, run: str | None) -> None:
        with self._lock:
            self._over.add(run)

    def close_session(self) -> bool:
        """Close the session that this experiment opened.

        Returns:
            Whether a session was closed.
        """
        sessions = self._parts.here.sessions
        may_have_jobs = self._context.identity.resumed or self._journal.count(Intent)
        with at_once():
            seen = sessions.connection.is_open or any(one.usable for one in sessions.records())
            # An earlier attempt may have been killed before it had looked for twins to the end.
            if may_have_jobs and (seen or not self._context.sealed):
                self._parts.here.reconciler.check_twins(now=True)
            return sessions.has_own_open() and sessions.close()

    def cancel(self) -> bool:
        """Cancel the pending jobs, and close the session if this experiment opened it.

        Returns:
            Whether a session was closed.
        """
        if not self._journal.count(SessionOutcome) and not self._journal.count(Intent):
            return False
        parts = self._parts.here
        with at_once():
            if parts.sessions.has_own_open() and parts.sessions.close(cancel_jobs=True):
                return True
            parts.jobs.cancel_pending()
        return False

    def failed(self, flow_run_id: str | None = None) -> None:
        """Note that this attempt failed; its session is kept for the next attempt for a while."""
        run = flow_run_id or _this_run()
        number = self._openings.get(run)
        if number is None:
            return
        note_failure(self._journal, number, self._keep_failed_seconds)
        self._end(run)
        shared = self._within is not None and others_are_inside(self._journal, self._within)
        if self._keep_failed_seconds == 0 and not shared:
            self._quietly(self.close_session)

    def interrupted(self) -> None:
        """Note that a ``with`` block was left by Ctrl-C or the like: it is no longer open.

        The openings of a flow run that shares the experiment are left to the end of the run.
        """
        number = self._openings.get(_this_run())
        if self._within is None and number is not None:
            with suppress(LedgerError):  # the caller must see what interrupted it
                note_leaving(self._journal, number)

    def cancelled(self) -> None:
        """End an attempt after a user has cancelled its run, and stop the experiment."""
        self._over |= self._openings.keys()
        self._quietly(self._cancel_for_good)

    def _cancel_for_good(self) -> bool:
        stop_for_good(self._journal, RUN_CANCELLED)
        return self.cancel()

    def _learn(self) -> None:
        """Note what the jobs were charged, for later estimates; now no session is charged for it.

        A run that had everything recorded did not connect, and does not for this.
        """
        parts = self._parts.here
        if not parts.sessions.connection.is_open:
            return
        try:
            parts.meter.learn()
        except SessionBlockError as error:
            _logger.info(
                "What jobs of %s were charged is not known: %s", self.context.identity, error
            )

    def _quietly(self, end: Callable[[], bool]) -> None:
        """End the session, and only log an error: the caller must see the first one."""
        try:
            end()
        except SessionBlockError as error:
            _logger.warning(
                "The session of experiment %s may still be open: %s", self._context.identity, error
            )


def _this_run() -> str | None:
    """Return the ID of the flow run around this code."""
    attempt = prefect_context.flow_attempt()
    return None if attempt is None else attempt[0]
