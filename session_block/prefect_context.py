"""The Prefect run around this code, if there is one."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload
from uuid import UUID

import httpx
from prefect import Task, get_client, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.objects import State, TaskRunResult
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import PrefectException, TerminationSignal
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Completed

from session_block.errors import LabelRequiredError

P = ParamSpec("P")

T = TypeVar("T")

_CLIENT_SECONDS = 30.0

_RUNS_ASKED = 100
"""How many runs one request asks about; Prefect answers with 200 at most."""

_logger = logging.getLogger(__name__)


_caller: ContextVar[TaskAttempt | None] = ContextVar("session_block_caller", default=None)

_in_own_task: ContextVar[bool] = ContextVar("session_block_in_own_task", default=False)


@dataclass(frozen=True)
class TaskAttempt:
    """The Prefect task run that makes a request, and the number of its attempt.

    Attributes:
        parent: ID of the task run that called the task, if another task called it.
    """

    task_run_id: str
    run_count: int
    parent: str | None = None


def root_flow_run_id() -> str | None:
    """Return the ID of the outermost flow run, which all its retries share."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        return _root_of(context.flow_run.id)
    return flow_run.root_flow_run_id or None if inside() else None


@lru_cache(maxsize=256)
def _root_of(_flow_run_id: UUID) -> str | None:
    """Return the outermost run of the run around this code; Prefect's server is asked once."""
    return flow_run.root_flow_run_id or None


Run = tuple[Literal["flow-run", "task-run"], str]
"""A run: its kind and ID."""


def outermost_run() -> Run | None:
    """Return the run that this work belongs to: the root flow run, or a task run outside any flow.

    ``None`` outside both, and also if one of this package's own tasks is called there: what the
    task opens is for the code that called it.

    Limit: outside a flow, if tasks are nested more than two deep, it is not the outermost one, but
    the parent of the task that asks.
    """
    if FlowRunContext.get() is not None:
        root = root_flow_run_id()
        return None if root is None else ("flow-run", root)
    attempt = _caller.get() if _in_own_task.get() else _current_attempt()
    return None if attempt is None else ("task-run", attempt.parent or attempt.task_run_id)


def ended_among(runs: Sequence[Run]) -> set[Run]:
    """Return the runs that Prefect knows to have ended; none if it does not answer.

    A run that waits for a retry has not ended.
    """
    ended: set[Run] = set()
    try:
        with get_client(sync_client=True) as client:
            for start in range(0, len(runs), _RUNS_ASKED):
                asked = runs[start : start + _RUNS_ASKED]
                flows = [UUID(one) for kind, one in asked if kind == "flow-run"]
                tasks = [UUID(one) for kind, one in asked if kind == "task-run"]
                if flows:
                    of_flows = FlowRunFilter(id=FlowRunFilterId(any_=flows))
                    for flow_run in client.read_flow_runs(flow_run_filter=of_flows):
                        if flow_run.state is not None and flow_run.state.is_final():
                            ended.add(("flow-run", str(flow_run.id)))
                if tasks:
                    of_tasks = TaskRunFilter(id=TaskRunFilterId(any_=tasks))
                    for task_run in client.read_task_runs(task_run_filter=of_tasks):
                        if task_run.state is not None and task_run.state.is_final():
                            ended.add(("task-run", str(task_run.id)))
    except (httpx.HTTPError, PrefectException) as unanswered:
        _logger.warning("Could not ask Prefect whether earlier runs have ended: %s", unanswered)
    return ended


def kept_results(task_runs: Sequence[str]) -> dict[str, bool]:
    """Return of each task run that has ended whether Prefect kept its result.

    A later attempt of its flow may use that result, and then does not run the task. Runs that have
    not ended, or that Prefect does not know, are left out, and all if it does not answer. Limit:
    the end of a task run that was killed with its process may never have reached Prefect.
    """
    kept: dict[str, bool] = {}
    try:
        with own_client() as client:
            for start in range(0, len(task_runs), _RUNS_ASKED):
                ids = [UUID(one) for one in task_runs[start : start + _RUNS_ASKED]]
                asked = TaskRunFilter(id=TaskRunFilterId(any_=ids))
                for task_run in client.read_task_runs(task_run_filter=asked):
                    state = task_run.state
                    if state is not None and state.is_final():
                        kept[str(task_run.id)] = state.is_completed() and state.data is not None
    except (httpx.HTTPError, PrefectException) as unanswered:
        _logger.warning("Could not ask Prefect which results it has kept: %s", unanswered)
    return kept


