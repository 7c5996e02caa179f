from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from qiskit_ibm_runtime import Batch, Session
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMRuntimeError,
    RuntimeInvalidStateError,
)
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block import local_platform

from .support import bell, isa

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx
    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService


def wait_for(session: Session, state: str) -> dict[str, Any]:
    """Wait for a session's state and return the details with it."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        details = session.details()
        if details["state"] == state:
            return details
        time.sleep(0.05)
    raise AssertionError(f"the session did not become {state}: {session.details()}")


def states(api: httpx.Client, session: Session) -> list[str]:
    """Return the states that a session has had; version 0.50 of the client leaves them out."""
    transitions = api.get(f"/sessions/{session.session_id}").json()["timestamps"]
    return [entry["status"] for entry in transitions]


def test_open_run_reattach_close(
    service: QiskitRuntimeService, backend: IBMBackend, api: httpx.Client
) -> None:
    """A session opens, runs, is found again by its ID, closes, and reports its usage."""
    session = Session(backend, max_time="10m")
    assert session.status() == "Pending"
    again = Session.from_id(session.session_id, service)
    job = Sampler(again).run([isa(bell(), backend)])
    job.result()
    assert job.session_id == session.session_id
    assert session.status() == "In progress, accepting new jobs"
    session.close()
    details = session.details()
    assert details["max_time"] == 600
    assert states(api, session) == ["open", "active", "closed"]
    assert session.status() == "Closed"
    assert 0 < session.usage() < 30


def test_submit_after_close(backend: IBMBackend) -> None:
    """A job for a closed session is refused with IBM's code 1217."""
    session = Session(backend)
    session.close()
    session._active = True
    with pytest.raises(IBMRuntimeError, match='"code":1217,"message":"Session has been closed'):
        Sampler(session).run([isa(bell(), backend)])


def test_batch(service: QiskitRuntimeService, backend: IBMBackend) -> None:
    """A batch runs jobs, is charged by them, and is no session."""
    batch = Batch(backend)
    job = Sampler(batch).run([isa(bell(), backend)])
    job.result()
    assert batch.usage() == pytest.approx(job.usage())
    batch.close()
    with pytest.raises(IBMInputValueError, match="execution mode batch instead of dedicated"):
        Session.from_id(batch.session_id, service)


@pytest.mark.rest
def test_cancel(tmp_path: Path, connect: Callable[..., QiskitRuntimeService]) -> None:
    """Cancelling a session cancels its queued jobs; the running one finishes."""
    info = local_platform.start(tmp_path, charges="simulated", job_seconds=4)
    try:
        backend = connect(info).backend("ibm_nairobi")
        session = Session(backend)
        first, *rest = [Sampler(session).run([isa(bell(), backend)]) for _ in range(3)]
        while first.status() == "QUEUED":
            continue
        session.cancel()
        assert [job.status() for job in rest] == ["CANCELLED", "CANCELLED"]
        with pytest.raises(RuntimeInvalidStateError):
            rest[-1].result()
        first.wait_for_final_state()
        assert first.status() == "DONE"
        assert wait_for(session, "closed")["accepting_jobs"] is False
    finally:
        local_platform.stop(tmp_path)


def test_interactive_and_maximum_time(
    service: QiskitRuntimeService, backend: IBMBackend, api: httpx.Client
) -> None:
    """A session rests when idle, wakes for the next job, and closes at its maximum time."""
    body = {"mode": "dedicated", "backend": backend.name, "max_ttl": 5, "interactive_ttl": 1}
    session = Session.from_id(api.post("/sessions", json=body).json()["id"], service)
    Sampler(session).run([isa(bell(), backend)]).result()
    assert wait_for(session, "inactive")
    assert session.status() == "Pending"
    Sampler(session).run([isa(bell(), backend)]).result()
    assert session.details()["state"] == "active"
    wait_for(session, "closed")
    told = states(api, session)
    assert told[:4] == ["open", "active", "inactive", "active"]
    assert told[-1] == "closed"
    assert session.usage() < 5


@pytest.mark.parametrize("seconds", [28_801, -1, "60", True])
def test_maximum_time_has_a_limit(api: httpx.Client, seconds: object) -> None:
    """A session of more than eight hours, or of no time at all, is refused."""
    body = {"mode": "dedicated", "backend": "ibm_manila", "max_ttl": seconds}
    assert api.post("/sessions", json=body).status_code == 400


def test_session_and_job_name_one_backend(api: httpx.Client) -> None:
    """A job for another backend than its session's is refused."""
    body = {"mode": "dedicated", "backend": "ibm_manila"}
    session_id = api.post("/sessions", json=body).json()["id"]
    job = {
        "program_id": "sampler",
        "backend": "ibm_nairobi",
        "session_id": session_id,
        "params": {"pubs": []},
    }
    assert api.post("/jobs", json=job).status_code == 400
    unknown = api.post("/jobs", json={**job, "session_id": "unknown"})
    assert unknown.status_code == 404


def test_workloads(api: httpx.Client) -> None:
    """Sessions are listed as workloads, page after page, each once."""
    before = "2000-01-01T00:00:00Z"
    ids = [
        api.post("/sessions", json={"mode": "dedicated", "backend": "ibm_hanoi"}).json()["id"]
        for _ in range(3)
    ]
    query = {
        "mode": "session",
        "backend": "ibm_hanoi",
        "limit": "2",
        "sort": "-createdAt",
        "created_after": before,
    }
    first = api.get("/workloads", params=query).json()
    cursor = first["next"]["href"].split("next=")[1]
    second = api.get("/workloads", params={**query, "next": cursor}).json()
    back = second["previous"]["href"].split("previous=")[1]
    assert [item["id"] for item in first["workloads"]] == [ids[2], ids[1]]
    assert [item["id"] for item in second["workloads"]] == [ids[0]]
    assert "next" not in second
    again = api.get("/workloads", params={**query, "previous": back}).json()
    assert again["workloads"] == first["workloads"]
    assert first["total_count"] == 3
    assert api.get("/workloads", params={**query, "created_before": before}).json() == {
        "workloads": [],
        "total_count": 0,
        "limit": 2,
    }
