"""Which refusal of the platform becomes which exception of the client, row by row."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import IBMRuntimeError, Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import (
    IBMNotAuthorizedError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobNotFound,
    RuntimeProgramNotFound,
)
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform

from .support import bell, isa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService, RuntimeJobV2

CODE = 4321


@pytest.fixture(scope="module")
def platform_of_its_own() -> Iterator[LocalPlatform]:
    """A platform whose jobs end at once."""
    with LocalPlatform(interactive_seconds=1) as running:
        yield running


@pytest.fixture
def local(platform_of_its_own: LocalPlatform) -> Iterator[LocalPlatform]:
    """That platform, without faults before and after each test."""
    yield platform_of_its_own
    platform_of_its_own.clear_faults()


@pytest.fixture(scope="module")
def service(platform_of_its_own: LocalPlatform) -> QiskitRuntimeService:
    """The client, connected to that platform."""
    return platform_of_its_own.service()


@pytest.fixture(scope="module")
def backend(service: QiskitRuntimeService) -> IBMBackend:
    """The smallest backend."""
    return service.backend("ibm_manila")


@pytest.fixture
def session(backend: IBMBackend) -> Iterator[Session]:
    """A session of the test's own."""
    opened = Session(backend)
    identity = opened.session_id
    yield opened
    opened._session_id = identity
    opened.cancel()


def run(mode: Session | IBMBackend, backend: IBMBackend) -> RuntimeJobV2:
    """Submit a job."""
    return Sampler(mode).run([isa(bell(), backend)])


def refuse(local: LocalPlatform, method: str, path: str, status: int, **more: Any) -> None:
    """Let the next call of an operation, or more of them, get a status and a code."""
    local.add_fault(kind="status", method=method, path=path, status=status, code=CODE, **more)


@pytest.mark.parametrize(
    ("path", "use"),
    [
        ("/jobs", lambda service, *_: service.jobs()),
        ("/jobs", lambda _, backend, *__: run(backend, backend)),
        ("/jobs/{job_id}", lambda service, _, __, job: service.job(job.job_id())),
        ("/jobs/{job_id}", lambda *given: given[3].inputs),
        ("/jobs/{job_id}/cancel", lambda *given: given[3].cancel()),
        ("/jobs/{job_id}/metrics", lambda *given: given[3].metrics()),
        ("/jobs/{job_id}/tags", lambda *given: given[3].update_tags(["x"])),
        ("/sessions", lambda _, backend, *__: Session(backend)),
        ("/sessions/{session_id}", lambda *given: given[2].details()),
        ("/sessions/{session_id}", lambda *given: given[2].close()),
        ("/sessions/{session_id}/close", lambda *given: given[2].cancel()),
        ("/instances/usage", lambda service, *_: service.usage()),
        ("/backends/{name}/status", lambda _, backend, *__: backend.status()),
    ],
)
def test_401(
    local: LocalPlatform,
    service: QiskitRuntimeService,
    backend: IBMBackend,
    session: Session,
    path: str,
    use: Callable[..., object],
) -> None:
    """Whatever the call, 401 is an IBMNotAuthorizedError and wrapped in nothing else."""
    job = run(backend, backend)
    refuse(local, "*", path, 401)
    with pytest.raises(IBMNotAuthorizedError, match=f'"code":{CODE}'):
        use(service, backend, session, job)


def test_submit_404(service: QiskitRuntimeService, backend: IBMBackend, session: Session) -> None:
    """An unknown program, and an unknown session too, is a RuntimeProgramNotFound."""
    with pytest.raises(RuntimeProgramNotFound, match="Program not found: nothing"):
        service._run("nothing", {"pubs": []}, {"backend": backend})
    session._session_id = "unknown"
    with pytest.raises(RuntimeProgramNotFound, match="Session not found: unknown"):
        run(session, backend)