Ending = Literal["completed", "failed", "crashed", "cancelled"]
"""How a run ended."""


def ending_of(state: State[Any] | None) -> Ending | None:
    """Return how a run in this state has ended; ``None`` if it has not."""
    if state is None:
        return None
    if state.is_cancelling() or state.is_cancelled():
        return "cancelled"
    if state.is_completed():
        return "completed"
    if state.is_crashed():
        return "crashed"
    return "failed" if state.is_failed() else None


def endings_of(flow_runs: Sequence[str]) -> dict[str, Ending]:
    """Return how flow runs have ended, for those that have; none if Prefect does not answer."""
    endings: dict[str, Ending] = {}
    try:
        with own_client() as client:  # a thread may ask after the run
            for start in range(0, len(flow_runs), _RUNS_ASKED):
                ids = [UUID(one) for one in flow_runs[start : start + _RUNS_ASKED]]
                asked = FlowRunFilter(id=FlowRunFilterId(any_=ids))
                for flow_run in client.read_flow_runs(flow_run_filter=asked):
                    ending = ending_of(flow_run.state)
                    if ending is not None:
                        endings[str(flow_run.id)] = ending
    except (httpx.HTTPError, PrefectException) as unanswered:
        _logger.warning("Could not ask Prefect how flow runs have ended: %s", unanswered)
    return endings


def cancelled_since(flow_runs: Sequence[str]) -> dict[str, datetime]:
    """Return since when flow runs are cancelled, for those that are; none without an answer.

    A process that ends after the cancellation may have said last that the run failed. Only a server
    that stays is asked, or that of the run around this code.
    """
    if not flow_runs or not (has_server_that_stays() or inside()):
        return {}
    try:
        with own_client() as client:
            asked = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(one) for one in flow_runs]))
            found = client.read_flow_runs(flow_run_filter=asked)
            over = [one.id for one in found if one.state is not None and one.state.is_final()]
            states = {one: client.read_flow_run_states(one) for one in over}
    except (httpx.HTTPError, PrefectException) as unanswered:
        _logger.warning("Could not ask Prefect whether the run was cancelled: %s", unanswered)
        return {}
    current = {one.id: [one.state] for one in found if one.state is not None}
    since = {run: _cancelled_at(those) for run, those in (current | states).items()}
    return {str(run): moment for run, moment in since.items() if moment is not None}


def _cancelled_at(states: Iterable[State[Any]]) -> datetime | None:
    """Return when a flow run was cancelled, unless it has been running or scheduled since."""
    since: datetime | None = None
    for one in sorted(states, key=lambda one: one.timestamp):
        if one.is_running() or one.is_scheduled() or one.is_pending():
            since = None
        elif since is None and ending_of(one) == "cancelled":
            since = one.timestamp
    return since


