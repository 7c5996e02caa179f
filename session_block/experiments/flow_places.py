"""Ask Prefect where in a tree of flow runs this code runs.

See :mod:`session_block.records.places` for what a place is. What Prefect answers was measured; see
``docs/contributing/prefect.md``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterSubFlowRuns,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from session_block import prefect_context
from session_block.errors import LabelRequiredError
from session_block.experiments.flow_attempts import FLOW_ATTEMPTS, FlowAttempt
from session_block.experiments.parameter_digests import digests_of
from session_block.ledger.store import Ledger
from session_block.records.attempts import RootAttempt
from session_block.records.keys import Asker
from session_block.records.places import RunPlace, Standing, SubflowCall, place_of_call

_ASKED_AT_ONCE = 50
"""How many runs one request asks about; Prefect answers with 200 at most."""

_LATEST_FIRST = FlowRunSort.EXPECTED_START_TIME_DESC
_LIVE = [StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
_LOADED_BY_PATH = ("__main__", "__prefect_loader")

_logger = logging.getLogger(__name__)


def place_of_this_run(
    ledger: Ledger, key: str | None, *, may_diverge: bool | None
) -> RunPlace | None:
    """Return the place of the flow run around this code; ``None`` outside a flow run.

    Args:
        ledger: Where the calls of subflows are recorded.
        key: The user's key, which replaces the parameters of the innermost subflow. In the
            outermost run, which no parameters tell from others, it is part of the place.
        may_diverge: Whether a caller that has diverged continues, with a warning; ``None`` for
            without one.

    Raises:
        LabelRequiredError: The place cannot be counted here.
        ExperimentDivergedError: A retried flow run calls a subflow with other parameters.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow is None:
        return None
    if context.detached:
        raise LabelRequiredError(
            "This task runs in another process than its flow, as with Dask or Ray, where an "
            "experiment without a name cannot be recognised. Give it a name, or open it in the "
            "flow and pass the session reference."
        )
    run = context.flow_run
    if run.parent_task_run_id is None:
        return RunPlace(str(run.id), retried=run.run_count > 1).keyed(key)
    try:
        with get_client(sync_client=True) as client:
            return _Tree(client, ledger, may_diverge=may_diverge).place(
                run, _name_of(context.flow), digests_of(context.parameters or {}), key, opens=True
            )
    except (httpx.HTTPError, PrefectException) as error:
        raise LabelRequiredError(
            f"Prefect did not say where flow run {run.name} was called ({error}), and without that "
            "an experiment needs a name. Name it, or retry the run when the server answers."
        ) from error


def place_of_outermost_run() -> RunPlace | None:
    """Return the outermost flow run around this code, for an experiment with a name."""
    root, attempt = prefect_context.root_flow_run_id(), prefect_context.flow_attempt()
    if root is None:
        return None
    return RunPlace(root, retried=attempt is not None and attempt[1] > 1)


def asker_here(ledger: Ledger) -> Asker | None:
    """Return which flow run asks here; ``None`` outside a flow run, or if it cannot be told.

    So a retry finds the same requests again, also of an experiment that several flow runs share.
    Unlike a place without a name, it may be unknown: then only their order tells requests apart.

    Args:
        ledger: Where the calls of subflows are recorded.
    """
    try:
        place = place_of_this_run(ledger, None, may_diverge=None)
    except LabelRequiredError as error:
        _logger.info("A retry finds this subflow's equal requests only by their order: %s", error)
        return None
    return None if place is None else place.asker


