"""Batches, and what a plan allows: batches everywhere, sessions not on the open plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from qiskit_ibm_runtime import Batch, IBMRuntimeError, Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import RuntimeJobFailureError
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform
from session_block.local_platform.config.layout import AccountSpec, InstanceSpec, Layout

from .support import bell, isa

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService, RuntimeJobV2

JOB_SECONDS = 10.0
OPEN = "local-platform-open"


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform whose time is advanced by the tests, and whose jobs take ten seconds."""
    with LocalPlatform(time_scale=0, charges="simulated", job_seconds=JOB_SECONDS) as running:
        yield running


@pytest.fixture(scope="module")
def service(local: LocalPlatform) -> QiskitRuntimeService:
    """The client, connected to that platform."""
    return local.service()


@pytest.fixture(scope="module")
def backend(service: QiskitRuntimeService) -> IBMBackend:
    """The smallest backend."""
    return service.backend("ibm_manila")


@pytest.fixture
def batch(backend: IBMBackend, local: LocalPlatform) -> Iterator[Batch]:
    """A batch, which is over when the test is."""
    opened = Batch(backend)
    yield opened
    opened.cancel()
    local.advance(10 * JOB_SECONDS)


def run(mode: Session | IBMBackend, backend: IBMBackend) -> RuntimeJobV2:
    """Submit a job."""
    return Sampler(mode).run([isa(bell(), backend)])


def state(batch: Batch) -> object:
    """Return the state of a batch."""
    found = batch.details()
    assert found is not None
    return found["state"]


def test_life(batch: Batch, backend: IBMBackend, local: LocalPlatform) -> None:
    """A batch opens, becomes active, rests when idle, wakes, and closes when its jobs are done."""
    assert (state(batch), batch.status()) == ("open", "Pending")
    run(batch, backend)
    local.advance(1)
    assert (state(batch), batch.status()) == ("active", "In progress, accepting new jobs")
    local.advance(JOB_SECONDS + 60)
    assert (state(batch), batch.status()) == ("inactive", "Pending")
    last = run(batch, backend)
    local.advance(1)
    batch.close()
    assert batch.status() == "In progress, not accepting new jobs"
    local.advance(JOB_SECONDS)
    assert last.status() == "DONE"
    assert batch.status() == "Closed"
    details = batch.details()
    assert details is not None
    assert details["mode"] == "batch"
    assert details["max_time"] == 28_800


def test_usage_is_that_of_the_jobs(batch: Batch, backend: IBMBackend, local: LocalPlatform) -> None:
    """A batch is charged for its jobs' time on the QPU, and not for the time between them."""
    jobs = [run(batch, backend)]
    local.advance(JOB_SECONDS + 30)
    jobs.append(run(batch, backend))
    local.advance(JOB_SECONDS + 30)
    assert batch.usage() == pytest.approx(2 * JOB_SECONDS)
    assert batch.usage() == pytest.approx(sum(job.usage() for job in jobs))


def test_it_is_not_exclusive(batch: Batch, backend: IBMBackend, local: LocalPlatform) -> None:
    """Others' jobs run between those of a batch, in the order in which they came."""
    first = run(batch, backend)
    other = run(backend, backend)
    second = run(batch, backend)
    states = []
    for _ in range(3):
        local.advance(JOB_SECONDS)
        states.append([job.status() for job in (first, other, second)])
    assert states[0] == ["DONE", "RUNNING", "QUEUED"]
    assert states[1] == ["DONE", "DONE", "RUNNING"]
    assert states[2] == ["DONE", "DONE", "DONE"]


def test_cancel(batch: Batch, backend: IBMBackend, local: LocalPlatform) -> None:
    """What is queued in a cancelled batch fails with code 1217; the running job finishes."""
    running, queued = (run(batch, backend) for _ in range(2))
    local.advance(1)
    batch.cancel()
    assert (running.status(), queued.status()) == ("RUNNING", "ERROR")
    with pytest.raises(RuntimeJobFailureError, match=r"Error code 1217; Session .* been closed"):
        queued.result()
    assert queued.usage() == 0
    local.advance(JOB_SECONDS)
    assert running.status() == "DONE"
    assert batch.status() == "Closed"


def test_from_id(
    batch: Batch, backend: IBMBackend, service: QiskitRuntimeService, local: LocalPlatform
) -> None:
    """A batch is found by its ID and used; a closed one refuses jobs with IBM's code."""
    again = Batch.from_id(batch.session_id, service)
    assert run(again, backend).session_id == batch.session_id
    local.advance(JOB_SECONDS)
    batch.close()
    with pytest.raises(IBMRuntimeError, match='"code":1217'):
        run(again, backend)
    assert [job.session_id for job in service.jobs(session_id=batch.session_id)] == [
        batch.session_id
    ]


def test_the_context_manager_closes(
    service: QiskitRuntimeService, backend: IBMBackend, local: LocalPlatform
) -> None:
    """Leaving a batch's block closes it, and what it has still runs."""
    with Batch(backend, max_time="20m") as batch:
        job = Sampler().run([isa(bell(), backend)])
    local.advance(1)
    assert batch.status() == "In progress, not accepting new jobs"
    local.advance(JOB_SECONDS)
    assert service.job(job.job_id()).status() == "DONE"
    assert batch.status() == "Closed"


def test_no_session_on_the_open_plan(local: LocalPlatform) -> None:
    """The open plan refuses a session with IBM's code 1352 and IBM's words."""
    backend = local.service(instance=OPEN).backend("ibm_fez")
    said = '"code":1352,"message":"You are not authorized to run a session when using the open plan'
    with pytest.raises(RequestsApiError, match=said) as refused:
        Session(backend)
    assert refused.value.status_code == 400


def test_batches_and_jobs_on_the_open_plan(local: LocalPlatform) -> None:
    """On the open plan batches, of ten minutes at most, and single jobs work."""
    backend = local.service(instance=OPEN).backend("ibm_fez")
    batch = Batch(backend)
    details = batch.details()
    assert details is not None
    assert details["max_time"] == 600
    jobs = [run(batch, backend), run(backend, backend)]
    local.advance(2 * JOB_SECONDS)
    assert [job.status() for job in jobs] == ["DONE", "DONE"]
    batch.close()
    with pytest.raises(RequestsApiError, match="max_ttl") as refused:
        Batch(backend, max_time=601)
    assert refused.value.status_code == 400


def test_the_usage_limit() -> None:
    """An instance that has used up its time says so, warns, and takes no more jobs."""
    spec = InstanceSpec(name="small", backends=("ibm_manila",), usage_limit_seconds=15)
    layout = Layout(accounts=(AccountSpec(instances=(spec,)),))
    with LocalPlatform(
        time_scale=0, charges="simulated", job_seconds=JOB_SECONDS, layout=layout
    ) as local:
        service = local.service()
        backend = service.backend("ibm_manila")
        run(backend, backend)
        local.advance(JOB_SECONDS)
        assert service.usage()["usage_remaining_seconds"] == 5
        run(backend, backend)
        local.advance(JOB_SECONDS)
        usage = service.usage()
        assert usage["usage_limit_reached"]
        assert usage["usage_consumed_seconds"] == 2 * JOB_SECONDS
        assert usage["usage_remaining_seconds"] == 0
        with (
            pytest.warns(UserWarning, match="has met its usage limit"),
            # The status of IBM's public API description for "Usage exceeds instance limit".
            pytest.raises(IBMRuntimeError, match=r"409 Client Error.*limit of instance small"),
        ):
            run(backend, backend)
