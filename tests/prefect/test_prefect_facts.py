"""What Prefect itself does, where this package rests on it: ``docs/contributing/prefect.md``."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import fact_flows
import pytest
from fact_flows import killed_parent, told
from prefect import Flow, State, flow, get_client, pause_flow_run, suspend_flow_run, task
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, Pause
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run as this_run
from prefect.runtime import task_run as this_task_run
from prefect.states import Crashed, Pending
from prefect_helpers import api_environment, eventually, flow_run, in_state, stop_group

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("quick_flows", "prefect_server")]


class _GivenUpError(Exception):
    """The failure of a test's flow."""


class _InterruptedError(BaseException):
    """What crashes a test's flow."""


def _task_runs(run_id: UUID | str, count: int) -> list[TaskRun]:
    """Return the task runs of a flow run, in order, when there are as many; none is under way."""
    only = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(str(run_id))]))

    def found() -> list[TaskRun]:
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_run_filter=only)
        over = [run for run in runs if run.state is not None and run.state.is_final()]
        return over if len(over) == count else []

    runs = eventually(found, seconds=20, what=f"{count} task runs are over")
    return sorted(runs, key=lambda run: str(run.created))


def _this_flow_run() -> FlowRun:
    """Return the flow run of the flow that asks."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run


def _deployed(of: Flow[..., Any]) -> UUID:
    """Make a deployment, which no worker serves."""
    with get_client(sync_client=True) as client:
        return client.create_deployment(flow_id=client.create_flow(of), name="facts")


@pytest.mark.parametrize("how", ["parent fails", "child fails", "child crashes"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_retried_parent_has_the_same_tracking_task_runs(how: str, *, kept: bool) -> None:
    """They count a flow's calls; a child runs anew with another ID, unless its result is kept."""
    seen: list[tuple[int, str, str]] = []
    failures = [how]

    @flow(persist_result=kept)
    def child(number: int) -> int:
        run = _this_flow_run()
        assert this_run.root_flow_run_id == this_run.parent_flow_run_id == parents[0]
        assert run.run_count == 1
        seen.append((number, str(run.id), str(run.parent_task_run_id)))
        if number == 2 and how in failures:
            if how == "child fails":
                failures.clear()
                raise _GivenUpError
            if how == "child crashes":
                failures.clear()
                raise _InterruptedError
        return number

    parents: list[str] = []

    @flow(retries=1)
    def parent() -> str:
        parents.append(str(this_run.id))
        try:
            for number in (1, 1, 2):
                child(number)
        except _InterruptedError:
            raise _GivenUpError from None
        if failures:
            failures.clear()
            raise _GivenUpError
        return parents[0]

    run_id = parent()
    tracking = _task_runs(run_id, 3)
    assert [run.dynamic_key for run in tracking] == ["0", "1", "2"]
    assert len({run.task_key for run in tracking}) == 1
    assert all(inputs == [] for run in tracking for inputs in run.task_inputs.values())

    first, again = seen[:3], seen[3:]
    ids = [str(run.id) for run in tracking]
    assert [(number, place) for number, _, place in first] == list(zip((1, 1, 2), ids, strict=True))
    done = {"parent fails": 3, "child fails": 2, "child crashes": 2}[how] if kept else 0
    assert [(number, place) for number, _, place in again] == [
        (number, place) for number, _, place in first[done:]
    ]
    assert not {run for _, run, _ in first} & {run for _, run, _ in again}
    assert [run.run_count for run in tracking] == [1] * done + [2] * (3 - done)


