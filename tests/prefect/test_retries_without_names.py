"""Tasks and flows whose circuits have registers without names buy each job once."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow, task
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from support import Platform

from session_block import load_block
from session_block.errors import ExperimentDivergedError
from tasks import close_session, fetch_result, open_session, run_sampler, submit_sampler

SHOTS = 9


def _circuit(turn: int) -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(2))
    circuit.x(turn)
    circuit.measure([0, 1], [0, 1])
    return circuit


def _counts(result: Any, circuit: QuantumCircuit) -> dict[str, int]:
    counts: dict[str, int] = result[0].data[circuit.cregs[0].name].get_counts()
    return counts


def test_a_retried_task_a_retried_flow_and_mapped_tasks(
    platform: Platform, saved_block: str
) -> None:
    """One job for each request, however often it is asked, and the right one."""
    tries: dict[str, int] = {}

    def fails_twice(what: str) -> None:
        tries[what] = tries.get(what, 0) + 1
        if tries[what] < 3:
            raise RuntimeError("a passing error")

    @task(retries=2)
    def asks(session: Any, turn: int) -> dict[str, int]:
        circuit = _circuit(turn)
        counts = _counts(run_sampler(session, [circuit], shots=SHOTS), circuit)
        fails_twice(f"task {turn}")
        return counts

    @task(retries=2)
    def by_reference(session: Any) -> dict[str, int]:
        circuit = _circuit(0)
        job = submit_sampler(session, [circuit], shots=2 * SHOTS)
        counts = _counts(fetch_result(job), circuit)
        fails_twice("reference")
        return counts

    @flow(retries=2)
    def whole() -> list[dict[str, int]]:
        session = open_session(saved_block, "unnamed")
        mapped = [asks.submit(session, turn) for turn in (0, 1)]
        found = [one.result() for one in mapped]
        found.append(by_reference(session))
        circuit = _circuit(1)
        found.append(_counts(run_sampler(session, [circuit], shots=3 * SHOTS), circuit))
        fails_twice("flow")
        close_session(session)
        return found

    assert whole() == [{"01": SHOTS}, {"10": SHOTS}, {"01": 2 * SHOTS}, {"10": 3 * SHOTS}]
    assert tries == {"task 0": 5, "task 1": 5, "reference": 5, "flow": 3}
    assert platform.jobs_named("unnamed") == 4


@pytest.mark.rest
def test_a_cell_that_is_interrupted_and_run_again(platform: Platform, saved_block: str) -> None:
    """As in a notebook: the same cell, in the same process, after Ctrl-C at any request."""

    def cell(stop: int | None) -> list[dict[str, int]]:
        found = []
        with load_block(saved_block).experiment("cell") as experiment:
            for turn in (0, 1, 1):
                circuit = _circuit(turn)
                found.append(_counts(experiment.run_sampler([circuit], shots=SHOTS), circuit))
                if len(found) == stop:
                    raise KeyboardInterrupt
        return found

    for stop in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            cell(stop)
        assert platform.jobs_named("cell") == stop
    assert cell(None) == [{"01": SHOTS}, {"10": SHOTS}, {"10": SHOTS}]
    assert platform.jobs_named("cell") == 3


def test_a_retried_task_that_asks_for_something_else_is_stopped(
    platform: Platform, saved_block: str
) -> None:
    """As a retried flow is: the random angle of the second try buys nothing."""
    angles = iter([0.1, 0.2, 0.3])
    tries: list[str] = []

    def coin(angle: float) -> QuantumCircuit:
        circuit = QuantumCircuit(1, 1)
        circuit.sx(0)
        circuit.rz(angle, 0)
        circuit.measure(0, 0)
        return circuit

    @task(retries=2)
    def asks(session: Any, fixed: bool) -> int:
        angle = 0.0 if fixed else next(angles)
        try:
            run_sampler(session, [coin(angle)], shots=SHOTS)
        except ExperimentDivergedError:
            tries.append("diverged")
            raise
        tries.append("asked")
        run_sampler(session, [coin(9.0)], shots=SHOTS)  # the same in each try
        if tries.count("asked") < 3:
            raise RuntimeError("a passing error")
        return SHOTS

    @flow
    def whole(name: str, fixed: bool) -> int:
        session = open_session(saved_block, name)
        found = asks(session, fixed)
        close_session(session)
        return found

    with pytest.raises(ExperimentDivergedError, match="recorded 2 requests"):
        whole("random", fixed=False)
    assert tries == ["asked", "diverged", "diverged"]
    assert platform.jobs_named("random") == 2
    tries.clear()
    assert whole("fixed", fixed=True) == SHOTS
    assert platform.jobs_named("fixed") == 2
