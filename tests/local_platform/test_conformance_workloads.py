"""The list of workloads, through the client's own request for it, and accounts that were saved."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qiskit_ibm_runtime import IBMBackend, RuntimeJobV2

    List = Callable[..., dict[str, Any]]

JOB_SECONDS = 10.0


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
def workloads(service: QiskitRuntimeService) -> List:
    """The client's request for workloads, which has no public method around it yet."""
    return service._active_api_client._api.workloads_get


def run(mode: Session | IBMBackend, backend: IBMBackend, *tags: str) -> RuntimeJobV2:
    """Submit a job with tags."""
    options = {"environment": {"job_tags": list(tags)}}
    return Sampler(mode, options=options).run([isa(bell(), backend)])


@pytest.fixture(scope="module")
def made(local: LocalPlatform, service: QiskitRuntimeService) -> dict[str, str]:
    """Two sessions, a batch and four jobs outside of them, each a minute after the one before."""
    first, second = service.backend("ibm_manila"), service.backend("ibm_nairobi")
    ids: dict[str, str] = {}

    def add(name: str, identity: str | None) -> None:
        assert identity is not None
        ids[name] = identity
        local.advance(60)

    closed = Session(first)
    run(closed, first)
    closed.close()
    add("closed", closed.session_id)
    add("fresh", Session(second).session_id)
    add("batch", Batch(first).session_id)
    add("done", run(first, first, "red", "blue").job_id())
    cancelled = run(second, second, "red")
    cancelled.cancel()
    add("cancelled", cancelled.job_id())
    add("failed", service._run("sampler", {"pubs": [["nothing"]]}, {"backend": first}).job_id())
    for name in ("running", "waiting"):
        ids[name] = run(first, first).job_id()
        local.advance(1)
    return ids


def names(made: dict[str, str], page: dict[str, Any]) -> list[str]:
    """Return the workloads of a page by their names here."""
    known = {identity: name for name, identity in made.items()}
    return [known[item["id"]] for item in page["workloads"]]


def test_all(made: dict[str, str], workloads: List) -> None:
    """Sessions, batches and jobs outside of them are in one list, oldest first by default."""
    page = workloads(limit=50)
    assert names(made, page) == list(made)
    assert page["total_count"] == len(made)
    assert names(made, workloads(limit=50, sort="-createdAt"))[-2:] == ["fresh", "closed"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"mode": "session"}, ["closed", "fresh"]),
        ({"mode": "batch"}, ["batch"]),
        ({"mode": "job"}, ["done", "cancelled", "failed", "running", "waiting"]),
        ({"status": ["pending"]}, ["fresh", "batch", "waiting"]),
        ({"status": ["in_progress"]}, ["running"]),
        ({"status": ["completed"]}, ["closed", "done"]),
        ({"status": ["canceled", "failed"]}, ["cancelled", "failed"]),
        ({"backend": "ibm_nairobi"}, ["fresh", "cancelled"]),
        ({"tags": ["red"]}, ["done", "cancelled"]),
        ({"tags": ["red", "blue"]}, ["done"]),
        ({"search": "blue"}, ["done"]),
        ({"search": "nothing at all"}, []),
        ({"mode": "job", "status": ["completed"], "backend": "ibm_manila"}, ["done"]),
    ],
    ids=str,
)
def test_filters(
    made: dict[str, str], workloads: List, query: dict[str, Any], expected: list[str]
) -> None:
    """Workloads are found by mode, status, backend, tags, and by what is in ID or tags."""
    page = workloads(limit=50, **query)
    assert names(made, page) == expected
    assert page["total_count"] == len(expected)


def test_found_by_id(made: dict[str, str], workloads: List) -> None:
    """A workload is found by its ID."""
    assert names(made, workloads(search=made["fresh"])) == ["fresh"]


def test_times(made: dict[str, str], workloads: List, service: QiskitRuntimeService) -> None:
    """Workloads are found by when they were created."""
    created = service.job(made["done"]).creation_date.replace(tzinfo=None)
    little = timedelta(seconds=1)
    assert names(made, workloads(limit=50, created_before=created - little)) == list(made)[:3]
    assert names(made, workloads(limit=50, created_after=created + little)) == list(made)[4:]
    between = workloads(created_after=created - little, created_before=created + little)
    assert names(made, between) == ["done"]


def test_pages(made: dict[str, str], workloads: List) -> None:
    """Cursors lead through all pages and back."""
    pages = [workloads(limit=3)]
    while "next" in pages[-1]:
        cursor = pages[-1]["next"]["href"].split("next=")[1]
        pages.append(workloads(limit=3, next=cursor))
    assert [name for page in pages for name in names(made, page)] == list(made)
    assert [len(page["workloads"]) for page in pages] == [3, 3, 2]
    back = workloads(limit=3, previous=pages[2]["previous"]["href"].split("previous=")[1])
    assert back["workloads"] == pages[1]["workloads"]


def test_workloads_of_one_moment() -> None:
    """What came at the same moment is listed in the order in which it came, on every page."""
    with LocalPlatform(time_scale=0) as still, raw_client(still.info) as api:
        body = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}
        paths = ["/jobs", "/sessions", "/jobs", "/sessions", "/jobs", "/jobs", "/sessions"]
        bodies = {"/jobs": body, "/sessions": {"mode": "batch"}}
        ids = [api.post(path, json=bodies[path]).json()["id"] for path in paths]
        pages = [api.get("/workloads", params={"limit": 3}).json()]
        while "next" in pages[-1]:
            cursor = pages[-1]["next"]["href"].split("next=")[1]
            pages.append(api.get("/workloads", params={"limit": 3, "next": cursor}).json())
        assert [item["id"] for page in pages for item in page["workloads"]] == ids
        latest = api.get("/workloads", params={"sort": "-createdAt"}).json()["workloads"]
        assert [item["id"] for item in latest] == ids[::-1]
        created = {item["created"] for item in latest}
        assert len(created) == 1
        both = {"created_after": min(created), "created_before": max(created)}
        assert api.get("/workloads", params=both).json()["total_count"] == len(ids)


def test_other_instances(made: dict[str, str], local: LocalPlatform) -> None:
    """Another instance's list has none of them."""
    assert made
    other = local.service(instance="local-platform-eu")
    assert other._active_api_client._api.workloads_get()["total_count"] == 0


def test_a_saved_account(
    local: LocalPlatform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An account saved with the platform's URL and key is all that the client needs later."""
    for name, value in local.environment.items():
        if not name.startswith("QISKIT_"):
            monkeypatch.setenv(name, value)
    file = str(tmp_path / "accounts.json")
    QiskitRuntimeService.save_account(
        token=local.info.token,
        url=local.info.url,
        instance="local-platform-eu",
        channel="ibm_quantum_platform",
        filename=file,
        name="mine",
    )
    service = QiskitRuntimeService(filename=file, name="mine")
    assert {backend.name for backend in service.backends()} == {"ibm_brussels", "ibm_aachen"}
    assert service.active_account()["token"] == local.info.token


def test_time_of_the_platform(local: LocalPlatform, service: QiskitRuntimeService) -> None:
    """What the platform dates bears its own time, a day ahead of the machine's if it is."""
    local.advance(86_400)
    backend = service.backend("ibm_manila")
    job = run(backend, backend)
    ahead = job.creation_date - datetime.now().astimezone()
    assert timedelta(hours=23) < ahead < timedelta(hours=26)
    assert job.job_id() in {item.job_id() for item in service.jobs(limit=5)}