def shared_attempt() -> RootAttempt | None:
    """Return the outermost flow run's attempt, whose openings of one name are one experiment.

    ``None`` outside a flow run. In a subflow, Prefect's server is asked; if it does not answer, the
    subflow shares the experiment with nobody.
    """
    root, attempt = prefect_context.root_flow_run_id(), prefect_context.flow_attempt()
    if root is None or attempt is None:
        return None
    try:
        with get_client(sync_client=True) as client:
            here = FLOW_ATTEMPTS.attempt(UUID(root), client.read_flow_run_states(UUID(root)))
    except (httpx.HTTPError, PrefectException) as error:
        _logger.warning("Prefect did not say which attempt of its run this is: %s", error)
        return RootAttempt(*attempt)
    return RootAttempt(root, here.number)


class _Tree:
    """The flow runs from a subflow up to the outermost one."""

    def __init__(
        self, client: SyncPrefectClient, ledger: Ledger, *, may_diverge: bool | None
    ) -> None:
        self._client = client
        self._ledger = ledger
        may_warn = None if may_diverge is False else _logger.warning
        self._warn = _logger.debug if may_diverge is None else may_warn

    def place(
        self,
        run: FlowRun,
        flow: str,
        parameters: Mapping[str, str],
        key: str | None = None,
        *,
        opens: bool = False,
    ) -> RunPlace:
        """Return a run's place, which includes the places of the runs around it."""
        if run.parent_task_run_id is None:
            here = FLOW_ATTEMPTS.attempt(run.id, self._client.read_flow_run_states(run.id))
            return RunPlace(str(run.id), retried=here.latest > 1)
        tracking = self._client.read_task_run(run.parent_task_run_id)
        # Prefect counts the calls that a flow makes; a call in a task has a random key instead.
        if tracking.flow_run_id is None or not tracking.dynamic_key.isdecimal():
            raise LabelRequiredError(
                f"Flow run {run.name} was called by a task, so a retry could not recognise the "
                "call. Give its experiment a name, or call it from the flow."
            )
        parent = self._client.read_flow_run(tracking.flow_run_id)
        # What is passed to a flow further up is known from Prefect's server alone.
        around = self.place(
            parent, self._client.read_flow(parent.flow_id).name, digests_of(parent.parameters)
        )
        caller = _PrefectCaller(self._client, parent, run, tracking)
        call = SubflowCall(_count_of(tracking), flow, parameters, key, opens)
        FLOW_ATTEMPTS.note_call(parent.id, call.id, run.id)
        return place_of_call(self._ledger, around, call, caller, self._warn)


