"""A clock that is scaled, stopped and advanced, and what happens in the time that it shows."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
from qiskit_ibm_runtime import Session
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform, PlatformError
from session_block.local_platform.clock import Clock, Reading

from .support import bell, isa, raw_client

pytestmark = pytest.mark.rest

EIGHT_HOURS = 28_800
JOB = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}


def since_opened(details: dict[str, Any]) -> list[tuple[str, float]]:
    """Return a session's transitions in seconds since it was opened."""
    moments = [
        (entry["status"], datetime.fromisoformat(entry["timestamp"]).timestamp())
        for entry in details["timestamps"]
    ]
    return [(state, round(moment - moments[0][1], 6)) for state, moment in moments]


def a_day_of_a_session() -> list[tuple[str, float]]:
    """Return the transitions of a session that is used, left alone, and used once more."""
    with LocalPlatform(time_scale=0, charges="simulated", job_seconds=90.0) as platform:
        session = Session(platform.service().backend("ibm_manila"), max_time="8h")
        circuit = isa(bell(), platform.service().backend("ibm_manila"))
        for pause in (0, 3600, EIGHT_HOURS):
            job = Sampler(session).run([circuit])
            platform.advance(90)
            assert job.status() == "DONE"
            platform.advance(pause)
        assert session.usage() == 90 + 90 + 60 + 90 + 60
        return since_opened(session.details() or {})


def test_eight_hours_in_seconds() -> None:
    """A session's whole life passes in a moment, to the second as it should, twice alike."""
    life = a_day_of_a_session()
    assert life == [
        ("open", 0),
        ("active", 0),
        ("inactive", 90 + 90 + 60),
        ("active", 180 + 3600),
        ("inactive", 180 + 3600 + 90 + 60),
        ("closed", EIGHT_HOURS),
    ]
    assert a_day_of_a_session() == life


def test_a_fast_clock_waits_for_the_simulation() -> None:
    """However fast the clock runs, a job takes just the time that it is to take."""
    with LocalPlatform(time_scale=3600, charges="simulated", job_seconds=2.0) as platform:
        backend = platform.service().backend("ibm_manila")
        session = Session(backend, max_time="1h")
        started = time.monotonic()
        job = Sampler(session).run([isa(bell(), backend)])
        job.result()
        assert job.usage() == pytest.approx(2.0, abs=1e-5)
        while session.status() != "Closed":
            assert time.monotonic() - started < 30
            time.sleep(0.05)
        life = since_opened(session.details() or {})
        begin = life[1][1]
        after = [(state, round(moment - begin, 5)) for state, moment in life[1:]]
        assert after == [("active", 0), ("inactive", 62), ("closed", 3600)]


def test_the_natural_clock_can_be_advanced() -> None:
    """A platform in real time passes an hour at once, and goes on from there after a restart."""
    with LocalPlatform() as platform:
        with raw_client(platform.info) as api:
            session_id = api.post("/sessions", json={"mode": "dedicated"}).json()["id"]
            before = platform.now()
            platform.advance(3600)
            assert 3600 <= platform.now() - before < 3630
            assert api.get(f"/sessions/{session_id}").json()["state"] == "closed"
        platform.kill()
        platform.restart()
        assert platform.now() - before >= 3600


def test_a_stopped_clock_outlives_the_server() -> None:
    """A clock that stands still shows the same after kill -9, also in the middle of a job."""
    with LocalPlatform(time_scale=0, charges="simulated", job_seconds=50.0) as platform:
        with raw_client(platform.info) as api:
            job_id = api.post("/jobs", json=JOB).json()["id"]
            platform.advance(20)
            moment = platform.now()
            platform.kill()
            platform.restart()
            assert platform.now() == moment
            platform.advance(50)
            job = api.get(f"/jobs/{job_id}").json()
        assert job["state"]["status"] == "Completed"


def test_the_clock_goes_forward_only() -> None:
    """Time cannot be turned back, nor moved by what is no number."""
    senseless: list[Any] = [-1, 1e12, float("nan"), "60", None, True]
    with LocalPlatform(time_scale=0) as platform:
        before = platform.now()
        for seconds in senseless:
            with pytest.raises(PlatformError, match="advance must be"):
                platform.advance(seconds)
        assert platform.now() == before


def test_only_a_natural_clock_moves_unwatched() -> None:
    """What a clock shows after a pause depends on its speed before and after."""
    wall = time.time() - 1000
    assert Clock(1.0, Reading(5000.0, wall, 1.0)).now() == pytest.approx(6000, abs=1)
    assert Clock(0.0, Reading(5000.0, wall, 0.0)).now() == 5000.0
    assert Clock(1.0, Reading(5000.0, wall, 60.0)).now() == pytest.approx(5000, abs=1)


def test_a_held_clock_does_not_pass_what_is_due() -> None:
    """A fast clock stops at its hold, goes on when released, and stays where it is pinned."""
    clock = Clock(1e6, Reading(0.0, time.time(), 1e6))
    mark, now = clock.look()
    assert now == 0.0
    assert clock.release(mark, 100.0)
    time.sleep(0.01)
    assert clock.now() == 100.0
    assert clock.seconds_until(200.0) == pytest.approx(1e-4)
    mark, _ = clock.look()
    assert clock.pin() == 100.0
    assert not clock.release(mark, 300.0)
    time.sleep(0.01)
    assert clock.now() == 100.0
