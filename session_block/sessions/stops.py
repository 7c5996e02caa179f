"""Buy nothing for an experiment that a person or the cost limit stopped."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from session_block import prefect_context
from session_block.errors import ExperimentStoppedError
from session_block.records.context import ExperimentContext
from session_block.records.keys import Stopped
from session_block.records.stops import CANCELLED, ON_STOP, lift, read_stops
from session_block.settings import SessionPlan

_JOBS_NAMED = 5

_logger = logging.getLogger(__name__)


class StopGuard:
    """Knows whether an experiment may buy anything.

    A stop is lifted by ``session-block experiments resume``, by a person who tells Prefect to go on
    with the flow run, or once by the Block's ``on_stop``.

    Args:
        context: The experiment.
        plan: What the Block says about sessions.
    """

    def __init__(self, context: ExperimentContext, plan: SessionPlan) -> None:
        self._context = context
        self._journal = context.journal
        self._lifts = plan.on_stop == "reopen"

    def check(self) -> None:
        """Check that the experiment is not stopped; lift the stop if somebody has said so.

        Raises:
            ExperimentStoppedError: It is stopped.
        """
        stops = read_stops(self._journal)
        if not stops or stops[-1][1] is not None:
            return
        stop = stops[-1][0]
        used_up = any(lifted is not None and lifted.by == ON_STOP for _, lifted in stops)
        if self._lifts and not used_up and stop.cause != CANCELLED:
            _logger.warning(
                "Experiment %s goes on although %s, because its Block says on_stop='reopen'. The "
                "next stop stands.",
                self._context.identity,
                stop.because,
            )
            lift(self._journal, stop, ON_STOP)
            return
        told = stop.recorded_at and prefect_context.told_to_go_on_after(stop.recorded_at)
        if not told:
            raise self._error(stop)
        lift(self._journal, stop, f"flow run {told}, which was told to go on in Prefect")

    def _error(self, stop: Stopped) -> ExperimentStoppedError:
        identity = self._context.identity
        charged = (
            ""
            if stop.charged_seconds is None
            else f" The session was charged {stop.charged_seconds:g} s until then."
        )
        return ExperimentStoppedError(
            f"Experiment {identity} is stopped: {stop.because}. Nothing more is bought."
            f"{_jobs(stop.jobs)}{charged} What is recorded stays. To go on: 'session-block "
            f"experiments resume {identity.uid}' (with --block or --ledger-url if its Block "
            "names a ledger) and run again, or retry its flow run in Prefect. "
            f"To begin anew: {identity.anew}.",
            experiment=identity.uid,
            session_id=stop.session_id,
        )


def _jobs(jobs: Sequence[str]) -> str:
    if not jobs:
        return ""
    more = f" and {len(jobs) - _JOBS_NAMED} more" if len(jobs) > _JOBS_NAMED else ""
    return f" Jobs without a recorded result then: {', '.join(jobs[:_JOBS_NAMED])}{more}."
