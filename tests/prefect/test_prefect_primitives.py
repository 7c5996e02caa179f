"""Durable primitives inside flows and tasks."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from prefect import flow, task
from prefect.runtime import flow_run
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import VQE
from qiskit_algorithms.optimizers import COBYLA
from support import Platform, wait_until

from session_block import DurableEstimator
from session_block.blocks.quantum_session import load_block

pytestmark = [
    pytest.mark.usefixtures("quick_flows", "prefect_server"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:qiskit_algorithms"),
]
Z = SparsePauliOp("ZZ")


def _task_runs(server: str, run_id: str) -> list[dict[str, Any]]:
    answer = httpx.post(
        f"{server}/task_runs/filter", json={"flow_runs": {"id": {"any_": [run_id]}}}
    )
    return list(answer.raise_for_status().json())


def test_each_job_is_a_task_run_that_can_be_seen(
    prefect_server: str, saved_block: str, platform: Platform
) -> None:
    """Somebody else's VQE in a flow: a task run for each job, and none when it is replayed."""
    ids: list[str] = []

    @flow(retries=1)
    def optimise(block: str) -> float:
        ids.append(str(flow_run.id))
        with load_block(block).experiment() as experiment:
            found = VQE(
                DurableEstimator(experiment),
                real_amplitudes(2, reps=1),
                COBYLA(maxiter=7),
                initial_point=np.full(4, 0.1),
            ).compute_minimum_eigenvalue(Z)
            if len(ids) == 1:
                raise RuntimeError("as the test wants it")
            ids.append(experiment.uid)
            return float(found.eigenvalue.real)

    assert optimise(saved_block) < 1
    run_id, _, uid = ids
    jobs = platform.jobs_of(uid)
    wait_until(
        lambda: len(_task_runs(prefect_server, run_id)) >= jobs,
        seconds=30,
        what="the server has seen the task runs",
    )
    runs = _task_runs(prefect_server, run_id)
    assert len(runs) == jobs
    assert all(run["name"].startswith("estimator ") for run in runs)
    assert {run["state_type"] for run in runs} == {"COMPLETED"}


def test_a_task_that_is_retried_gets_its_own_jobs(saved_block: str, platform: Platform) -> None:
    """Equal requests of two tasks are two jobs, and a task's retry asks for its own again."""
    uids: list[str] = []
    tries: list[int] = []

    @task(retries=1)
    def evaluate(block: str) -> float:
        experiment = load_block(block).experiment()
        uids.append(experiment.uid)
        data = DurableEstimator(experiment).run([(real_amplitudes(2, reps=1), Z, [0.1] * 4)])
        value = float(data.result()[0].data.evs)
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("as the test wants it")
        return value

    @flow
    def twice(block: str) -> list[float]:
        values = [evaluate(block), evaluate(block)]
        load_block(block).experiment().close_session()
        return values

    values = twice(saved_block)
    assert values[0] == values[1]
    assert len(set(uids)) == 1
    assert platform.jobs_of(uids[0]) == 2
