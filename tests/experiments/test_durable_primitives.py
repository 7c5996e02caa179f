"""The durable primitives behave as Qiskit's own, and their jobs as the client's."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives import BaseEstimatorV2, BasePrimitiveJob, BaseSamplerV2
from qiskit.quantum_info import SparsePauliOp
from support import Platform

from session_block import DurableEstimator, DurableSampler, QuantumSession
from session_block.errors import (
    InvalidInputError,
    JobCancelledError,
    JobWaitTimeoutError,
    NotISAError,
)
from session_block.references import Implementation

Z = SparsePauliOp("ZZ")
BOTH = pytest.mark.parametrize("implementation", ["v2", "executor"])


def _bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def _requests(platform: Platform) -> dict[str, int]:
    counts = platform.stats()["requests"]
    return {route: count for route, count in counts.items() if "/_local/" not in route}


def test_they_are_what_algorithms_ask_for(block: QuantumSession) -> None:
    """Sampler and Estimator are Qiskit's base classes, and their jobs are too."""
    experiment = block.experiment("e")
    sampler, estimator = DurableSampler(experiment), DurableEstimator(experiment)
    assert isinstance(sampler, BaseSamplerV2)
    assert isinstance(estimator, BaseEstimatorV2)
    job = sampler.run([_bell()], shots=8)
    assert isinstance(job, BasePrimitiveJob)
    assert job.result()[0].data.meas.num_shots == 8
    experiment.close_session()


def test_run_returns_once_the_job_is_recorded(
    slow_platform: Platform, slow_block: QuantumSession
) -> None:
    """The job is at the platform and in the ledger before anybody waits for it."""
    experiment = slow_block.experiment("e")
    job = DurableSampler(experiment).run([_bell()], shots=8)
    assert slow_platform.jobs_of(experiment.uid) == 1
    assert job.status() in {"QUEUED", "RUNNING"}
    assert not job.done()
    assert not job.in_final_state()
    with pytest.raises(JobWaitTimeoutError):
        job.result(timeout=0.01)
    other = DurableSampler(experiment).run([_bell()], shots=8)
    assert other.job_id() != job.job_id()
    assert job.result()[0].data.meas.num_shots == 8
    assert (job.status(), job.done(), job.running(), job.cancelled()) == (
        "DONE",
        True,
        False,
        False,
    )
    assert job.result() is job.result()
    other.result()
    experiment.close_session()
    assert slow_platform.jobs_of(experiment.uid) == 2


def test_a_cancelled_job_has_no_result(slow_block: QuantumSession) -> None:
    """Cancelling works as with the client's jobs, and the result says that it was cancelled."""
    experiment = slow_block.experiment("e")
    sampler = DurableSampler(experiment)
    ahead, job = sampler.run([_bell()], shots=8), sampler.run([_bell()], shots=16)
    job.cancel()
    assert job.cancelled()
    assert job.in_final_state()
    with pytest.raises(JobCancelledError):
        job.result()
    assert ahead.result()[0].data.meas.num_shots == 8
    experiment.close_session()


@BOTH
def test_arrays_pubs_and_precision_pass_through(
    block: QuantumSession, implementation: Implementation
) -> None:
    """Broadcast parameters and several PUBs give what they give without durability."""
    experiment = block.experiment("e")
    circuit = real_amplitudes(2, reps=1)
    points = np.linspace(0, 1, 12).reshape(3, 4)
    observables = [[SparsePauliOp("ZZ")], [SparsePauliOp("XI")]]
    estimator = DurableEstimator(experiment, implementation=implementation)
    first, second = estimator.run(
        [(circuit, observables, points), (circuit, Z, points[0])], precision=0.02
    ).result()
    assert first.data.evs.shape == (2, 3)
    assert np.asarray(second.data.evs).shape == ()
    sampler = DurableSampler(experiment, implementation=implementation)
    measured = circuit.copy()
    measured.measure_all()
    counts = sampler.run([(measured, points), _bell()], shots=16).result()
    assert counts[0].data.meas.shape == (3,)
    assert (counts[0].data.meas.num_shots, counts[1].data.meas.num_shots) == (16, 16)
    experiment.close_session()