def test_a_killed_child_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that nobody ended goes on, when its parent is run again by another process."""
    file = tmp_path / "told"
    monkeypatch.setenv(fact_flows.TOLD, str(file))
    killed = subprocess.run(
        [sys.executable, fact_flows.__file__],
        env=api_environment(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    parent, child = told(file)
    assert (parent["what"], child["what"]) == ("parent", "child"), killed.stderr
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(parent["run"], Crashed(), force=True)
        client.set_flow_run_state(parent["run"], Pending(), force=True)
        run_flow(killed_parent, flow_run=client.read_flow_run(parent["run"]))
    again = told(file)[2:]
    assert [line["run"] for line in again] == [parent["run"], child["run"]]
    assert killed.returncode < 0
    assert flow_run(child["run"]).run_count == 2


@pytest.mark.parametrize("keyed", [False, True])
def test_a_retried_parent_asks_a_deployment_anew(*, keyed: bool) -> None:
    """Unless there is an idempotency key; the tracking task runs are the same in either case."""
    runs: list[FlowRun] = []

    @flow
    def deployed_child() -> None:
        """Never run."""

    deployment = _deployed(deployed_child)

    @flow(retries=1)
    def parent() -> str:
        for number in range(2):
            key = f"{this_run.id}-{number}" if keyed else None
            runs.append(run_deployment(deployment, timeout=0, idempotency_key=key))
        if len(runs) == 2:
            raise _GivenUpError
        return str(this_run.id)

    parent()
    places = [run.parent_task_run_id for run in runs]
    assert places[:2] == places[2:]
    assert len(set(places)) == 2
    assert None not in places
    assert len({run.id for run in runs}) == (2 if keyed else 4)


def test_a_deployments_run_can_have_no_parent() -> None:
    """With ``as_subflow=False`` it has no tracking task run, which is what names its parent."""

    @flow
    def deployed_child() -> None:
        """Never run."""

    deployment = _deployed(deployed_child)

    @flow
    def parent() -> tuple[FlowRun, FlowRun]:
        alone = run_deployment(deployment, timeout=0, as_subflow=False)
        return alone, run_deployment(deployment, timeout=0)

    alone, below = parent()
    assert alone.parent_task_run_id is None
    assert below.parent_task_run_id is not None


@pytest.mark.parametrize("how", ["completion", "failure", "crashed"])
def test_a_run_can_add_hooks_to_itself(how: str) -> None:
    """They run after those declared, and stay for the flow's next run; ``with_options`` copies."""
    called: list[tuple[str, int]] = []

    def declared(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
        called.append(("declared", threading.get_ident()))

    def added(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
        called.append(("added", threading.get_ident()))

    @flow(on_completion=[declared], on_failure=[declared], on_crashed=[declared])
    def hooked(*, add: bool) -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow is not None
        if add:
            {
                "completion": context.flow.on_completion,
                "failure": context.flow.on_failure,
                "crashed": context.flow.on_crashed,
            }[how](added)
        if how == "failure":
            raise _GivenUpError
        if how == "crashed":
            raise _InterruptedError

    def run(one: Flow[..., None], *, add: bool) -> list[str]:
        called.clear()
        try:
            one(add=add)
        except (_GivenUpError, _InterruptedError):
            assert how != "completion"
        assert {thread for _, thread in called} <= {threading.get_ident()}
        return [name for name, _ in called]

    assert run(hooked.with_options(), add=True) == ["declared", "added"]
    assert run(hooked, add=False) == ["declared"]
    assert run(hooked, add=True) == ["declared", "added"]
    assert run(hooked, add=False) == ["declared", "added"]


def test_a_cancelled_run_is_interrupted_and_its_own_hooks_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``TerminationSignal`` is no ``Exception``; the hook runs in another process, by keywords."""
    file = tmp_path / "told"
    monkeypatch.setenv(fact_flows.TOLD, str(file))
    serving = subprocess.Popen(
        [sys.executable, fact_flows.__file__, "serve"],
        env=api_environment(
            PREFECT_RUNNER_POLL_FREQUENCY="1", PYTHONPATH=str(Path(__file__).parent)
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    try:
        deployment = eventually(_served, seconds=60, what="the flow is served")
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(deployment)
            eventually(lambda: told(file), seconds=60, what="the run begins")
            client.set_flow_run_state(run.id, State(type="CANCELLING", name="Cancelling"))
        eventually(in_state(run.id, "Cancelled"), seconds=60, what="the run is cancelled")
    finally:
        stop_group(serving, patience=10)
    begins, raised, *hooks = told(file)
    assert (raised["error"], raised["exception"]) == ("TerminationSignal", False)
    assert raised["process"] == begins["process"]
    [hook] = hooks
    assert (hook["what"], hook["run"], hook["state"]) == ("declared", str(run.id), "Cancelling")
    assert hook["hooks"] == 1
    assert hook["process"] == serving.pid


def _served() -> UUID | None:
    with suppress(ObjectNotFound), get_client(sync_client=True) as client:
        return client.read_deployment_by_name("served/facts").id
    return None


def test_a_resumed_run_begins_again_and_is_not_counted() -> None:
    """``suspend_flow_run`` raises ``Pause``; the run then begins at the top, with new task runs."""
    ids: list[str] = []
    counts: list[int] = []

    @task(persist_result=True)
    def kept() -> int:
        ids.append(str(this_task_run.id))
        return len(ids)

    @task
    def plain() -> None:
        ids.append(str(this_task_run.id))

    @flow
    def suspended() -> int:
        counts.append(this_run.run_count)
        plain()
        number = kept()
        suspend_flow_run(timeout=60, key="once")
        return number

    deployment = _deployed(suspended)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment)
        with pytest.raises(Pause) as raised:
            run_flow(suspended, flow_run=client.read_flow_run(run.id))
        assert not isinstance(raised.value, Exception)
        assert in_state(run.id, "Suspended")()
        client.resume_flow_run(run.id)
        assert run_flow(suspended, flow_run=client.read_flow_run(run.id)) == 2
    assert counts == [1, 1]
    assert flow_run(run.id).run_count == 1
    assert len(set(ids)) == len(ids) == 3
    states = [one.state_name for one in _task_runs(run.id, 4)]
    assert states == ["Completed", "Completed", "Completed", "Cached"]


def test_a_paused_run_goes_on_where_it_was() -> None:
    """In the same call; the server counts the run once more, which the run does not see."""
    ids: list[str] = []
    counts: list[int] = []

    @flow
    def paused() -> None:
        ids.append(str(this_run.id))
        pause_flow_run(timeout=60, poll_interval=1, key="once")
        counts.append(this_run.run_count)

    def resume() -> None:
        run_id = UUID(eventually(lambda: ids, seconds=30, what="the run begins")[0])
        eventually(in_state(run_id, "Paused"), seconds=30, what="the run is paused")
        with get_client(sync_client=True) as client:
            client.resume_flow_run(run_id)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(resume,))
    thread.start()
    paused()
    thread.join()
    assert len(ids) == 1
    assert counts == [1]
    assert flow_run(UUID(ids[0])).run_count == 2


def test_what_counts_runs() -> None:
    """A task's retry is the same task run, counted; a flow's has new task runs, counted from 1."""
    tries: list[tuple[str, int, int]] = []

    @task(retries=1)
    def second_time_lucky() -> None:
        tries.append((str(this_task_run.id), this_task_run.run_count, this_run.run_count))
        if this_task_run.run_count == 1:
            raise _GivenUpError

    @flow(retries=1)
    def counted() -> None:
        second_time_lucky()
        if this_run.run_count == 1:
            raise _GivenUpError

    counted()
    ids = [run for run, _, _ in tries]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert [counts for _, *counts in tries] == [[1, 1], [2, 1], [1, 2], [2, 2]]
