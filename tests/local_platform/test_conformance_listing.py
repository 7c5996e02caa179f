"""The list of jobs: filters, order and pages, as the client asks for them. Time stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from qiskit_ibm_runtime import Batch, EstimatorV2, IBMInputValueError, SamplerV2, Session

from session_block.local_platform import LocalPlatform

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService, RuntimeJobV2

pytestmark = pytest.mark.filterwarnings(
    "ignore:The (Estimator|Sampler)V2 class is deprecated:DeprecationWarning"
)
MANY = 45
STEP = 100.0


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform whose time is advanced by the tests, and whose jobs take ten seconds."""
    with LocalPlatform(time_scale=0, job_seconds=10) as running:
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
def api(local: LocalPlatform) -> Iterator[httpx.Client]:
    """Plain HTTP to the platform's API, with credentials."""
    with raw_client(local.info) as client:
        yield client


@pytest.fixture(scope="module")
def many(local: LocalPlatform) -> list[str]:
    """More jobs of one tag than a page of the client holds, by ID, oldest first."""
    body = {
        "program_id": "sampler",
        "backend": "ibm_nairobi",
        "params": {"pubs": []},
        "tags": ["many"],
    }
    with raw_client(local.info) as api:
        return [api.post("/jobs", json=body).json()["id"] for _ in range(MANY)]


def run(mode: Session | IBMBackend, backend: IBMBackend, *tags: str) -> RuntimeJobV2:
    """Submit a sampler job with tags."""
    options = {"environment": {"job_tags": list(tags)}}
    return SamplerV2(mode, options=options).run([isa(bell(), backend)])


def ids(jobs: list[RuntimeJobV2]) -> list[str]:
    """Return the jobs' IDs."""
    return [job.job_id() for job in jobs]


def test_pages(service: QiskitRuntimeService, many: list[str]) -> None:
    """All jobs, the first ones, those after some: each once and in order, newest first or last."""
    newest = many[::-1]
    assert ids(service.jobs(limit=None, job_tags=["many"])) == newest
    assert ids(service.jobs(limit=None, job_tags=["many"], descending=False)) == many
    assert ids(service.jobs(job_tags=["many"])) == newest[:10]
    assert ids(service.jobs(limit=7, skip=40, job_tags=["many"])) == newest[40:]
    assert ids(service.jobs(limit=3, skip=1, job_tags=["many"], descending=False)) == many[1:4]
    assert service.jobs(limit=None, skip=MANY, job_tags=["many"]) == []


def test_raw_pages(api: httpx.Client, many: list[str]) -> None:
    """The count of a page is that of all that match, whatever the page."""
    for limit, offset in ((1, 0), (20, 20), (200, 0), (5, 43), (5, 1000)):
        query = {"tags": "many", "limit": limit, "offset": offset}
        page = api.get("/jobs", params=query).json()
        assert (page["count"], page["limit"], page["offset"]) == (MANY, limit, offset)
        assert [job["id"] for job in page["jobs"]] == many[::-1][offset : offset + limit]


def test_listed_like_looked_up(api: httpx.Client, many: list[str]) -> None:
    """A job in a list is the same as one by itself; parameters are there if not excluded."""
    query = {"tags": "many", "limit": 1, "exclude_params": "true"}
    (listed,) = api.get("/jobs", params=query).json()["jobs"]
    path = f"/jobs/{many[-1]}"
    assert listed == api.get(path, params={"exclude_params": "true"}).json()
    assert "params" not in listed
    (whole,) = api.get("/jobs", params={**query, "exclude_params": "false"}).json()["jobs"]
    assert whole["params"] == {"pubs": []}
    assert whole == api.get(path).json()


def test_pending_or_not(
    service: QiskitRuntimeService, backend: IBMBackend, local: LocalPlatform
) -> None:
    """Queued and running jobs are pending; done, cancelled and failed ones are not."""
    done, running, queued, cancelled = (run(backend, backend, "state") for _ in range(4))
    cancelled.cancel()
    local.advance(11)
    pending = ids(service.jobs(job_tags=["state"], pending=True))
    assert pending == ids([queued, running])
    ended = ids(service.jobs(job_tags=["state"], pending=False))
    assert ended == ids([cancelled, done])
    local.advance(20)
    assert service.jobs(job_tags=["state"], pending=True) == []


