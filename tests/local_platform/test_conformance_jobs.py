"""Jobs through their lives as the client shows them. Time stands still here."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from qiskit_ibm_runtime import EstimatorV2, Executor, SamplerV2
from qiskit_ibm_runtime.exceptions import (
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobNotFound,
    RuntimeJobTimeoutError,
)
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.quantum_program import QuantumProgram

from session_block.local_platform import LocalPlatform

from .support import H2, bell, ground_state, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService, RuntimeJobV2

JOB_SECONDS = 10.0

legacy = pytest.mark.filterwarnings("ignore:The (Estimator|Sampler)V2 class is deprecated")


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform whose time is advanced by the tests, and whose jobs take ten seconds."""
    with LocalPlatform(time_scale=0, charges="simulated", job_seconds=JOB_SECONDS) as running:
        yield running


@pytest.fixture(scope="module")
def service(local: LocalPlatform) -> QiskitRuntimeService:
    """The client, connected to that platform."""
    return local.service()


@pytest.fixture
def backend(service: QiskitRuntimeService, local: LocalPlatform) -> Iterator[IBMBackend]:
    """The smallest backend, whose jobs all end with the test."""
    yield service.backend("ibm_manila")
    while service.jobs(limit=1, pending=True):
        local.advance(JOB_SECONDS)


@pytest.fixture
def api(local: LocalPlatform) -> Iterator[httpx.Client]:
    """Plain HTTP to the platform's API, with credentials."""
    with raw_client(local.info) as client:
        yield client


def run(backend: IBMBackend, limit: int | None = None, **environment: Any) -> RuntimeJobV2:
    """Submit a job with a maximum execution time and options of its environment."""
    options = {"max_execution_time": limit, "environment": environment}
    sampler = Sampler(backend, options=options)
    return sampler.run([isa(bell(), backend)])


def moment(local: LocalPlatform) -> datetime:
    """Return the platform's time."""
    return datetime.fromtimestamp(local.now(), UTC)


def test_states_and_metrics(backend: IBMBackend, local: LocalPlatform) -> None:
    """A job is queued, runs and is done; its time stamps and usage say when and how long."""
    first, job = run(backend), run(backend)
    created = moment(local)
    local.advance(4)
    assert (first.status(), job.status()) == ("RUNNING", "QUEUED")
    assert job.metrics()["timestamps"]["running"] is None
    assert (job.usage(), job.metrics()["usage"]["status"]) == (0, "pending")
    assert not job.in_final_state()
    local.advance(2 * JOB_SECONDS)
    assert job.done()
    assert not any((job.errored(), job.cancelled(), job.running()))
    times = {
        name: datetime.fromisoformat(text) for name, text in job.metrics()["timestamps"].items()
    }
    assert (times["created"] - created).total_seconds() == pytest.approx(0, abs=1e-3)
    assert (times["running"] - created).total_seconds() == pytest.approx(JOB_SECONDS, abs=1e-3)
    assert (times["finished"] - times["running"]).total_seconds() == pytest.approx(JOB_SECONDS)
    assert job.usage() == pytest.approx(JOB_SECONDS)
    assert job.usage(partial=True) == job.usage()
    assert job.usage_estimation["quantum_seconds"] is not None
    assert "qiskit_version" in job.metrics()
    assert job.creation_date == times["created"]
    assert job.creation_date.utcoffset() == datetime.now().astimezone().utcoffset()


def test_usage_while_it_runs(backend: IBMBackend, local: LocalPlatform) -> None:
    """Before the end usage is zero; what is spent so far is told when asked for, and logs wait."""
    job = run(backend)
    local.advance(4)
    assert job.usage() == 0
    assert job.usage(partial=True) is not None
    assert job.logs() == ""


@legacy
def test_inputs_come_back(
    backend: IBMBackend, service: QiskitRuntimeService, local: LocalPlatform
) -> None:
    """What was submitted to each of the programs is read back as it was."""
    measured, prepared = isa(bell(), backend), isa(ground_state(), backend)
    observable = H2.apply_layout(prepared.layout)
    program = QuantumProgram(shots=7)
    program.append_circuit_item(measured)
    jobs = [
        SamplerV2(backend).run([(measured, None, 5)]),
        EstimatorV2(backend).run([(prepared, observable, None, 0.1)]),
        Executor(backend).run(program),
    ]
    found = [service.job(job.job_id()) for job in jobs]
    assert [job.primitive_id for job in found] == ["sampler", "estimator", "executor"]
    (sampled,) = found[0].inputs["pubs"]
    assert (sampled[0], sampled[2]) == (measured, 5)
    (estimated,) = found[1].inputs["pubs"]
    assert (estimated[0], estimated[3]) == (prepared, 0.1)
    assert found[2].inputs["quantum_program"].shots == 7
    assert found[2].inputs["quantum_program"].items[0].circuit == measured
    assert all(job.backend().name == "ibm_manila" for job in found)
    assert not any(job.private for job in found)
    local.advance(3 * JOB_SECONDS)
    assert all(job.result() is not None for job in found)


