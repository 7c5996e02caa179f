"""The durable primitives behave as Qiskit's own, and their jobs as the client's."""

from __future__ import annotations

import asyncio
import pickle
import threading
from copy import copy, deepcopy
from typing import Any

import cloudpickle
import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives import BaseEstimatorV2, BasePrimitiveJob, BaseSamplerV2
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import SamplerV2, Session
from qiskit_ibm_runtime.executor_sampler import Sampler as ExecutorSampler
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
    slow_platform.admin.end_session(str(experiment.session_id), "max_time")
    assert job.result()[0].data.meas.num_shots == 16
    assert job.job_id() != first
    ahead.result()
    experiment.close_session()
    assert slow_platform.jobs_of(experiment.uid) == 3


def test_wrong_requests_are_refused_before_any_request(
    block: QuantumSession, platform: Platform
) -> None:
    """Empty input, wrong shots and unmeasured circuits cost nothing."""
    experiment = block.experiment("e")
    before = _requests(platform)
    for pubs, shots in (([], None), ([_bell()], -1), (["no circuit"], None)):
        with pytest.raises(InvalidInputError):
            DurableSampler(experiment).run(pubs, shots=shots)
    with pytest.raises(InvalidInputError):
        DurableEstimator(experiment).run([(_bell(), Z)], precision=-1)
    assert _requests(platform) == before


def test_without_transpiling_a_circuit_must_fit(block: QuantumSession, platform: Platform) -> None:
    """Whoever lays circuits out by hand is told of one that is not."""
    experiment = block.experiment("e")
    with pytest.raises(NotISAError):
        DurableSampler(experiment, transpile=False).run([_bell()])
    assert platform.jobs_of(experiment.uid) == 0


@BOTH
def test_options_are_the_clients_own(
    block: QuantumSession, platform: Platform, implementation: Implementation
) -> None:
    """Attributes are read and set as on the client's primitives; later requests have them."""
    experiment = block.experiment("e")
    sampler = DurableSampler(experiment, implementation=implementation)
    bare: Any = (SamplerV2 if implementation == "v2" else ExecutorSampler)(mode=sampler.backend())
    assert type(sampler.options) is type(bare.options)
    assert sampler.options == bare.options
    sampler.options.default_shots = 8
    first = sampler.run([_bell()])
    sampler.options.default_shots = 16
    assert sampler.default_shots == 16
    second = sampler.run([_bell()])
    sampler.options = {"default_shots": 24}
    third = sampler.run([_bell()])
    assert [job.result()[0].data.meas.num_shots for job in (first, second, third)] == [8, 16, 24]
    assert platform.jobs_of(experiment.uid) == 3
    experiment.close_session()