def test_values_are_those_of_a_circuit_laid_out_by_hand(block: QuantumSession) -> None:
    """Observables follow the layout that the primitive chose."""
    experiment = block.experiment("e")
    circuit, point = real_amplitudes(3, reps=1), np.linspace(0.1, 0.6, 6)
    observable = SparsePauliOp(["ZII", "IXI", "YZZ"], [1.0, 0.5, 0.25])
    isa_circuit, isa_observable = experiment.transpile(circuit, observable)
    by_hand = experiment.run_estimator([(isa_circuit, isa_observable, point)])
    by_itself = DurableEstimator(experiment).run([(circuit, observable, point)]).result()
    assert by_itself[0].data.evs == pytest.approx(by_hand[0].data.evs, abs=1e-12)
    experiment.close_session()


def test_equal_requests_are_as_many_jobs_and_are_replayed_without_network(
    block: QuantumSession, platform: Platform
) -> None:
    """P7: three equal requests are three jobs; the next opening gets them, and asks for nothing."""
    points = [[0.1] * 4, [0.1] * 4, [0.1] * 4, [0.2] * 4]

    def run(experiment: Any) -> list[float]:
        estimator = DurableEstimator(experiment)
        circuit = real_amplitudes(2, reps=1)
        jobs = [estimator.run([(circuit, Z, point)]) for point in points]
        DurableSampler(experiment).run([_bell()], shots=8).result()
        return [float(job.result()[0].data.evs) for job in jobs]

    experiment = block.experiment("e")
    values = run(experiment)
    experiment.close_session()
    before = _requests(platform)
    again = block.experiment("e")
    assert run(again) == values
    assert _requests(platform) == before
    assert platform.jobs_of(experiment.uid) == 5


def test_threads_share_a_primitive(block: QuantumSession, platform: Platform) -> None:
    """Requests of several threads are a job each."""
    experiment = block.experiment("e")
    sampler = DurableSampler(experiment)
    results: list[int] = []

    def run(shots: int) -> None:
        result = sampler.run([_bell()], shots=shots).result()
        results.append(result[0].data.meas.num_shots)

    threads = [threading.Thread(target=run, args=(shots,)) for shots in (8, 16, 24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    experiment.close_session()
    assert sorted(results) == [8, 16, 24]
    assert platform.jobs_of(experiment.uid) == 3


def test_a_job_whose_session_ends_is_replaced(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """The same object waits for the job that takes its place, in the new session."""
    experiment = slow_block.experiment("e")
    sampler = DurableSampler(experiment)
    ahead, job = sampler.run([_bell()], shots=8), sampler.run([_bell()], shots=16)
    first = job.job_id()
    experiment.service._get_api_client().cancel_session(experiment.session_id)
    assert job.result()[0].data.meas.num_shots == 16
    assert job.job_id() != first
    ahead.result()
    experiment.close_session()
    assert slow_platform.jobs_of(experiment.uid) == 3


def test_wrong_requests_are_refused_before_any_request(
    block: QuantumSession, platform: Platform
) -> None:
    """Empty input, wrong shots and unmeasured circuits cost nothing."""
    before = _requests(platform)
    experiment = block.experiment("e")
    for pubs, shots in (([], None), ([_bell()], -1), (["no circuit"], None)):
        with pytest.raises(InvalidInputError):
            DurableSampler(experiment).run(pubs, shots=shots)
    several = [(_bell(), None, 8), (_bell(), None, 16)]
    with pytest.raises(InvalidInputError, match="shots"):
        DurableSampler(experiment, implementation="executor").run(several)
    with pytest.raises(InvalidInputError):
        DurableEstimator(experiment).run([(_bell(), Z)], precision=-1)
    assert _requests(platform) == before


def test_without_transpiling_a_circuit_must_fit(block: QuantumSession, platform: Platform) -> None:
    """Whoever lays circuits out by hand is told of one that is not."""
    experiment = block.experiment("e")
    with pytest.raises(NotISAError):
        DurableSampler(experiment, transpile=False).run([_bell()])
    assert platform.jobs_of(experiment.uid) == 0


def test_a_notebooks_event_loop_is_not_in_the_way(block: QuantumSession) -> None:
    """Where an event loop runs already, as in a notebook's cell, they work as everywhere."""

    async def cell() -> int:
        with block.experiment("cell") as experiment:
            result = DurableSampler(experiment).run([_bell()], shots=8).result()
            shots: int = result[0].data.meas.num_shots
            return shots

    assert asyncio.run(cell()) == 8
