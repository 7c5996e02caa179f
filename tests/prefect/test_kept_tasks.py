"""Tasks whose results Prefect keeps are not run again: what they asked for is not missing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterName,
)
from prefect.runtime import flow_run
from qiskit import QuantumCircuit
from support import Platform, wait_until

from session_block.errors import ExperimentDivergedError
from session_block.experiments.repetition import REPLAY_WAIT
from tasks import close_session, open_session, run_sampler

SHOTS = 16


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPLAY_WAIT, "3")


def _turned(angle: float) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.sx(0)
    circuit.rz(angle, 0)
    circuit.sx(0)
    circuit.measure(0, 0)
    return circuit


def _ask(session: Any, angle: float) -> int:
    counts = run_sampler(session, [_turned(angle)], shots=SHOTS)[0].data.c.get_counts()
    return int(counts.get("1", 0))


def _until_prefect_knows(kept: int) -> None:
    """Wait until the ends of the kept tasks have reached Prefect, which gets them as events."""
    run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    named = TaskRunFilter(name=TaskRunFilterName(like_="keeps"))

    def ended() -> bool:
        with get_client(sync_client=True) as client:
            found = client.read_task_runs(flow_run_filter=run, task_run_filter=named)
        return sum(one.state is not None and one.state.is_completed() for one in found) >= kept

    wait_until(ended, seconds=30, what="Prefect knows what has ended")


@pytest.mark.parametrize("mapped", [False, pytest.param(True, marks=pytest.mark.rest)])
def test_a_retried_flow_goes_on_after_kept_tasks(
    platform: Platform, saved_block: str, mapped: bool
) -> None:
    """One after another or mapped: the kept ones are not asked for again, and nothing waits."""
    attempts: list[float] = []

    @task(persist_result=True)
    def keeps(session: Any, angle: float) -> int:
        return _ask(session, angle)

    @flow(retries=1)
    def whole() -> int:
        session = open_session.with_options(persist_result=True)(saved_block, "kept")
        if mapped:
            for one in [keeps.submit(session, angle) for angle in range(3)]:
                one.result()
        else:
            for angle in range(3):
                keeps(session, angle)
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            _until_prefect_knows(3)
            raise RuntimeError("a passing error")
        found = [one.result() for one in [keeps.submit(session, angle) for angle in (3, 4)]]
        assert time.monotonic() - attempts[1] < 3
        close_session(session)
        return len(found)

    assert whole() == 2
    assert len(attempts) == 2
    assert platform.jobs_named("kept") == 5


def test_mapped_tasks_that_ask_for_something_else_are_stopped(
    platform: Platform, saved_block: str
) -> None:
    """P8 for a flow whose tasks draw at random, at once: its retry buys nothing."""
    angles = iter(range(100))
    stopped: list[str] = []

    @task
    def keeps(session: Any, angle: float) -> int:  # named alike, but Prefect keeps nothing of it
        try:
            return _ask(session, angle)
        except ExperimentDivergedError as error:
            stopped.append(str(error))
            raise

    @flow(retries=1)
    def whole() -> None:
        session = open_session(saved_block, "drawn")
        for one in [keeps.submit(session, next(angles)) for _ in range(4)]:
            one.result()
        _until_prefect_knows(4)
        raise RuntimeError("a passing error")

    with pytest.raises(ExperimentDivergedError):
        whole()
    assert len(stopped) == 4
    assert platform.jobs_named("drawn") == 4