def test_a_job_that_is_replaced_keeps_its_options(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """What is set after a request does not reach its next job either."""
    experiment = slow_block.experiment("e")
    sampler = DurableSampler(experiment, options={"default_shots": 8})
    ahead, job = sampler.run([_bell()], shots=4), sampler.run([_bell()])
    sampler.options.default_shots = 16
    first = job.job_id()
    slow_platform.admin.end_session(str(experiment.session_id), "max_time")
    assert job.result()[0].data.meas.num_shots == 8
    assert job.job_id() != first
    ahead.result()
    experiment.close_session()
    assert slow_platform.jobs_of(experiment.uid) == 3


def test_wrong_options_are_refused_before_any_request(
    block: QuantumSession, platform: Platform
) -> None:
    """Where they are given, or where they are used if they were set later."""
    experiment = block.experiment("e")
    before = _requests(platform)
    sampler = DurableSampler(experiment)
    for wrong in (
        {"default_shot": 8},
        {"default_shots": -1},
        8,
        DurableEstimator(experiment).options,
    ):
        with pytest.raises(InvalidInputError):
            DurableSampler(experiment, options=wrong)
        with pytest.raises(InvalidInputError):
            sampler.options = wrong
    sampler.options.environment.job_tags = ["tag"] * 6
    with pytest.raises(InvalidInputError, match="6 tags"):
        sampler.run([_bell()])
    with pytest.raises(InvalidInputError, match=r"dry run.*estimate_sampler"):
        DurableSampler(experiment).run([_bell()], dry_run=True)
    assert _requests(platform) == before


def test_it_says_where_it_runs_as_the_clients_do(block: QuantumSession, platform: Platform) -> None:
    """The backend and the open session are the client's objects; reading them opens nothing."""
    experiment = block.experiment("e")
    sampler = DurableSampler(experiment)
    assert sampler.version == SamplerV2.version
    assert sampler.mode is None
    assert sampler.backend().name == sampler._backend.name == "ibm_manila"
    assert asyncio.run(sampler.abackend()).name == "ibm_manila"
    sessions = platform.stats()["requests"].get("POST /sessions", 0)
    job = sampler.run([_bell()], shots=8)
    assert isinstance(sampler.mode, Session)
    assert sampler.mode.session_id == experiment.session_id == job.session_id
    again = DurableSampler(block.open(experiment.identity))
    assert again.mode is not None
    assert again.mode.session_id == experiment.session_id
    assert platform.stats()["requests"]["POST /sessions"] == sessions + 1
    experiment.close_session()
    assert sampler.mode is None
    assert platform.stats()["requests"]["POST /sessions"] == sessions + 1


def test_a_job_has_what_libraries_read(block: QuantumSession) -> None:
    """Backend, inputs, usage and errors of a job, also of one that is replayed."""
    experiment = block.experiment("e")
    circuit = _bell()
    circuit.metadata = {"of": "a library"}
    for opened in (experiment, block.experiment("e")):
        job = DurableSampler(opened).run([circuit], shots=8)
        job.wait_for_final_state(timeout=60)
        assert job.backend().name == "ibm_manila"
        assert job.error_message() is None
        assert not job.errored()
        assert job.status() in job.JOB_FINAL_STATES
        (asked,) = job.inputs["pubs"]
        assert (asked[0].metadata, asked[2]) == ({"of": "a library"}, 8)
        assert job.metrics()["usage"]
        assert job.usage() >= 0
    estimated = DurableEstimator(experiment).run([(real_amplitudes(2, reps=1), Z, [0.1] * 4)])
    assert len(estimated.inputs["pubs"][0]) == 4
    estimated.result()
    experiment.close_session()


def test_copies_share_the_experiment(block: QuantumSession, platform: Platform) -> None:
    """Libraries copy what holds a primitive: a deep copy has options of its own, no experiment."""
    experiment = block.experiment("e")
    sampler = DurableSampler(experiment, options={"default_shots": 8})
    deep = deepcopy({"sampler": sampler, "pass manager": experiment.transpiler()})
    copied = deep["sampler"]
    assert isinstance(copied, DurableSampler)
    assert copied.experiment is copy(sampler).experiment is deepcopy(experiment) is experiment
    copied.options.default_shots = 16
    jobs = [one.run([_bell()]) for one in (sampler, copied)]
    assert deepcopy(jobs[0]) is copy(jobs[0]) is jobs[0]
    assert [job.result()[0].data.meas.num_shots for job in jobs] == [8, 16]
    assert platform.jobs_of(experiment.uid) == 2
    experiment.close_session()


@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_what_cannot_be_pickled_says_what_to_pass(block: QuantumSession, module: Any) -> None:
    """The error is this package's own, names the experiment, and its advice works."""
    experiment = block.experiment("e")
    sampler = DurableSampler(experiment)
    job = sampler.run([_bell()], shots=8)
    for thing, instead in (
        (experiment, "experiment.session_ref"),
        (sampler, "run_sampler"),
        (DurableEstimator(experiment), "run_estimator"),
        (experiment.transpiler(), "experiment.session_ref"),
        (job, r"job.reference\(experiment.session_ref\)"),
    ):
        with pytest.raises(
            InvalidInputError, match=rf"'e'.*cannot be pickled.*{instead}"
        ) as raised:
            module.dumps({"among others": thing})
        assert raised.value.experiment == experiment.uid
    reference = module.loads(module.dumps(job.reference(experiment.session_ref)))
    assert experiment.fetch_result(reference)[0].data.meas.num_shots == 8
    experiment.close_session()


def test_a_notebooks_event_loop_is_not_in_the_way(block: QuantumSession) -> None:
    """Where an event loop runs already, as in a notebook's cell, they work as everywhere."""

    async def cell() -> int:
        with block.experiment("cell") as experiment:
            result = DurableSampler(experiment).run([_bell()], shots=8).result()
            shots: int = result[0].data.meas.num_shots
            return shots

    assert asyncio.run(cell()) == 8
