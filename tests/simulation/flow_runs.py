"""Prefect's server and engine, as ``docs/contributing/prefect.md`` measured them.

It knows flow runs, the tracking task runs of their subflows, and states. A run of a flow is entered
with Prefect's own context, so that the product's code finds itself in a flow run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext

from session_block.errors import SessionBlockError

from .platform import EPOCH
from .schedule import Killed

if TYPE_CHECKING:
    from .world import Process, World

_NAMES = {
    StateType.PENDING: "Pending",
    StateType.RUNNING: "Running",
    StateType.COMPLETED: "Completed",
    StateType.FAILED: "Failed",
    StateType.CRASHED: "Crashed",
    StateType.CANCELLED: "Cancelled",
    StateType.SCHEDULED: "Scheduled",
}


class SimulatedFlow:
    """A flow in one process: what the product asks of :class:`prefect.Flow`."""

    isasync = False

    def __init__(self, name: str) -> None:
        def function() -> None:
            """Stand for the user's function."""

        function.__module__, function.__qualname__ = "program", name
        self.fn, self.name = function, name
        self.on_completion_hooks: list[Any] = []
        self.on_failure_hooks: list[Any] = []
        self.on_crashed_hooks: list[Any] = []
        self.on_cancellation_hooks: list[Any] = []

    def on_completion(self, hook: Any) -> None:
        """Add a hook."""
        self.on_completion_hooks.append(hook)

    def on_failure(self, hook: Any) -> None:
        """Add a hook."""
        self.on_failure_hooks.append(hook)

    def on_crashed(self, hook: Any) -> None:
        """Add a hook."""
        self.on_crashed_hooks.append(hook)

    def on_cancellation(self, hook: Any) -> None:
        """Add a hook."""
        self.on_cancellation_hooks.append(hook)


@dataclass(eq=False)
class FlowRun:
    """One flow run, as the server knows it.

    Attributes:
        kept: Its result, if Prefect keeps it.
    """

    id: UUID
    name: str
    flow_id: UUID
    parameters: dict[str, Any]
    parent_task_run_id: UUID | None = None
    run_count: int = 0
    states: list[State[Any]] = field(default_factory=list)
    kept: float | None = None

    @property
    def state(self) -> State[Any] | None:
        """Its latest state."""
        return self.states[-1] if self.states else None


@dataclass(frozen=True)
class TaskRun:
    """The tracking task run of a subflow's call."""

    id: UUID
    flow_run_id: UUID
    task_key: str
    dynamic_key: str
    state: None = None


@dataclass(frozen=True)
class Flow:
    """A flow, as the server knows it."""

    name: str