class _PrefectCaller:
    """A flow run that calls subflows, as Prefect's server shows it.

    Args:
        client: The client.
        caller: The calling run.
        called: The run that it called.
        tracking: Prefect's tracking task run of that call.
    """

    def __init__(
        self, client: SyncPrefectClient, caller: FlowRun, called: FlowRun, tracking: TaskRun
    ) -> None:
        self._client = client
        self._caller = caller
        self._called = called
        self._tracking = tracking

    @property
    def attempt(self) -> str:
        """The ID of the caller's attempt."""
        return f"{self._caller.id}.{self._here.number}"

    def standing(self, calls: Collection[str]) -> Mapping[str, Standing]:
        """Return what became of other calls in this attempt."""
        found = dict.fromkeys(calls, Standing.OPEN)
        asked = {one.id: one for call, one in self._calls.items() if call in found}
        for call, run in self._runs_of(asked).items():
            found[_count_of(asked[call])] = self._standing_of(run.state, asked[call])
        return found

    def calls_others(self) -> bool:
        """Whether other subflows of the caller's attempt are running."""
        of_caller = FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[self._caller.id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_LIVE)),
        )
        live = self._client.read_flow_runs(flow_run_filter=of_caller)
        return any(one.id != self._called.id and self._is_recent(one.state) for one in live)

    def kept_before(self, known: Collection[str]) -> int:
        """Return how many earlier, equal calls had their result kept, as Prefect knows them."""
        before = range(int(self._tracking.dynamic_key))
        if all(_call_id(self._tracking.task_key, number) in known for number in before):
            return 0
        asked = {
            call.id: call
            for one, call in self._calls.items()
            if one not in known and self._is_earlier(call)
        }
        kept = 0
        for run in self._runs_of(asked).values():
            state = run.state
            done = state is not None and state.is_completed() and state.data is not None
            kept += done and run.parameters == self._called.parameters
        return kept

    def _runs_of(self, calls: Mapping[UUID, TaskRun]) -> dict[UUID, FlowRun]:
        """Return the flow run that each call has got, by the call's tracking task run."""
        found: dict[UUID, FlowRun] = {}
        asked = list(calls)
        for start in range(0, len(asked), _ASKED_AT_ONCE):
            of_calls = FlowRunFilterParentTaskRunId(any_=asked[start : start + _ASKED_AT_ONCE])
            for run in self._client.read_flow_runs(
                flow_run_filter=FlowRunFilter(parent_task_run_id=of_calls), sort=_LATEST_FIRST
            ):
                call = run.parent_task_run_id
                if call is not None and (call not in found or self._is_ours(run, calls[call])):
                    found[call] = run
        return found

    def _is_ours(self, run: FlowRun, call: TaskRun) -> bool:
        """Whether this process got a run by this call; another attempt may have got a later one."""
        return FLOW_ATTEMPTS.called(self._caller.id, _count_of(call)) == run.id

    def _standing_of(self, state: State[Any] | None, call: TaskRun) -> Standing:
        if state is None or not state.is_final():
            return Standing.OPEN
        if not state.is_completed():
            return Standing.FAILED
        # A completed call is not repeated if its result was kept, and Prefect shows no trace of it.
        kept = self._is_earlier(call) and state.data is not None
        done = kept or self._is_recent(state)
        return Standing.DONE if done else Standing.OPEN

    def _is_earlier(self, call: TaskRun) -> bool:
        """Whether it is a call of the same flow, made before this one."""
        same_flow = call.task_key == self._tracking.task_key
        return same_flow and int(call.dynamic_key) < int(self._tracking.dynamic_key)

    def _is_recent(self, state: State[Any] | None) -> bool:
        """Whether a state is one of the caller's attempt, and not left by an earlier one."""
        began = self._here.began
        return state is not None and (began is None or state.timestamp >= began)

    @cached_property
    def _calls(self) -> dict[str, TaskRun]:
        """The caller's calls so far, in all its attempts."""
        of_caller = TaskRunFilter(
            flow_run_id=TaskRunFilterFlowRunId(any_=[self._caller.id]),
            subflow_runs=TaskRunFilterSubFlowRuns(exists_=True),
        )
        read: list[TaskRun] = []
        while page := self._client.read_task_runs(
            task_run_filter=of_caller, sort=TaskRunSort.ID_DESC, offset=len(read)
        ):
            read += page
        return {_count_of(one): one for one in read if one.dynamic_key.isdecimal()}

    @cached_property
    def _here(self) -> FlowAttempt:
        """The caller's attempt in this process."""
        states = self._client.read_flow_run_states(self._caller.id)
        return FLOW_ATTEMPTS.attempt(self._caller.id, states)


def _count_of(tracking: TaskRun) -> str:
    """Return which of the calls of its flow it is; alike in each run of the caller."""
    return _call_id(tracking.task_key, tracking.dynamic_key)


def _call_id(task_key: str, number: str | int) -> str:
    return f"{hashlib.sha256(task_key.encode()).hexdigest()[:8]}.{number}"


def _name_of(flow: Flow[..., Any]) -> str:
    """Return a flow's function, by the last part of its module, which is alike however loaded."""
    module, code = flow.fn.__module__, getattr(flow.fn, "__code__", None)
    by_path = module.startswith(_LOADED_BY_PATH) and code is not None
    file = Path(code.co_filename) if by_path and code is not None else None
    stem = file.stem if file is not None and file.suffix == ".py" else module.rpartition(".")[2]
    return f"{stem}.{flow.fn.__qualname__}"