@pytest.mark.parametrize("status", [400, 403, 409, 429])
def test_submit_refused(local: LocalPlatform, backend: IBMBackend, status: int) -> None:
    """Any other 4xx of a submit is an IBMRuntimeError that has status and code in its text only."""
    refuse(local, "POST", "/jobs", status)
    with pytest.raises(IBMRuntimeError, match="Failed to run program") as refused:
        run(backend, backend)
    text = str(refused.value)
    assert f"{status} Client Error" in text
    assert f'"code":{CODE},"message":"A fault rule says so."' in text
    assert json.loads(text[text.index("{") : text.rindex("}") + 1])["trace"]
    assert type(refused.value) is IBMRuntimeError


@pytest.mark.nightly
@pytest.mark.parametrize("status", [500, 503])
def test_submit_while_the_server_is_down(
    local: LocalPlatform, backend: IBMBackend, status: int
) -> None:
    """A lasting 5xx is tried six times in fifteen seconds, and its status is then lost."""
    refuse(local, "POST", "/jobs", status, times=None)
    before = time.monotonic()
    with pytest.raises(IBMRuntimeError, match=r"Failed to run program.*Max retries exceeded"):
        run(backend, backend)
    assert 14 < time.monotonic() - before < 30
    (rule,) = local.faults()
    assert rule["used"] == 6


@pytest.mark.nightly
def test_looking_for_a_session_while_the_server_is_down(
    local: LocalPlatform, service: QiskitRuntimeService, session: Session
) -> None:
    """Looking for a session goes through all retries twice before the client gives up."""
    refuse(local, "GET", "/sessions/{session_id}", 500, times=None)
    with pytest.raises(RequestsApiError) as refused:
        Session.from_id(session.session_id, service)
    assert refused.value.status_code == -1
    (rule,) = local.faults()
    assert rule["used"] == 12


def test_a_job_that_is_gone_while_it_is_waited_for(
    service: QiskitRuntimeService, backend: IBMBackend
) -> None:
    """A failing look at a job is a RequestsApiError with the status, and no IBMRuntimeError."""
    job = run(backend, backend)
    service.delete_job(job.job_id())
    for look in (job.status, job.result, job.wait_for_final_state, job.error_message):
        with pytest.raises(RequestsApiError, match="Job not found") as refused:
            look()
        assert refused.value.status_code == 404
        assert not isinstance(refused.value, IBMRuntimeError)


def test_polling_refused(local: LocalPlatform, backend: IBMBackend) -> None:
    """So is one with any other status, of the job or of its result."""
    job = run(backend, backend)
    refuse(local, "GET", "/jobs/{job_id}", 403)
    with pytest.raises(RequestsApiError) as refused:
        job.result()
    assert refused.value.status_code == 403
    refuse(local, "GET", "/jobs/{job_id}/results", 404)
    with pytest.raises(RequestsApiError) as refused:
        job.result()
    assert refused.value.status_code == 404
    assert job.result() is not None


def test_opening_refused(local: LocalPlatform, backend: IBMBackend) -> None:
    """A session that cannot be opened is a RequestsApiError with the status."""
    refuse(local, "POST", "/sessions", 403)
    with pytest.raises(RequestsApiError, match=f'"code":{CODE}') as refused:
        Session(backend)
    assert refused.value.status_code == 403


def test_closing_refused(local: LocalPlatform, session: Session) -> None:
    """Closing an unknown session passes in silence; any other refusal is an IBMRuntimeError."""
    refuse(local, "PATCH", "/sessions/{session_id}", 409)
    with pytest.raises(IBMRuntimeError, match=r"Error closing session.*409 Client Error"):
        session.close()
    refuse(local, "PATCH", "/sessions/{session_id}", 500)
    with pytest.raises(IBMRuntimeError, match=r"Error closing session.*500 Server Error"):
        session.close()
    assert session.status() == "Pending"
    session._session_id = "unknown"
    session.close()


