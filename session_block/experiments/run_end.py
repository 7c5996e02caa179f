"""End what a flow run has opened and not closed itself, when the flow run ends.

A flow of tasks need not close its session: hooks do so that are added to the running flow, act for
that one run and are removed at its end. If a run completes, its sessions accept no more jobs, and
what runs in them finishes. After a failure they are kept for ``keep_failed``. A person's
cancellation cancels. After a crash or a kill, nothing is done.

Prefect calls no such hook if a worker or runner cancels the run, or a script is interrupted. Then
the process asks Prefect at its own end. If the process was killed, only the flow ``tidy`` is left.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.utilities.collections import visit_collection

from session_block import aio, prefect_context
from session_block.errors import SessionBlockError
from session_block.events import Event, EventKind
from session_block.experiments.completion import Completion
from session_block.ledger.store import Ledger
from session_block.prefect_context import Ending
from session_block.records.attempts import RootAttempt, left_by, seal_left
from session_block.records.chapters import is_sealed
from session_block.records.context import ExperimentContext
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.references import JobRef, SessionRef

_HOOKS = ("on_completion_hooks", "on_failure_hooks", "on_crashed_hooks", "on_cancellation_hooks")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Unseen:
    """Tells that nobody will see the end of what opens a session."""

    completion: Completion

    def observe(self, event: Event) -> None:
        used = event.kind in {EventKind.SESSION_OPENED, EventKind.SESSION_RENEWED}
        if used and not self.completion.entered:
            _logger.warning(
                "Session %s of experiment %s was opened by a task outside a flow, or in another "
                "process than its flow, so no flow run's end closes it. Open the experiment by "
                "'with', or call close_session.",
                event.subject,
                self.completion.context.identity,
            )


@dataclass
class _Opened:
    """What one flow run has opened in this process.

    Attributes:
        pid: The process; a fork inherits this object, but ends nothing.
    """

    flow: Flow[..., Any]
    pid: int
    is_root: bool
    hook: Any = None
    completions: list[Completion] = field(default_factory=list)


class RunEnds:
    """The flow runs of this process that have experiments open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, _Opened] = {}
        self._roots: dict[str, list[ExperimentContext]] = {}

    def watch(self, completion: Completion) -> None:
        """End an experiment's opening with the flow run around this code, if there is one."""
        context = FlowRunContext.get()
        # A detached task is in another process than its flow, whose end it does not see.
        if context is None or context.detached or context.flow_run is None or context.flow is None:
            if prefect_context.outermost_run() is not None:
                completion.context.events.subscribe(_Unseen(completion).observe)
            return
        run, flow = context.flow_run, context.flow
        key = str(run.id)
        with self._lock:
            opened = self._runs.get(key)
            if opened is None:
                pid = completion.context.environment.pid()
                opened = _Opened(flow, pid, run.parent_task_run_id is None)
                opened.hook = self._hook(key)
                self._runs[key] = opened
                flow.on_completion(opened.hook)
                flow.on_failure(opened.hook)
                flow.on_crashed(opened.hook)
                flow.on_cancellation(opened.hook)
            if completion not in opened.completions:
                opened.completions.append(completion)
            if completion.within is not None:
                shared = self._roots.setdefault(completion.within.run, [])
                if completion.context not in shared:
                    shared.append(completion.context)

    def at_exit(self) -> None:
        """End what is left when this process ends, as Prefect says that its run has ended."""
        runs = {key: one for key, one in self._runs.items() if one.pid == _pid(one)}
        asked = [*runs, *(one for one in self._roots if one not in runs)]
        if not asked or not prefect_context.has_server_that_stays():
            return
        endings = prefect_context.endings_of(asked)
        for key in runs:
            if key in endings:
                self._end(key, endings[key], None)
        for root in list(self._roots):
            if endings.get(root) == "completed":
                self._seal(root)

    def _hook(self, key: str) -> Any:
        def end_experiments(
            flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]
        ) -> Coroutine[Any, Any, None] | None:
            if str(flow_run.id) != key:
                return None
            ending = prefect_context.ending_of(state)
            if flow.isasync:
                return aio.in_thread(self._end, key, ending, state)
            self._end(key, ending, state)
            return None

        return end_experiments

    def _end(self, key: str, ending: Ending | None, state: State[Any] | None) -> None:
        with self._lock:
            opened = self._runs.pop(key, None)
        if opened is None:
            return
        for name in _HOOKS:
            # A new list, because Prefect may be going through the old one.
            kept = [one for one in getattr(opened.flow, name) if one is not opened.hook]
            setattr(opened.flow, name, kept)
        is_used = any(one.is_open_in(key) for one in opened.completions)
        if is_used and ending != "cancelled" and prefect_context.was_cancelled(key):
            ending = "cancelled"  # the state is that of the process, which nobody interrupted
        handed_over = _returned(state) if ending == "completed" and not opened.is_root else set()
        for completion in opened.completions:
            if completion.context.uid in handed_over:
                completion.hand_over(key)
            else:
                _end_one(completion, key, ending, is_root=opened.is_root)
        if opened.is_root and ending == "completed":
            self._seal(key)

    def _seal(self, root: str) -> None:
        """Seal what the flow runs of a completed tree have shared."""
        with self._lock:
            shared = self._roots.pop(root, [])
        for context in shared:
            try:
                seal_left(context.identity, context.journal, root)
            except SessionBlockError as error:
                _logger.warning("Experiment %s was not sealed: %s", context.identity, error)


def seal_if_completed(identity: Identity, ledger: Ledger, within: RootAttempt | None) -> None:
    """Seal a shared experiment that its last outermost run left open, if that run has completed.

    The run's own process may not have seen its end, as when only its subflows use the experiment.

    Args:
        identity: The experiment.
        ledger: Its ledger.
        within: The attempt of the outermost run that opens it now.
    """
    journal = Journal(ledger, identity.uid)
    root = None if is_sealed(journal) else left_by(journal)
    if root is None or (within is not None and root == within.run):
        return
    may_ask = prefect_context.inside() or prefect_context.has_server_that_stays()
    if may_ask and prefect_context.endings_of([root]).get(root) == "completed":
        seal_left(identity, journal, root)


def _end_one(completion: Completion, run: str, ending: Ending | None, *, is_root: bool) -> None:
    try:
        match ending:
            case "completed" if is_root and completion.within is not None:
                if completion.close_session() or completion.is_open_in(run):
                    completion.finish(run)
            case "completed" if completion.is_open_in(run):
                completion.leave(run)
            case "failed" if completion.is_open_in(run):
                completion.failed(run)
            case "cancelled":
                completion.cancelled()
    except SessionBlockError as error:
        _logger.warning(
            "The session of experiment %s may still be open: %s", completion.context.identity, error
        )


def _returned(state: State[Any] | None) -> set[str]:
    """Return the UIDs of the experiments to which a flow run returns references."""
    found: set[str] = set()
    if state is None or state.data is None:
        return found

    def look(value: Any) -> Any:
        if isinstance(value, SessionRef):
            found.add(value.uid)
        elif isinstance(value, JobRef):
            found.add(value.session.uid)
        return value

    result = aio.answered(state.result(raise_on_failure=False), "A result", "")
    visit_collection(result, visit_fn=look, return_data=False)
    return found


def _pid(opened: _Opened) -> int:
    return opened.completions[0].context.environment.pid() if opened.completions else opened.pid


RUN_ENDS = RunEnds()
"""What the flow runs of this process have open."""

atexit.register(RUN_ENDS.at_exit)
