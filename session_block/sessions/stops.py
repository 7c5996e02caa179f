"""Buy nothing for an experiment that a person or the cost limit stopped."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from contextvars import copy_context
from datetime import datetime
from functools import partial

from session_block import prefect_context
from session_block.errors import ExperimentStoppedError
from session_block.records.context import ExperimentContext
from session_block.records.keys import AttemptBegan, Kind, Resumed, Stopped
from session_block.records.stops import (
    CANCELLED,
    ON_STOP,
    RUN_CANCELLED,
    lift,
    read_stops,
    stop_for_good,
)
from session_block.settings import SessionPlan

ASK_PREFECT_SECONDS = 1.0
"""How old Prefect's answer may be whether a person has cancelled the flow run. One that is half as
old is asked for anew in the background, so that short jobs in a row never wait for it."""

_PATIENCE_SECONDS = 10.0
"""How long a purchase waits for Prefect's answer."""

_OUTAGE_PATIENCE_SECONDS = 0.5
"""The same once an answer has failed to come, until one comes again. During an outage Prefect's
client tries for a minute, and a session that waits is paid for."""

_JOBS_NAMED = 5

_logger = logging.getLogger(__name__)


class StopGuard:
    """Knows whether an experiment may buy anything.

    A stop is lifted by ``session-block experiments resume``, by a person who tells Prefect to go on
    with the flow run, or once by the Block's ``on_stop``.

    A worker ends the process of a cancelled flow run. Where there is none, as in a script or after
    the process was killed, Prefect is asked: for the run around this code, and once for the run
    that had the experiment open before.

    Args:
        context: The experiment.
        plan: What the Block says about sessions.

    Attributes:
        has_refused: Whether it has refused anything.
    """

    def __init__(self, context: ExperimentContext, plan: SessionPlan) -> None:
        self._context = context
        self._journal = context.journal
        self._lifts = plan.on_stop == "reopen"
        self._cancellations = _Cancellations()
        self._has_asked = False
        self.has_refused = False

    def check(self) -> None:
        """Check that the experiment is not stopped; lift the stop if somebody has said so.

        Raises:
            ExperimentStoppedError: It is stopped.
        """
        self._learn_of_cancellation()
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
            self.has_refused = True
            raise self._error(stop)
        run, told_at = told
        lift(self._journal, stop, f"flow run {run}, which was told to go on in Prefect", told_at)

    def _learn_of_cancellation(self) -> None:
        """Record a stop if a person has cancelled the flow run, and nothing has come of it."""
        around = prefect_context.flow_runs_around()
        before = None if self._has_asked else self._run_before(around)
        self._has_asked = True
        now = self._context.environment.monotonic()
        since = self._cancellations.since([*around, *filter(None, [before])], now)
        for run, moment in since.items():
            known = self._journal.several(Stopped, Resumed)
            if any(_is_after(one, moment) for one in known):
                continue  # it is known, or somebody has said go on since
            if run in around or not self._was_opened_after(moment, around):
                stop_for_good(self._journal, RUN_CANCELLED)

    def _run_before(self, around: Sequence[str]) -> str | None:
        """Return the flow run that last had the experiment open, by its name; not one of these."""
        attempts = sorted(self._journal.all(AttemptBegan), key=lambda one: one.attempt)
        runs = [one.flow_run_id for one in attempts if one.flow_run_id is not None]
        return next((one for one in reversed(runs) if one not in around), None)

    def _was_opened_after(self, moment: datetime, around: Sequence[str]) -> bool:
        """Whether somebody else has opened the experiment after a moment, and gone on with it."""
        began = [one for one in self._journal.all(AttemptBegan) if _is_after(one, moment)]
        others = [one for one in began if one.flow_run_id is None or one.flow_run_id not in around]
        return len(others) > (0 if around else 1)

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


class _Cancellations:
    """Asks Prefect in the background since when flow runs are cancelled."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._given_up: threading.Thread | None = None
        self._known: dict[str, datetime] = {}
        self._asked_at: float | None = None
        self._patience_seconds = _PATIENCE_SECONDS

    def since(self, flow_runs: Sequence[str], now: float) -> dict[str, datetime]:
        """Return what is known; an answer that takes long is known at a later question.

        Args:
            flow_runs: Their IDs.
            now: The time, in seconds, by a clock that never goes back.
        """
        if not flow_runs:
            return dict(self._known)
        # The age of what is known, which counts from the question.
        age = math.inf if self._asked_at is None else now - self._asked_at
        asking = self._thread
        if age >= ASK_PREFECT_SECONDS / 2 and (asking is None or not asking.is_alive()):
            ask = partial(copy_context().run, self._ask, flow_runs, now)
            asking = threading.Thread(target=ask, name="session-block-ask", daemon=True)
            self._thread = asking
            asking.start()
        if age >= ASK_PREFECT_SECONDS and asking is not None and asking is not self._given_up:
            asking.join(self._patience_seconds)
            if asking.is_alive():
                self._given_up = asking
                self._patience_seconds = _OUTAGE_PATIENCE_SECONDS
        return dict(self._known)

    def _ask(self, flow_runs: Sequence[str], now: float) -> None:
        others = {run: since for run, since in self._known.items() if run not in flow_runs}
        self._known = others | prefect_context.cancelled_since(flow_runs)
        self._asked_at = now
        self._patience_seconds = _PATIENCE_SECONDS


def _is_after(fact: Kind, moment: datetime) -> bool:
    if isinstance(fact, Resumed) and fact.told_at is not None:
        return fact.told_at > moment.timestamp()
    return fact.recorded_at is not None and fact.recorded_at > moment


def _jobs(jobs: Sequence[str]) -> str:
    if not jobs:
        return ""
    more = f" and {len(jobs) - _JOBS_NAMED} more" if len(jobs) > _JOBS_NAMED else ""
    return f" Jobs without a recorded result then: {', '.join(jobs[:_JOBS_NAMED])}{more}."
