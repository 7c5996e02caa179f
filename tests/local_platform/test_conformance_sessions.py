"""A dedicated session through its whole life, as the client shows it. Time stands still here."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from qiskit_ibm_runtime import Batch, IBMInputValueError, IBMRuntimeError, Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError, RuntimeJobFailureError
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService, RuntimeJobV2

ACCEPTING = "In progress, accepting new jobs"
NOT_ACCEPTING = "In progress, not accepting new jobs"
JOB_SECONDS = 10.0
PENDING_SECONDS = 5.0


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform whose time is advanced by the tests, and whose jobs take ten seconds."""
    with LocalPlatform(
        time_scale=0, charges="simulated", job_seconds=JOB_SECONDS, pending_seconds=PENDING_SECONDS
    ) as running:
        yield running


@pytest.fixture(scope="module")
def service(local: LocalPlatform) -> QiskitRuntimeService:
    """The client, connected to that platform."""
    return local.service()


@pytest.fixture(scope="module")
def backend(service: QiskitRuntimeService) -> IBMBackend:
    """A backend that each test leaves to the next: no session of one outlives it."""
    return service.backend("ibm_manila")


@pytest.fixture
def session(backend: IBMBackend, local: LocalPlatform) -> Iterator[Session]:
    """A session of the longest time, which is over when the test is."""
    opened = Session(backend)
    yield opened
    opened.cancel()
    local.advance(JOB_SECONDS + PENDING_SECONDS)


def run(mode: Session | IBMBackend, backend: IBMBackend) -> RuntimeJobV2:
    """Submit a job."""
    return Sampler(mode).run([isa(bell(), backend)])


def details(session: Session) -> dict[str, Any]:
    """Return a session's details, of which there must be some."""
    found = session.details()
    assert found is not None
    return found


def seconds(session: Session, *states: str) -> list[float]:
    """Return the seconds between the transitions of a session, which must be these."""
    entries = details(session)["timestamps"]
    assert [entry["status"] for entry in entries] == list(states)
    moments = [datetime.fromisoformat(entry["timestamp"]).timestamp() for entry in entries]
    return [pytest.approx(later - earlier, abs=1e-3) for earlier, later in pairwise(moments)]


def test_every_status(session: Session, backend: IBMBackend, local: LocalPlatform) -> None:
    """A session passes through all its states, and the client's words for each follow."""
    assert session.status() == "Pending"
    run(session, backend)
    local.advance(1)
    assert (details(session)["state"], session.status()) == ("active", ACCEPTING)
    local.advance(JOB_SECONDS + 60)
    assert (details(session)["state"], session.status()) == ("pending_inactive", ACCEPTING)
    local.advance(PENDING_SECONDS)
    assert (details(session)["state"], session.status()) == ("inactive", "Pending")
    run(session, backend)
    local.advance(1)
    session.close()
    assert (details(session)["state"], session.status()) == ("active", NOT_ACCEPTING)
    local.advance(JOB_SECONDS)
    assert (details(session)["state"], session.status()) == ("pending_closed", NOT_ACCEPTING)
    local.advance(PENDING_SECONDS)
    assert (details(session)["state"], session.status()) == ("closed", "Closed")
    states = ["open", "active", "pending_inactive", "inactive", "active", "pending_closed"]
    spent = seconds(session, *states, "closed")
    assert spent[1:3] == [JOB_SECONDS + 60, PENDING_SECONDS]
    assert spent[4:] == [JOB_SECONDS, PENDING_SECONDS]


def test_details(session: Session, backend: IBMBackend, local: LocalPlatform) -> None:
    """The details hold what the client documents, before, during and after the session."""
    fresh = details(session)
    assert fresh == {
        "id": session.session_id,
        "backend_name": "ibm_manila",
        "interactive_timeout": 60,
        "max_time": 28_800,
        "active_timeout": 28_800,
        "state": "open",
        "accepting_jobs": True,
        "last_job_started": None,
        "last_job_completed": None,
        "started_at": None,
        "closed_at": None,
        "activated_at": None,
        "mode": "dedicated",
        "usage_time": 0,
        "timestamps": fresh["timestamps"],
    }
    run(session, backend)
    local.advance(4)
    active = details(session)
    assert active["active_timeout"] == 28_800 - 4
    assert active["usage_time"] == pytest.approx(4)
    assert active["started_at"] == active["activated_at"] == active["last_job_started"]
    assert active["last_job_completed"] is None
    local.advance(100)
    session.close()
    local.advance(PENDING_SECONDS)
    closed = details(session)
    assert closed["active_timeout"] == 0
    assert not closed["accepting_jobs"]
    assert closed["last_job_completed"] < closed["closed_at"]
    assert closed["timestamps"][-1] == {"status": "closed", "timestamp": closed["closed_at"]}


def test_usage(session: Session, backend: IBMBackend, local: LocalPlatform) -> None:
    """Usage is the time from the first job's start until rest, idle time while active with it."""
    local.advance(100)
    assert session.usage() == 0
    run(session, backend)
    local.advance(30)
    assert session.usage() == pytest.approx(30)
    local.advance(1000)
    assert session.usage() == pytest.approx(JOB_SECONDS + 60)
    run(session, backend)
    local.advance(JOB_SECONDS)
    session.close()
    assert session.usage() == pytest.approx(2 * JOB_SECONDS + 60)
    local.advance(PENDING_SECONDS)
    final = session.usage()
    assert session.status() == "Closed"
    local.advance(1000)
    assert session.usage() == details(session)["usage_time"] == final


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, 28_800), (90, 90), ("1h 30m", 5400), ("45s", 45), ("2h", 7200), (28_800, 28_800)],
)
def test_max_time(backend: IBMBackend, given: int | str | None, expected: int) -> None:
    """A maximum time is given in seconds, in words, or not at all."""
    session = Session(backend, max_time=given)
    assert details(session)["max_time"] == expected
    assert details(session)["active_timeout"] == expected
    session.cancel()


