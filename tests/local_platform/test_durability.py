"""kill -9 of the server at any moment loses nothing that it accepted."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest

from session_block.local_platform import LocalPlatform

from .support import raw_client

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    from session_block.local_platform import PlatformInfo

JOB = {"program_id": "sampler", "params": {"pubs": []}}
BACKENDS = ("ibm_manila", "ibm_nairobi", "ibm_hanoi")
THREADS = 3


@dataclass
class Accepted:
    """What the server has acknowledged to its clients."""

    jobs: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    unknown: int = 0


def send_until(stop: threading.Event, info: PlatformInfo, backend: str, accepted: Accepted) -> None:
    """Open sessions and submit jobs, and note what was acknowledged, until told to stop."""
    with raw_client(info) as api:
        while not stop.is_set():
            try:
                body = {"mode": "batch", "backend": backend}
                session_id = api.post("/sessions", json=body).raise_for_status().json()["id"]
                accepted.sessions.append(session_id)
                for place in ({}, {"session_id": session_id}):
                    job = {**JOB, **place, "backend": backend}
                    answer = api.post("/jobs", json=job).raise_for_status()
                    accepted.jobs.append(answer.json()["id"])
            except httpx.TransportError:
                accepted.unknown += 1
                stop.wait(0.02)


def kill_and_restart(platform: LocalPlatform, times: int, draws: random.Random) -> None:
    """Kill the server as often, each time after a random while."""
    for _ in range(times):
        time.sleep(draws.uniform(0.02, 0.6))
        os.kill(platform.info.pid, signal.SIGKILL)
        platform.restart()


def run_under_kills(times: int, seed: int) -> None:
    """Submit from several clients while the server is killed, and look for what was lost."""
    with LocalPlatform() as platform:
        accepted, stop = Accepted(), threading.Event()
        senders = [
            threading.Thread(target=send_until, args=(stop, platform.info, backend, accepted))
            for backend in BACKENDS[:THREADS]
        ]
        for sender in senders:
            sender.start()
        kill_and_restart(platform, times, random.Random(seed))  # noqa: S311
        stop.set()
        for sender in senders:
            sender.join()
        counted = platform.stats()
        assert len(accepted.jobs) <= counted["jobs"]["total"]
        assert counted["jobs"]["total"] <= len(accepted.jobs) + accepted.unknown
        assert counted["sessions"]["total"] <= len(accepted.sessions) + accepted.unknown
        with raw_client(platform.info) as api:
            for session_id in accepted.sessions:
                assert api.get(f"/sessions/{session_id}").is_success
            deadline = time.monotonic() + 60
            waiting = set(accepted.jobs)
            while waiting and time.monotonic() < deadline:
                waiting = {job for job in waiting if not completed(api, job)}
            assert not waiting


def completed(api: httpx.Client, job_id: str) -> bool:
    """Say whether a job has completed; fail if it is lost or ended otherwise."""
    state = api.get(f"/jobs/{job_id}").raise_for_status().json()["state"]["status"]
    assert state in ("Queued", "Running", "Completed")
    return bool(state == "Completed")


def test_kills_lose_nothing() -> None:
    """Every job and session that was acknowledged is there and completes, and none is doubled."""
    run_under_kills(3, seed=1)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(5))
def test_many_kills_lose_nothing(seed: int) -> None:
    """The same, for longer and at other moments."""
    run_under_kills(12, seed=seed)