def test_looking_at_and_cancelling_an_unknown_session(session: Session) -> None:
    """Both are RequestsApiErrors with status 404."""
    session._session_id = "unknown"
    for use in (session.cancel, session.details, session.usage, session.status):
        with pytest.raises(RequestsApiError, match="Session not found") as refused:
            use()
        assert refused.value.status_code == 404


def test_jobs_refused(local: LocalPlatform, service: QiskitRuntimeService) -> None:
    """An unknown job is a RuntimeJobNotFound; what else goes wrong says what was wanted."""
    for use in (service.job, service.delete_job):
        with pytest.raises(RuntimeJobNotFound, match="Job not found"):
            use("unknown")
    refuse(local, "GET", "/jobs/{job_id}", 403)
    with pytest.raises(IBMRuntimeError, match=r"Failed to retrieve job.*403"):
        service.job("unknown")
    refuse(local, "DELETE", "/jobs/{job_id}", 403)
    with pytest.raises(IBMRuntimeError, match=r"Failed to delete job.*403"):
        service.delete_job("unknown")


def test_what_a_job_is_asked_refused(local: LocalPlatform, backend: IBMBackend) -> None:
    """Cancelling, metrics, logs and tags fail each in its way; missing logs are empty ones."""
    job = run(backend, backend)
    job.result()
    with pytest.raises(RuntimeInvalidStateError, match=r"Job cannot be cancelled.*409"):
        job.cancel()
    refuse(local, "POST", "/jobs/{job_id}/cancel", 400)
    with pytest.raises(IBMRuntimeError, match=r"Failed to cancel job.*400"):
        job.cancel()
    refuse(local, "GET", "/jobs/{job_id}/metrics", 404, times=2)
    for use in (job.metrics, job.usage):
        with pytest.raises(IBMRuntimeError, match=r"Failed to get job metadata.*404"):
            use()
    refuse(local, "GET", "/jobs/{job_id}/logs", 404)
    assert job.logs() == ""
    refuse(local, "GET", "/jobs/{job_id}/logs", 403)
    with pytest.raises(IBMRuntimeError, match=r"Failed to get job logs.*403"):
        job.logs()
    with pytest.raises(RequestsApiError, match='"code":1208') as refused:
        job.update_tags([f"tag {number}" for number in range(9)])
    assert refused.value.status_code == 400
    assert job.tags == []


def test_how_jobs_end(local: LocalPlatform, backend: IBMBackend) -> None:
    """Failed, cancelled for its time, and cancelled are three exceptions, with code and reason."""
    expected: dict[tuple[str, int | None], tuple[str, type[Exception], str]] = {
        ("failed", 9707): ("ERROR", RuntimeJobFailureError, "result. Error code 9707; because"),
        ("failed", None): ("ERROR", RuntimeJobFailureError, "result. because"),
        ("cancelled", 1305): ("ERROR", RuntimeJobMaxTimeoutError, "Error code 1305; because"),
        ("cancelled", None): ("CANCELLED", RuntimeInvalidStateError, "Job was cancelled"),
    }
    for (state, code), (status, kind, said) in expected.items():
        local.add_fault(kind="end_job", state=state, reason="because", reason_code=code)
        job = run(backend, backend)
        with pytest.raises(kind, match=said):
            job.result()
        assert job.status() == status


def test_backends_refused(service: QiskitRuntimeService, backend: IBMBackend) -> None:
    """A backend that is none, or is another instance's, is not found, and takes no job."""
    for name in ("ibm_nowhere", "ibm_aachen"):
        with pytest.raises(QiskitBackendNotFoundError):
            service.backend(name)
        with pytest.raises(RequestsApiError, match="Backend not found") as refused:
            service._active_api_client.program_run("sampler", name, {"pubs": []}, None, None, None)
        assert refused.value.status_code == 404
        assert name not in str(refused.value)
    with pytest.raises(QiskitBackendNotFoundError):
        service.backend(backend.name, calibration_id="none")