@dataclass
class Prefect:
    """The server, and what its engine does in each process.

    Attributes:
        with_kept: The outermost runs in which a kept result was used.
    """

    world: World
    runs: dict[UUID, FlowRun] = field(default_factory=dict)
    calls: dict[UUID, TaskRun] = field(default_factory=dict)
    flows: dict[str, UUID] = field(default_factory=dict)
    with_kept: set[UUID] = field(default_factory=set)

    def client(self, process: Process) -> Client:
        """Return a client of a process."""
        return Client(self, process)

    def new_run(self, flow: str, parameters: dict[str, Any], call: UUID | None = None) -> FlowRun:
        """Create a flow run."""
        flow_id = self.flows.setdefault(flow, self._new_id())
        run = FlowRun(
            self._new_id(), f"run {len(self.runs)}", flow_id, parameters, parent_task_run_id=call
        )
        self.runs[run.id] = run
        return run

    def root_of(self, flow_run_id: UUID) -> UUID:
        """Return the ID of the outermost run."""
        run = self.runs[flow_run_id]
        while run.parent_task_run_id is not None:
            run = self.runs[self.calls[run.parent_task_run_id].flow_run_id]
        return run.id

    def name_of(self, flow_id: UUID) -> str:
        """Return a flow's name."""
        return next(name for name, known in self.flows.items() if known == flow_id)

    def set_state(self, run: FlowRun, kind: StateType, name: str = "", data: Any = None) -> None:
        """Give a run a state."""
        moment = EPOCH + timedelta(seconds=self.world.now)
        run.states.append(State(type=kind, name=name or _NAMES[kind], timestamp=moment, data=data))

    def begin_anew(self, run: FlowRun, *, by_a_person: bool) -> None:
        """Let a run that is not at work begin again: after a crash, its own retry, or by hand."""
        state = run.state
        if by_a_person:
            self.set_state(run, StateType.SCHEDULED, "AwaitingRetry")
        elif state is not None and state.is_running() and self.world.random.random() < 0.5:
            self.set_state(run, StateType.CRASHED)
            self.set_state(run, StateType.SCHEDULED)

    def forget_results(self) -> None:
        """Lose the results that are kept, with the disk on which a ledger was lost."""
        for run in self.runs.values():
            run.kept = None
            run.states = [
                State(type=one.type, name=one.name, timestamp=one.timestamp) for one in run.states
            ]

    # The engine

    def run(
        self,
        process: Process,
        run: FlowRun,
        body: Callable[[], float],
        *,
        retries: int = 0,
        keep: bool = False,
        elsewhere: tuple[type[SessionBlockError], ...] = (),
    ) -> float:
        """Run a flow run's next attempt in a process, and its own retries after errors.

        Args:
            process: The process.
            run: The flow run.
            body: What the flow does.
            retries: How often it is run again at once.
            keep: Whether its result is kept.
            elsewhere: The errors after which another process runs it again.
        """
        flow = SimulatedFlow(self.name_of(run.flow_id))
        state = run.state
        if state is not None and not state.is_final() and run.parent_task_run_id is None:
            self.set_state(run, StateType.PENDING)  # by the worker that starts the process
        while True:
            run.run_count += 1
            self._tell(process, run, StateType.RUNNING)
            try:
                value = self._entered(run, flow, body)
            except SessionBlockError as error:
                if isinstance(error, elsewhere):
                    self._tell(process, run, StateType.SCHEDULED, "AwaitingRetry")
                    raise
                if retries:
                    retries -= 1
                    self._tell(process, run, StateType.SCHEDULED, "AwaitingRetry")
                    process.environment.pause(1.0)
                    continue
                self._end(process, run, flow, StateType.FAILED)
                raise
            run.kept = value if keep else None
            self._end(process, run, flow, StateType.COMPLETED, data=True if keep else None)
            return value

    def call(
        self,
        process: Process,
        flow: str,
        parameters: dict[str, Any],
        body: Callable[[], float],
        *,
        retries: int,
        keep: bool,
    ) -> float:
        """Call a subflow in the flow run around this code."""
        context = FlowRunContext.get()
        assert context is not None
        caller: Any = context.flow_run
        parameters_of: Any = context.parameters
        counts: Counter[str] = parameters_of.counts
        number = str(counts[flow])
        counts[flow] += 1
        self.world.prefect_call(process, f"calls {flow}")
        call = self._call(caller.id, flow, number)
        earlier = [one for one in self.runs.values() if one.parent_task_run_id == call.id]
        latest = earlier[-1] if earlier else None
        state = None if latest is None else latest.state
        if (
            latest is not None
            and state is not None
            and state.is_completed()
            and latest.kept is not None
        ):
            self.world.say(process.name, f"uses the kept result of {latest.name}")
            self.with_kept.add(self.root_of(caller.id))
            return latest.kept
        if latest is None or state is None or state.is_final():
            latest = self.new_run(flow, parameters, call.id)
        return self.run(process, latest, body, retries=retries, keep=keep)

    def _call(self, caller: UUID, flow: str, number: str) -> TaskRun:
        for one in self.calls.values():
            if (one.flow_run_id, one.task_key, one.dynamic_key) == (caller, flow, number):
                return one
        made = TaskRun(self._new_id(), caller, flow, number)
        self.calls[made.id] = made
        return made

    @staticmethod
    def _entered(run: FlowRun, flow: SimulatedFlow, body: Callable[[], float]) -> float:
        now = FlowRun(
            run.id, run.name, run.flow_id, run.parameters, run.parent_task_run_id, run.run_count
        )
        context = FlowRunContext.model_construct(
            flow_run=now,
            flow=flow,
            parameters=_Parameters(run.parameters),
            detached=False,
        )
        with context:
            return body()

    def _end(
        self,
        process: Process,
        run: FlowRun,
        flow: SimulatedFlow,
        kind: StateType,
        data: Any = None,
    ) -> None:
        self._tell(process, run, kind, data=data)
        hooks = flow.on_completion_hooks if kind is StateType.COMPLETED else flow.on_failure_hooks
        state = State[Any](type=kind, name=_NAMES[kind])  # its result is no reference
        for hook in list(hooks):
            hook(flow, run, state)

    def _tell(
        self, process: Process, run: FlowRun, kind: StateType, name: str = "", data: Any = None
    ) -> None:
        """Tell the server of a state, as the engine does."""
        self.world.prefect_call(process, f"{run.name} is {name or _NAMES[kind]}")
        if kind is StateType.RUNNING and run.state is not None and run.state.is_final():
            raise Killed  # the server does not let it begin: it is over
        if kind is StateType.SCHEDULED and run.state is not None and run.state.is_cancelled():
            kind, name = StateType.FAILED, ""  # the server retries only what was running
        self.set_state(run, kind, name, data)

    def _new_id(self) -> UUID:
        return UUID(int=self.world.random.getrandbits(128))