def was_cancelled(flow_run_id: str) -> bool:
    """Whether a person has cancelled a flow run that goes on, as that of a script does.

    ``False`` if Prefect does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            states = client.read_flow_run_states(UUID(flow_run_id))
    except (httpx.HTTPError, PrefectException) as unanswered:
        _logger.warning("Could not ask Prefect whether the run was cancelled: %s", unanswered)
        return False
    later: list[Ending | None] = []
    for one in sorted(states, key=lambda one: one.timestamp):
        later = [] if one.is_running() else [*later, ending_of(one)]
    return "cancelled" in later


def told_to_go_on_after(moment: datetime) -> tuple[str, datetime] | None:
    """Return the outermost flow run if a person told Prefect to go on with it after a moment.

    So it is if the run had failed, was cancelled or paused, and was scheduled again later, and was
    not cancelled since. A run that crashed is brought back by an automation, and a run's own
    retries come before its end: both tell nothing. With the run comes when that was, by Prefect's
    clock. ``None`` also if Prefect does not answer. Limit: an automation of the user's
    own that runs failed runs again looks like a person.

    Args:
        moment: An aware time, by the clock of whoever recorded it.
    """
    root = root_flow_run_id()
    if root is None:
        return None
    try:
        with own_client() as client:
            states = client.read_flow_run_states(UUID(root))
    except (httpx.HTTPError, PrefectException) as unanswered:
        _logger.warning("Could not ask Prefect whether the run was to go on: %s", unanswered)
        return None
    told: datetime | None = None
    for before, after in pairwise(sorted(states, key=lambda one: one.timestamp)):
        ended = before.is_paused() or (before.is_final() and not before.is_crashed())
        goes_on = not (after.is_final() or after.is_paused() or after.is_cancelling())
        if ended and goes_on and after.timestamp > moment:
            told = after.timestamp
        elif ending_of(after) == "cancelled":
            told = None
    return None if told is None else (root, told)


def flow_runs_around() -> tuple[str, ...]:
    """Return the IDs of the flow run around this code and of the outermost one."""
    attempt, root = flow_attempt(), root_flow_run_id()
    return tuple(dict.fromkeys(one for one in (attempt and attempt[0], root) if one))


def has_server_that_stays() -> bool:
    """Whether a Prefect server is configured; the ephemeral one ends with this process."""
    return get_current_settings().api.url is not None


def task_attempt() -> TaskAttempt | None:
    """Return the task run that makes a request, with its attempt; ``None`` outside a task.

    Raises:
        LabelRequiredError: The task was called by another task. A retry of the outer task makes a
            new run of the inner one, so its requests could not be recognised.
    """
    attempt = _caller.get() or _current_attempt()
    if attempt is not None and attempt.parent is not None:
        raise LabelRequiredError(
            f"Task run {attempt.task_run_id} was called by another task, whose retry Prefect "
            "cannot tell from a second call. Give its requests a label=, or call it from the flow."
        )
    return attempt


def inside() -> bool:
    """Whether this thread runs in the context of a flow run or a task run."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def task_run_id() -> UUID | None:
    """Return the ID of this thread's task run, or ``None`` outside a task."""
    context = TaskRunContext.get()
    return None if context is None else context.task_run.id


def logger() -> logging.LoggerAdapter[Any] | logging.Logger | None:
    """Return this thread's run logger, shown in the Prefect UI; ``None`` outside a run."""
    return get_run_logger() if inside() else None


def flow_run_title() -> str | None:
    """Return what people call the flow run around this code; ``None`` outside a flow."""
    context = FlowRunContext.get()
    if context is None or context.flow is None or context.flow_run is None:
        return None
    return f"{context.flow.name}, run {context.flow_run.name}"


def own_client() -> SyncPrefectClient:
    """Return a Prefect client that outlives the run; the run's own client is closed with it."""
    api = get_current_settings().api
    verify = _tls_context(api.ssl_cert_file, insecure=api.tls_insecure_skip_verify)
    return get_client(
        sync_client=True, httpx_settings={"timeout": _CLIENT_SECONDS, "verify": verify}
    )


@lru_cache(maxsize=4)
def _tls_context(certificates: str | None, *, insecure: bool) -> ssl.SSLContext:
    """Return what Prefect's client would make for itself each time, which takes 20 ms."""
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return (
        ssl.create_default_context(cafile=certificates)
        if certificates
        else httpx.create_ssl_context()
    )


def is_cancelled(error: BaseException | None) -> bool:
    """Whether an error means that a user has cancelled the flow run.

    A stopped worker ends its runs with the same signal, so Prefect is asked for the run's state.

    Args:
        error: What ended the run's code.
    """
    context = FlowRunContext.get()
    if not isinstance(error, TerminationSignal) or context is None or context.flow_run is None:
        return False
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(context.flow_run.id).state
    except (httpx.HTTPError, PrefectException) as unanswered:
        _logger.warning("Could not ask Prefect whether the run was cancelled: %s", unanswered)
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def flow_attempt() -> tuple[str, int] | None:
    """Return the flow run's ID and the number of its attempt; ``None`` outside a flow."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    return str(context.flow_run.id), context.flow_run.run_count


class DurableTask(Task[P, T]):
    """A task that makes its requests on behalf of the calling task's attempt, if there is one."""

    if TYPE_CHECKING:
        # Prefect's own say that a call whose result is not known to a checker, as Qiskit's classes
        # are not, may be a coroutine. Ours is one only if the task is asynchronous.

        @overload  # type: ignore[override]
        def __call__(
            self,
            *args: Any,
            return_state: Literal[True],
            wait_for: Iterable[Any] | None = ...,
            **kwargs: Any,
        ) -> State[T]: ...

        @overload
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T: ...

        @overload
        def __call__(self, *args: Any, wait_for: Iterable[Any] | None, **kwargs: Any) -> T: ...

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the task; see :meth:`prefect.Task.__call__`."""

        def with_options(self, **options: Any) -> DurableTask[P, T]:
            """Return the task with other options; see :meth:`prefect.Task.with_options`."""

    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the task; see :meth:`prefect.Task.__call__`."""
            with _in_the_callers_name() as caller:
                made = super().__call__(*args, **kwargs)
            return _in_the_name_of(caller, made) if isinstance(made, Coroutine) else made

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            """Submit the task to the flow's task runner; see :meth:`prefect.Task.submit`."""
            with _in_the_callers_name():
                return super().submit(*args, **kwargs)

        def with_options(self, **options: Any) -> Any:
            """Return the task with other options; see :meth:`prefect.Task.with_options`."""
            changed = super().with_options(**options)
            changed.__class__ = type(self)
            return changed