def test_programs_backends_and_sessions(
    service: QiskitRuntimeService, backend: IBMBackend, local: LocalPlatform
) -> None:
    """Jobs are found by program, backend and session; what nothing matches is empty."""
    session, batch = Session(backend), Batch(backend)
    sampled = [run(mode, backend, "by") for mode in (session, batch, backend)]
    circuit = isa(bell(), backend).remove_final_measurements(inplace=False)
    estimator = EstimatorV2(backend, options={"environment": {"job_tags": ["by"]}})
    estimated = estimator.run([(circuit, "Z" * circuit.num_qubits)])

    def found(**filters: Any) -> list[str]:
        return ids(service.jobs(job_tags=["by"], **filters))

    assert found(program_id="estimator") == ids([estimated])
    assert found(program_id="sampler") == ids(sampled[::-1])
    assert found(program_id="executor") == []
    assert found(backend_name="ibm_manila") == ids([estimated, *sampled[::-1]])
    assert found(backend_name="ibm_nairobi") == []
    assert found(session_id=session.session_id) == ids([sampled[0]])
    assert found(session_id=batch.session_id) == ids([sampled[1]])
    assert found(session_id="unknown") == []
    session.close()
    batch.close()
    local.advance(100)


def test_tags(service: QiskitRuntimeService, backend: IBMBackend) -> None:
    """Several tags must all be there, whole; the client refuses what is no text."""
    both, one = run(backend, backend, "red", "blue"), run(backend, backend, "red")
    assert ids(service.jobs(job_tags=["red"])) == ids([one, both])
    assert ids(service.jobs(job_tags=["blue", "red"])) == ids([both])
    assert service.jobs(job_tags=["red", "green"]) == []
    assert service.jobs(job_tags=["re"]) == []
    with pytest.raises(IBMInputValueError):
        service.jobs(job_tags=[1])


def test_times(service: QiskitRuntimeService, backend: IBMBackend, local: LocalPlatform) -> None:
    """Jobs are found by when they were created, both ends included, in local time or UTC."""
    jobs = []
    for number in range(8):
        # Moments that are no whole microseconds, in which the API writes them.
        local.advance(STEP + number * 0.0123456789)
        jobs.append(run(backend, backend, "time"))
    created = [job.creation_date for job in jobs]
    moments = [item.astimezone().replace(tzinfo=None) for item in created]
    little = timedelta(microseconds=1)

    def found(after: datetime | None, before: datetime | None) -> list[str]:
        listed = service.jobs(job_tags=["time"], created_after=after, created_before=before)
        return ids(listed[::-1])

    assert found(moments[1], None) == ids(jobs[1:])
    assert found(moments[1] + little, None) == ids(jobs[2:])
    assert found(None, moments[1]) == ids(jobs[:2])
    assert found(None, moments[1] - little) == ids(jobs[:1])
    for job, moment in zip(jobs, moments, strict=True):
        assert found(moment, moment) == ids([job])
    assert found(moments[-1] + little, None) == []
    assert found(created[1].astimezone(UTC), None) == ids(jobs[1:])


def test_times_of_other_zones(api: httpx.Client, local: LocalPlatform) -> None:
    """The API itself reads the offset of a time."""
    body = {"program_id": "sampler", "backend": "ibm_nairobi", "params": {"pubs": []}}
    local.advance(STEP)
    job_id = api.post("/jobs", json=body).json()["id"]
    moment = datetime.fromtimestamp(local.now() - STEP / 2, timezone(timedelta(hours=5)))
    page = api.get("/jobs", params={"created_after": moment.isoformat()}).json()
    assert [job["id"] for job in page["jobs"]] == [job_id]


def test_jobs_on_mocks(
    service: QiskitRuntimeService, backend: IBMBackend, local: LocalPlatform
) -> None:
    """A dry run goes to the backend's mock, and is listed only when mocks are asked for."""
    options = {"environment": {"job_tags": ["dry"]}}
    job = SamplerV2(backend, options=options).run([isa(bell(), backend)], dry_run=True)
    assert job.backend().name == "mock_manila"
    assert service.jobs(job_tags=["dry"]) == []
    assert ids(service.jobs(job_tags=["dry"], include_mocks=True)) == ids([job])
    local.advance(10)
    assert service.job(job.job_id()).result() is not None
    assert job.usage() == 0