class _Parameters(dict[str, Any]):
    """A flow's parameters, with the engine's counts of its calls beside them."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(parameters)
        self.counts: Counter[str] = Counter()


class Client:
    """What the product asks of Prefect's server; see :class:`SyncPrefectClient`."""

    def __init__(self, prefect: Prefect, process: Process) -> None:
        self._prefect = prefect
        self._process = process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """Return one flow run."""
        self._ask("a flow run")
        return self._prefect.runs[flow_run_id]

    def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        """Return all states of one flow run."""
        self._ask("its states")
        return list(self._prefect.runs[flow_run_id].states)

    def read_task_run(self, task_run_id: UUID) -> TaskRun:
        """Return one tracking task run."""
        self._ask("a call")
        return self._prefect.calls[task_run_id]

    def read_flow(self, flow_id: UUID) -> Flow:
        """Return one flow."""
        return Flow(self._prefect.name_of(flow_id))

    def read_flow_runs(self, flow_run_filter: Any, sort: Any = None) -> list[FlowRun]:  # noqa: ARG002
        """Return flow runs, the latest ones first."""
        self._ask("flow runs")
        found = list(self._prefect.runs.values())[::-1]
        chosen = flow_run_filter
        if chosen.id is not None:
            found = [one for one in found if one.id in chosen.id.any_]
        if chosen.parent_task_run_id is not None:
            found = [
                one for one in found if one.parent_task_run_id in chosen.parent_task_run_id.any_
            ]
        if chosen.parent_flow_run_id is not None:
            known, callers = self._prefect.calls, chosen.parent_flow_run_id.any_
            found = [
                one
                for one in found
                if one.parent_task_run_id and known[one.parent_task_run_id].flow_run_id in callers
            ]
        if chosen.state is not None:
            kinds = chosen.state.type.any_
            found = [one for one in found if one.state and one.state.type in kinds]
        return found

    def read_task_runs(
        self,
        task_run_filter: Any,
        sort: Any = None,  # noqa: ARG002
        offset: int = 0,
    ) -> list[TaskRun]:
        """Return the calls of subflows that flow runs have made."""
        self._ask("calls")
        callers = task_run_filter.flow_run_id.any_
        return [one for one in self._prefect.calls.values() if one.flow_run_id in callers][offset:]

    def _ask(self, what: str) -> None:
        self._prefect.world.prefect_call(self._process, f"asks Prefect for {what}")