def test_options_of_the_environment(
    backend: IBMBackend, service: QiskitRuntimeService, api: httpx.Client
) -> None:
    """Image, log level and tags of a job are kept with it."""
    job = run(backend, image="name:tag", log_level="DEBUG", job_tags=["a tag, with a comma", "ü"])
    found = service.job(job.job_id())
    assert found.image == "name:tag"
    assert sorted(found.tags) == ["a tag, with a comma", "ü"]
    assert api.get(f"/jobs/{job.job_id()}").json()["log_level"] == "DEBUG"
    for tag in found.tags:
        assert [item.job_id() for item in service.jobs(job_tags=[tag])] == [job.job_id()]
    assert service.jobs(job_tags=["a tag"]) == []
    assert found.update_tags(["x", "x"]) == ["x"]
    assert found.update_tags([]) == []
    assert service.job(job.job_id()).tags == []


def test_private(
    backend: IBMBackend, service: QiskitRuntimeService, api: httpx.Client, local: LocalPlatform
) -> None:
    """A private job never shows its parameters, and its result can be read once."""
    job = run(backend, private=True)
    local.advance(JOB_SECONDS)
    found = service.job(job.job_id())
    assert found.private
    assert found.inputs == {}
    listed = api.get("/jobs", params={"limit": 1, "exclude_params": "false"}).json()["jobs"]
    assert listed[0]["id"] == job.job_id()
    assert listed[0]["params"] == {}
    assert found.result() is not None
    assert found.result() is None
    assert job.result() is None
    assert api.get(f"/jobs/{job.job_id()}/results").status_code == 204


def test_a_failed_job(
    service: QiskitRuntimeService, api: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that cannot be run fails; its message, its result and its log say why."""
    body = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": [["nothing"]]}}
    job = service.job(api.post("/jobs", json=body).json()["id"])
    with pytest.raises(RuntimeJobFailureError, match="Unable to retrieve job result"):
        job.result(timeout=30)
    assert job.errored()
    message = job.error_message()
    assert message is not None
    assert job.job_id() in message
    assert "Traceback" in job.logs()
    assert "only available after" not in caplog.text
    assert job.metrics()["usage"]["status"] == "complete"


def test_a_job_beyond_its_time(backend: IBMBackend, local: LocalPlatform) -> None:
    """A job is ended at its maximum execution time; the client calls that an error of its own."""
    job = run(backend, limit=4)
    after = run(backend, limit=11)
    local.advance(4)
    assert job.status() == "ERROR"
    with pytest.raises(RuntimeJobMaxTimeoutError, match="Error code 1305"):
        job.result()
    assert "ran longer than maximum execution time" in str(job.error_message())
    assert job.usage() == pytest.approx(4)
    local.advance(JOB_SECONDS)
    assert after.status() == "DONE"


def test_cancel(backend: IBMBackend, service: QiskitRuntimeService, local: LocalPlatform) -> None:
    """A queued and a running job are cancelled at once; an ended one cannot be any more."""
    running, queued, next_one = (run(backend) for _ in range(3))
    local.advance(4)
    queued.cancel()
    assert service.job(queued.job_id()).cancelled()
    running.cancel()
    assert service.job(running.job_id()).status() == "CANCELLED"
    assert running.usage() == pytest.approx(4)
    assert queued.usage() == 0
    with pytest.raises(RuntimeInvalidStateError, match="Job was cancelled"):
        service.job(running.job_id()).result()
    with pytest.raises(RuntimeInvalidStateError, match="409 Client Error"):
        running.cancel()
    local.advance(JOB_SECONDS)
    assert next_one.status() == "DONE"
    with pytest.raises(RuntimeInvalidStateError, match="cannot be cancelled"):
        next_one.cancel()


def test_delete(backend: IBMBackend, service: QiskitRuntimeService, local: LocalPlatform) -> None:
    """A job is deleted in whatever state, and is then gone: from listings too, and for good."""
    done = run(backend)
    local.advance(JOB_SECONDS)
    running, queued, last = (run(backend) for _ in range(3))
    local.advance(1)
    for job in (done, running, queued):
        service.delete_job(job.job_id())
        for gone in (service.job, service.delete_job):
            with pytest.raises(RuntimeJobNotFound):
                gone(job.job_id())
    ids = {job.job_id() for job in service.jobs(limit=None)}
    assert ids.isdisjoint({done.job_id(), running.job_id(), queued.job_id()})
    local.advance(JOB_SECONDS)
    assert last.status() == "DONE"


def test_waiting_has_a_limit(
    backend: IBMBackend, caplog: pytest.LogCaptureFixture, local: LocalPlatform
) -> None:
    """Who waits no longer than some time is told that it is over, and the job goes on."""
    caplog.set_level(logging.WARNING, logger="qiskit_ibm_runtime")
    job = run(backend)
    with pytest.raises(RuntimeJobTimeoutError):
        job.result(timeout=0.1)
    with pytest.raises(RuntimeJobTimeoutError):
        job.wait_for_final_state(timeout=0.1)
    assert job.logs() == ""
    assert "only available after the job finishes" in caplog.text
    local.advance(JOB_SECONDS)
    assert job.result() is not None


def test_properties_of_its_time(backend: IBMBackend, local: LocalPlatform) -> None:
    """A job's properties are those of the backend when it ran, whatever came later."""
    job = run(backend)
    local.advance(JOB_SECONDS)
    before = job.properties()
    local.advance(86_400)
    local.calibrate("ibm_manila")
    assert job.properties(refresh=True) == before
    backend.refresh()
    assert backend.properties(refresh=True).last_update_date > before.last_update_date