@contextmanager
def _in_the_callers_name() -> Iterator[TaskAttempt | None]:
    """Remember the calling task's run. A context variable reaches a task runner's threads too."""
    caller = _caller.get() or _current_attempt()
    token, own = _caller.set(caller), _in_own_task.set(True)
    try:
        yield caller
    finally:
        _in_own_task.reset(own)
        _caller.reset(token)


async def _in_the_name_of(caller: TaskAttempt | None, run: Coroutine[Any, Any, T]) -> T:
    """Await a task's run on behalf of its caller; an async task begins only when awaited."""
    token, own = _caller.set(caller), _in_own_task.set(True)
    try:
        return await run
    finally:
        _in_own_task.reset(own)
        _caller.reset(token)


def _current_attempt() -> TaskAttempt | None:
    context = TaskRunContext.get()
    if context is None:
        return None
    parents = context.task_run.task_inputs.get("__parents__") or []
    return TaskAttempt(
        task_run_id=str(context.task_run.id),
        run_count=context.task_run.run_count,
        parent=next((str(one.id) for one in parents if isinstance(one, TaskRunResult)), None),
    )


@dataclass(frozen=True)
class _Shown:
    """How the UI shows a wait for a job: its name, and the message that sums up the result."""

    name: str
    tell: Callable[[Any], str] | None


_shown: ContextVar[_Shown | None] = ContextVar("session_block_shown", default=None)


@contextmanager
def shown_as(name: str, tell: Callable[[Any], str] | None = None) -> Iterator[None]:
    """Say how the UI shows the task run that waits for a job here, by :func:`visibly`.

    It only shows: no request is recognised by it.

    Args:
        name: The task run's name, such as ``evaluation 12``. Prefect takes it only when it makes
            the run; a later one is overwritten.
        tell: Makes of the result the message of the run's final state.
    """
    token = _shown.set(_Shown(name, tell))
    try:
        yield
    finally:
        _shown.reset(token)


@contextmanager
def shown_as_part(number: int, of: int) -> Iterator[None]:
    """Number the task runs of a request that takes several jobs; its value needs them all."""
    whole = _shown.get()
    if whole is None:
        yield
        return
    with shown_as(f"{whole.name}, job {number} of {of}"):
        yield


def visibly(name: str, call: Callable[[], T]) -> T:
    """Call a function; directly inside a flow, as a task run, so that the UI shows it.

    Args:
        name: The task run's name, if :func:`shown_as` says no other.
        call: The function.
    """
    if FlowRunContext.get() is not None and TaskRunContext.get() is None:
        shown = _shown.get() or _Shown(name, None)
        made: list[T] = []
        task_run = _call.with_options(name=shown.name, task_run_name=lambda: shown.name)
        task_run(lambda: _told(call, made, shown))
        return made[-1]
    return call()


def _told(call: Callable[[], T], made: list[T], shown: _Shown) -> State[Any]:
    """Call a function, add what it returns to ``made``, and return the state that tells of it."""
    made.append(call())
    return Completed(message=None if shown.tell is None else shown.tell(made[-1]))


@task(cache_policy=NO_CACHE, persist_result=False)
def _call(call: Callable[[], State[Any]]) -> State[Any]:
    return call()
