"""Who runs when on one backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from session_block.local_platform import LocalPlatform

from .support import raw_client

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

JOB = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}
JOB_SECONDS = 10


class Still:
    """A platform whose clock stands still between the test's steps."""

    def __init__(self, platform: LocalPlatform, api: httpx.Client) -> None:
        self.platform = platform
        self.api = api

    def open(self, mode: str = "dedicated", **more: object) -> str:
        """Open a session and return its ID."""
        body = {"mode": mode, "backend": "ibm_manila", **more}
        return str(self.api.post("/sessions", json=body).json()["id"])

    def submit(self, session_id: str | None = None, **more: object) -> str:
        """Submit a job and return its ID."""
        body = {**JOB, **more, **({"session_id": session_id} if session_id else {})}
        return str(self.api.post("/jobs", json=body).json()["id"])

    def pass_seconds(self, seconds: float = 0) -> None:
        """Let time go by; none at all lets happen what is due now."""
        self.platform.advance(seconds)

    def states(self, *jobs: str) -> list[str]:
        """Return the states of jobs."""
        return [self.api.get(f"/jobs/{job}").json()["state"]["status"] for job in jobs]

    def position(self, job: str) -> int | None:
        """Return a job's place in the queue."""
        place: int | None = self.api.get(f"/jobs/{job}/metrics").json()["position_in_queue"]
        return place

    def used(self) -> float:
        """Return what the instance has used."""
        return float(self.api.get("/instances/usage").json()["usage_consumed_seconds"])

    def session(self, session_id: str) -> dict[str, Any]:
        """Return a session's details."""
        content: dict[str, Any] = self.api.get(f"/sessions/{session_id}").json()
        return content


@pytest.fixture(scope="module")
def shared() -> Iterator[Still]:
    """One platform for the tests that need nothing special of it."""
    with (
        LocalPlatform(time_scale=0, charges="simulated", job_seconds=JOB_SECONDS) as platform,
        raw_client(platform.info) as api,
    ):
        yield Still(platform, api)


@pytest.fixture
def still(shared: Still) -> Still:
    """The shared platform, with all sessions of earlier tests closed long ago."""
    shared.pass_seconds(30_000)
    return shared


@pytest.fixture
def busy() -> Iterator[Still]:
    """A platform on which three jobs of other users are always ahead."""
    with (
        LocalPlatform(
            time_scale=0,
            charges="simulated",
            job_seconds=JOB_SECONDS,
            other_jobs=3,
            other_job_seconds=100.0,
        ) as platform,
        raw_client(platform.info) as api,
    ):
        yield Still(platform, api)


def test_a_queued_job_has_a_place(busy: Still) -> None:
    """Others' jobs are ahead of what has to queue; in an active session only its own jobs are."""
    session = busy.open()
    first, outside = busy.submit(session), busy.submit()
    assert [busy.position(job) for job in (first, outside)] == [4, 5]
    busy.pass_seconds(300)
    waiting = [busy.submit(session) for _ in range(2)]
    assert [busy.position(job) for job in (first, *waiting)] == [None, 1, 2]


def test_an_active_session_has_its_backend_for_itself(still: Still) -> None:
    """Jobs of others wait while a session is active, idle or not, but not while it is inactive."""
    session = still.open()
    first = still.submit(session)
    still.pass_seconds()
    outside, second = still.submit(), still.submit(session)
    other_session = still.open()
    third = still.submit(other_session)
    still.pass_seconds(JOB_SECONDS)
    assert still.states(first, second, outside, third) == [
        "Completed",
        "Running",
        "Queued",
        "Queued",
    ]
    still.pass_seconds(JOB_SECONDS + 59)
    assert still.states(second, outside) == ["Completed", "Queued"]
    still.pass_seconds(1)
    assert still.session(session)["state"] == "inactive"
    assert still.states(outside, third) == ["Running", "Queued"]
    late = still.submit(session)
    still.pass_seconds(JOB_SECONDS)
    assert still.states(outside, third, late) == ["Completed", "Running", "Queued"]
    assert still.session(other_session)["state"] == "active"


def test_other_backends_are_free(still: Still) -> None:
    """A session occupies its own backend and no other."""
    still.submit(still.open())
    elsewhere = still.submit(backend="ibm_nairobi")
    still.pass_seconds()
    assert still.states(elsewhere) == ["Running"]


def test_a_batch_shares_its_backend(still: Still) -> None:
    """Jobs of a batch and others take turns in the order in which they came."""
    batch = still.open("batch")
    jobs = [still.submit(batch), still.submit(), still.submit(batch)]
    running = []
    for _ in jobs:
        still.pass_seconds()
        running.append(still.states(*jobs).index("Running"))
        still.pass_seconds(JOB_SECONDS)
    assert running == [0, 1, 2]
    assert still.session(batch)["elapsed_time"] == 2 * JOB_SECONDS


def test_other_users_are_ahead_in_the_queue(busy: Still) -> None:
    """What queues waits behind others' jobs; what is in an active session does not."""
    session = busy.open()
    queue = busy.api.get("/backends/ibm_manila/status").json()
    assert queue["length_queue"] == 3
    first = busy.submit(session)
    busy.pass_seconds(299)
    assert busy.states(first) == ["Queued"]
    busy.pass_seconds(1)
    assert busy.states(first) == ["Running"]
    busy.pass_seconds(JOB_SECONDS)
    second = busy.submit(session)
    busy.pass_seconds()
    assert busy.states(second) == ["Running"]
    busy.pass_seconds(JOB_SECONDS + 60)
    assert busy.session(session)["state"] == "inactive"
    third = busy.submit(session)
    busy.pass_seconds(299)
    assert busy.states(third) == ["Queued"]
    busy.pass_seconds(1)
    assert busy.states(third) == ["Running"]


def test_a_job_ends_at_its_maximum_execution_time(still: Still) -> None:
    """A job that takes longer than it may is cancelled with IBM's code 1305."""
    exact, short = still.submit(cost=JOB_SECONDS), still.submit(cost=4)
    still.pass_seconds(JOB_SECONDS + 4)
    assert still.states(exact) == ["Completed"]
    state = still.api.get(f"/jobs/{short}").json()["state"]
    assert (state["status"], state["reason_code"]) == ("Cancelled", 1305)
    assert still.api.get(f"/jobs/{short}/metrics").json()["usage"]["seconds"] == 4


def test_usage_is_that_of_sessions_and_of_jobs_outside(still: Still) -> None:
    """An instance is charged a session's active time, and of a batch and of jobs their QPU time."""
    before = still.used()
    session = still.open()
    still.submit(session)
    still.pass_seconds(JOB_SECONDS + 20)
    assert still.used() - before == pytest.approx(JOB_SECONDS + 20)
    still.pass_seconds(100)
    still.submit(still.open("batch"))
    still.submit()
    still.pass_seconds(100)
    assert still.used() - before == pytest.approx(JOB_SECONDS + 60 + 2 * JOB_SECONDS)