def test_max_time_is_too_long(backend: IBMBackend) -> None:
    """The platform refuses more than eight hours, and the client words that it does not know."""
    with pytest.raises(RequestsApiError, match="max_ttl") as refused:
        Session(backend, max_time="8h 1s")
    assert refused.value.status_code == 400
    with pytest.raises(IBMInputValueError, match="Invalid max_time value"):
        Session(backend, max_time="a while")


def test_max_time_is_over(backend: IBMBackend, local: LocalPlatform) -> None:
    """It runs from the first job's start, then the running job finishes and queued ones fail."""
    session = Session(backend, max_time=15)
    local.advance(500)
    first, second, third = (run(session, backend) for _ in range(3))
    local.advance(JOB_SECONDS + 6)
    assert (first.status(), second.status(), third.status()) == ("DONE", "RUNNING", "ERROR")
    assert not details(session)["accepting_jobs"]
    with pytest.raises(RuntimeJobFailureError, match=r"Error code 1217; .*closed"):
        third.result()
    with pytest.raises(IBMRuntimeError, match='"code":1217'):
        run(session, backend)
    local.advance(JOB_SECONDS + PENDING_SECONDS)
    assert second.status() == "DONE"
    assert session.status() == "Closed"


def test_a_session_that_nobody_uses(session: Session, local: LocalPlatform) -> None:
    """A session without any job closes after thirty minutes, and costs nothing."""
    local.advance(1799)
    assert session.status() == "Pending"
    local.advance(1 + PENDING_SECONDS)
    assert session.status() == "Closed"
    assert session.usage() == 0


def test_close_lets_jobs_finish(
    session: Session, backend: IBMBackend, local: LocalPlatform
) -> None:
    """A closed session runs what it has, takes no more, and the client refuses by itself."""
    jobs = [run(session, backend) for _ in range(2)]
    session.close()
    session.close()
    with pytest.raises(IBMRuntimeError, match="The session is closed"):
        run(session, backend)
    again = Session.from_id(session.session_id, session.service)
    with pytest.raises(IBMRuntimeError, match='"code":1217,"message":"Session has been closed'):
        run(again, backend)
    local.advance(2 * JOB_SECONDS + PENDING_SECONDS)
    assert [job.status() for job in jobs] == ["DONE", "DONE"]
    assert session.status() == "Closed"


def test_cancel(session: Session, backend: IBMBackend, local: LocalPlatform) -> None:
    """A cancelled session cancels what is queued, and lets the running job finish."""
    running, queued = (run(session, backend) for _ in range(2))
    local.advance(1)
    session.cancel()
    assert (running.status(), queued.status()) == ("RUNNING", "CANCELLED")
    with pytest.raises(RuntimeInvalidStateError, match="Job was cancelled"):
        queued.result()
    assert session.status() == NOT_ACCEPTING
    local.advance(JOB_SECONDS + PENDING_SECONDS)
    assert running.status() == "DONE"
    assert session.status() == "Closed"
    session.cancel()


def test_from_id(
    session: Session, backend: IBMBackend, service: QiskitRuntimeService, local: LocalPlatform
) -> None:
    """An open session is found by its ID and used; a closed one is found and is not."""
    again = Session.from_id(session.session_id, service)
    assert again.session_id == session.session_id
    assert again.backend() == "ibm_manila"
    job = run(again, backend)
    assert job.session_id == session.session_id
    assert service.job(job.job_id()).session_id == session.session_id
    local.advance(JOB_SECONDS)
    again.close()
    local.advance(PENDING_SECONDS)
    closed = Session.from_id(session.session_id, service)
    assert closed.details() == session.details()
    with pytest.raises(IBMRuntimeError, match="The session is closed"):
        run(closed, backend)


def test_from_id_of_something_else(
    session: Session, backend: IBMBackend, service: QiskitRuntimeService, local: LocalPlatform
) -> None:
    """An unknown ID, a batch, and a session of unknown backend are refused, each in its words."""
    with pytest.raises(IBMInputValueError, match="Session not found"):
        Session.from_id("unknown", service)
    with pytest.raises(IBMInputValueError, match="mode dedicated instead of batch"):
        Batch.from_id(session.session_id, service)
    batch = Batch(backend)
    with pytest.raises(IBMInputValueError, match="mode batch instead of dedicated"):
        Session.from_id(batch.session_id, service)
    batch.close()
    with raw_client(local.info) as api:
        bare = api.post("/sessions", json={"mode": "dedicated"}).json()["id"]
        with pytest.raises(IBMRuntimeError, match="backend of this session is unknown"):
            Session.from_id(bare, service)
        api.delete(f"/sessions/{bare}/close")


def test_one_session_at_a_time(session: Session, backend: IBMBackend, local: LocalPlatform) -> None:
    """While a session is active nobody else's job runs on its backend, idle or not."""
    run(session, backend)
    local.advance(1)
    outside = run(backend, backend)
    other = Session(backend)
    inside = run(other, backend)
    local.advance(JOB_SECONDS + 30)
    assert (outside.status(), inside.status()) == ("QUEUED", "QUEUED")
    assert other.status() == "Pending"
    later = run(session, backend)
    local.advance(JOB_SECONDS)
    assert (later.status(), outside.status()) == ("DONE", "QUEUED")
    session.close()
    other.close()
    local.advance(3 * JOB_SECONDS)
    assert (outside.status(), inside.status()) == ("DONE", "DONE")
