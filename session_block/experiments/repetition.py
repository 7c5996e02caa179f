"""Tell whether a resumed run still repeats what the interrupted one had asked for.

Requests that are made one after another are repeated in their order. Concurrent ones have none: a
new one may come first, and then waits until the others have come. Prefect does not run a task again
whose result it has kept, so what that task asked for is not repeated.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from session_block import prefect_context
from session_block.environment.environment import Environment
from session_block.records.identity import Identity
from session_block.records.keys import Intent

REPLAY_WAIT = "SESSION_BLOCK_REPLAY_WAIT_SECONDS"

REPLAY_WAIT_SECONDS = 120.0
"""How long a new request waits when none of the recorded ones comes any more."""

LOOK_SECONDS = 0.1

_TOLD_AFTER_SECONDS = 5.0

_logger = logging.getLogger(__name__)


class Repetition:
    """What an opening of an experiment has yet to repeat.

    Args:
        environment: Provides the clock.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._moved_at = environment.monotonic()
        self._gave_up = self._told = False
        self._kept: dict[str, bool] = {}
        self._asked_prefect_for: set[str] = set()

    def goes_on(self) -> None:
        """Note that a recorded request was made."""
        self._moved_at = self._environment.monotonic()
        self._gave_up = False

    def missing(self, unasked: Sequence[Intent], *, concurrent: bool) -> set[str]:
        """Return the submissions that an unchanged run would make, of those that it has not made.

        Args:
            unasked: The first intents of what this run has not asked for.
            concurrent: Whether requests are made concurrently. What may have been kept is then left
                out: a task whose end Prefect does not know, or that an older version recorded.
        """
        if not unasked:
            return set()
        self._ask_prefect(unasked)
        if not concurrent:
            return {one.submission for one in unasked if not self._kept.get(one.task_run or "")}
        return {
            one.submission
            for one in unasked
            if one.task_run is not None
            and (not one.task_run or self._kept.get(one.task_run) is False)
        }

    def may_come(self, identity: Identity, missing: int, *, since: float) -> bool:
        """Whether concurrent requests that are missing may still come.

        Args:
            identity: The experiment, for the log.
            missing: How many are missing.
            since: Since when, by the monotonic clock, a new request has waited for them.
        """
        waited = self._environment.monotonic() - max(since, self._moved_at)
        seconds = float(os.environ.get(REPLAY_WAIT, REPLAY_WAIT_SECONDS))
        self._gave_up = self._gave_up or waited >= seconds
        if waited >= _TOLD_AFTER_SECONDS and not self._told and not self._gave_up:
            self._told = True
            _logger.warning(
                "A new request of experiment %s waits until this run has made the %d concurrent "
                "requests that were recorded before, or none of them for %.0f s.",
                identity,
                missing,
                seconds,
            )
        return not self._gave_up

    def _ask_prefect(self, unasked: Sequence[Intent]) -> None:
        """Ask of which task runs Prefect has kept the result, once for each."""
        runs = {one.task_run for one in unasked if one.task_run} - self._asked_prefect_for
        if runs and prefect_context.inside():
            self._asked_prefect_for |= runs
            self._kept |= prefect_context.kept_results(sorted(runs))
