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
import contextvars
import logging
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.utilities.collections import visit_collection

from session_block import aio, prefect_context
from session_block.environment.environment import Environment
from session_block.environment.forks import ForkLock, renew_after_fork
from session_block.errors import SessionBlockError
from session_block.events import Event, EventKind
from session_block.experiments.completion import Completion
from session_block.ledger.store import Ledger
from session_block.prefect_context import Ending
from session_block.records.attempts import RootAttempt, roots_of, seal_completed
from session_block.records.chapters import is_sealed
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.references import JobRef, SessionRef

_POLL_SECONDS = 2.0
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
        hook: What was added to the flow.
    """

    flow: Flow[..., Any]
    is_root: bool
    hook: Any = None
    completions: list[Completion] = field(default_factory=list)


@dataclass
class _Root:
    """What the end of one outermost run has to end in this process.

    Attributes:
        ending: Held by whoever ends it: a hook, the thread that asks Prefect, or the process's end.
            The others wait, so that all is ended when the flow returns.
        left: What its subflows have left to it.
        shared: What its runs have shared, to be sealed.
    """

    ending: ForkLock = field(default_factory=ForkLock)
    left: list[Completion] = field(default_factory=list)
    shared: list[Completion] = field(default_factory=list)


class RunEnds:
    """The flow runs of this process that have experiments open."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._runs: dict[str, _Opened] = {}
        self._roots: dict[str, _Root] = {}
        self._thread: threading.Thread | None = None
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget what the parent has opened: a forked child ends nothing of it."""
        self._runs, self._roots, self._thread = {}, {}, None

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
                opened = _Opened(flow, run.parent_task_run_id is None)
                opened.hook = partial(end_experiments, key)
                self._runs[key] = opened
                flow.on_completion(opened.hook)
                flow.on_failure(opened.hook)
                flow.on_crashed(opened.hook)
                flow.on_cancellation(opened.hook)
            if completion not in opened.completions:
                opened.completions.append(completion)
            if completion.within is not None:
                shared = self._roots.setdefault(completion.within.run, _Root()).shared
                if completion not in shared:
                    shared.append(completion)

    def at_exit(self) -> None:
        """End what is left when this process ends, as Prefect says that its run has ended."""
        asked = dict.fromkeys([*self._runs, *self._roots])
        if not asked or not prefect_context.has_server_that_stays():
            return
        # Events could no more be sent: Prefect's worker for them ends with the process.
        opened = [one.completions for one in self._runs.values()]
        for completions in [*opened, *(root.left for root in self._roots.values())]:
            for completion in completions:
                completion.context.events.silence()
        endings = prefect_context.endings_of(list(asked))
        for key in list(self._runs):
            self.end(key, endings.get(key), None)
        for key in list(self._roots):
            self._end_left(key, endings.get(key))

    def end(self, key: str, ending: Ending | None, state: State[Any] | None) -> None:
        """End what a flow run has opened in this process, if it has opened anything."""
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
        returned = _returned(state) if ending == "completed" else set()
        for completion in opened.completions:
            if completion.context.uid in returned:
                completion.hand_over(key)
                if opened.is_root:  # whoever goes on with it opens another session
                    _close(completion)
            else:
                _end_one(completion, key, ending, is_root=opened.is_root)
            if not opened.is_root and completion.may_be_ended:
                self._leave_to_root(completion)
        if opened.is_root:
            self._end_left(key, ending, ran_here=True)

    def _leave_to_root(self, completion: Completion) -> None:
        """Let the outermost run's end end what a subflow hands over, shares or left by an error.

        The outermost run's flow cannot be reached from a subflow, so a thread asks Prefect.
        """
        root = prefect_context.root_flow_run_id()
        if root is None:
            return
        with self._lock:
            left = self._roots.setdefault(root, _Root()).left
            if completion not in left:
                left.append(completion)
            if self._thread is None or not self._thread.is_alive():
                # With this context's settings, which say where Prefect's server is.
                self._thread = threading.Thread(
                    target=contextvars.copy_context().run,
                    args=(self._wait_for_roots, completion.context.environment),
                    name="session-block-run-ends",
                    daemon=True,
                )
                self._thread.start()

    def _wait_for_roots(self, environment: Environment) -> None:
        while True:
            environment.pause(_POLL_SECONDS)
            with self._lock:
                asked = [key for key, root in self._roots.items() if root.left]
                if not asked:
                    self._thread = None
                    return
            for key, ending in prefect_context.endings_of(asked).items():
                # A hook knows which of several attempts has completed, and comes at once.
                if ending != "completed" or key not in self._runs:
                    self._end_left(key, ending)

    def _end_left(self, key: str, ending: Ending | None, *, ran_here: bool = False) -> None:
        """End what subflows have left to the outermost run, and seal what they have shared.

        Args:
            key: The outermost run's ID.
            ending: How it ended.
            ran_here: Whether it was this process's attempt that ended.
        """
        with self._lock:
            root = self._roots.get(key)
        if root is None:
            return
        with root.ending:
            with self._lock:
                left, root.left = root.left, []
                shared, root.shared = root.shared, []
            _end_root(key, left, ending)
            if ending == "completed":
                _seal_shared(key, shared, ran_here=ran_here)
            with self._lock:
                if not root.left and not root.shared and self._roots.get(key) is root:
                    del self._roots[key]


def _end_root(key: str, left: list[Completion], ending: Ending | None) -> None:
    for completion in left:
        completion.take_over(key)
        _end_one(completion, key, ending, is_root=True)


def _seal_shared(key: str, shared: list[Completion], *, ran_here: bool) -> None:
    # Of several attempts in this process, the latest one has ended the run.
    for one in {completion.context.uid: completion for completion in shared}.values():
        context, completed = one.context, one.within if ran_here else None
        try:
            seal_completed(context.identity, context.journal, key, completed)
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
    if is_sealed(journal):
        return
    roots = [one for one in roots_of(journal) if within is None or one != within.run]
    may_ask = prefect_context.inside() or prefect_context.has_server_that_stays()
    if not roots or not may_ask:
        return
    endings = prefect_context.endings_of(roots)
    for root in roots:
        if endings.get(root) == "completed":
            seal_completed(identity, journal, root)


def _end_one(completion: Completion, run: str, ending: Ending | None, *, is_root: bool) -> None:
    try:
        match ending:
            case "completed" if completion.is_open_in(run):
                completion.leave(run)
            case "completed" if is_root and completion.may_be_ended:
                completion.close_session()
            case "failed" if completion.is_open_in(run):
                completion.failed(run)
            case "cancelled":
                completion.cancelled()
            case _:
                pass  # a crash, which closes nothing
    except SessionBlockError as error:
        _logger.warning(
            "The session of experiment %s may still be open: %s", completion.context.identity, error
        )


def _close(completion: Completion) -> None:
    try:
        completion.close_session()
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

    try:
        result = aio.answered(state.result(raise_on_failure=False))
        visit_collection(result, visit_fn=look, return_data=False)
    except Exception as error:  # noqa: BLE001 - a user's result may fail in any way to be read
        _logger.warning(
            "What the flow run returned cannot be read (%s), so a session reference in it is not "
            "seen: what the run opened is finished.",
            error,
        )
    return found


RUN_ENDS = RunEnds()
"""What the flow runs of this process have open."""


def end_experiments(
    key: str, flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]
) -> Coroutine[Any, Any, None] | None:
    """End what the flow run with this ID has opened; a hook, as soon as it has its ID.

    A function by itself, because a running flow is pickled with its hooks where its tasks run in
    other processes.
    """
    if str(flow_run.id) != key:
        return None
    ending = prefect_context.ending_of(state)
    if flow.isasync:
        return aio.in_thread(RUN_ENDS.end, key, ending, state)
    RUN_ENDS.end(key, ending, state)
    return None


atexit.register(RUN_ENDS.at_exit)
