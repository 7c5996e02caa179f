"""Calls in threads: what is given back, to whom, and what an interrupted process leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

import pytest
from support import wait_until

from session_block import aio
from session_block.local_platform import LocalPlatform

_EXIT_SECONDS = 20.0
_variable: ContextVar[str] = ContextVar("_variable", default="unset")

_SCRIPT = """
import asyncio, sys
from qiskit import QuantumCircuit
from session_block import LocalPlatformCredentials, QuantumSession

async def main():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=sys.argv[1]),
        backend_name="ibm_manila",
        ledger_url=sys.argv[2],
    )
    async with await block.aexperiment("interrupted") as experiment:
        await experiment.arun_sampler([circuit], shots=8)

asyncio.run(main())
"""


class _Places:
    """Something that calls take and give back."""

    def __init__(self) -> None:
        self.given_back: list[str] = []
        self.taken = threading.Event()
        self.go_on = threading.Event()

    def hold(self, *, fail: bool) -> str:
        """Hold a place until told to go on."""
        with aio.current().holding(lambda: "place", self.given_back.append) as place:
            self.taken.set()
            self.go_on.wait(10)
            if fail:
                raise ZeroDivisionError
            return place


def test_a_failed_call_gives_back() -> None:
    """What fails leaves nothing held, in a thread of a twin as in any other."""
    places = _Places()
    places.go_on.set()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(aio.in_thread(places.hold, fail=True))
    with pytest.raises(ZeroDivisionError):
        places.hold(fail=True)
    assert places.given_back == ["place", "place"]
    assert asyncio.run(aio.in_thread(places.hold, fail=False)) == "place"
    assert places.hold(fail=False) == "place"
    assert places.given_back == ["place", "place"]


@pytest.mark.parametrize("fail", [False, True])
def test_an_abandoned_call_gives_back_at_once_and_only_once(*, fail: bool) -> None:
    """Whoever has the place by then keeps it, whatever becomes of the abandoned call."""
    places = _Places()

    async def main() -> None:
        asking = asyncio.create_task(aio.in_thread(places.hold, fail=fail))
        await asyncio.to_thread(places.taken.wait, 10)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        assert places.given_back == ["place"]

    asyncio.run(main())
    places.go_on.set()
    wait_until(
        lambda: not any(one.name == "session-block-twin" for one in threading.enumerate()),
        seconds=10,
        what="the thread has ended",
    )
    assert places.given_back == ["place"]


def test_an_answer_that_nobody_took_is_given_back() -> None:
    """Cancelled after the call has ended, and before its answer arrived, it counts as failed."""
    places = _Places()
    places.go_on.set()

    async def main() -> None:
        asking = asyncio.create_task(aio.in_thread(places.hold, fail=False))
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - so that the loop does not take the answer
        assert places.given_back == []
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(main())
    assert places.given_back == ["place"]


def test_an_abandoned_call_takes_nothing_more() -> None:
    """What it would take after it was abandoned, it does not get; and its pauses end."""
    places = _Places()
    ended: list[str] = []

    def call() -> None:
        places.taken.set()
        try:
            aio.pause(60)
        except asyncio.CancelledError:
            ended.append("pause")
        try:
            places.hold(fail=False)
        except asyncio.CancelledError:
            ended.append("hold")

    async def main() -> None:
        asking = asyncio.create_task(aio.in_thread(call))
        await asyncio.to_thread(places.taken.wait, 10)
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.to_thread(wait_until, lambda: len(ended) == 2, seconds=10, what="its end")

    asyncio.run(main())
    assert ended == ["pause", "hold"]
    assert places.given_back == []


def test_a_call_has_its_callers_context() -> None:
    """Context variables, such as those in which Prefect keeps the run, are the caller's."""

    async def main() -> list[str]:
        _variable.set("set")
        return list(await asyncio.gather(*(aio.in_thread(_variable.get) for _ in range(3))))

    assert asyncio.run(main()) == ["set"] * 3


@pytest.fixture
def patient() -> Iterator[LocalPlatform]:
    """A platform on which a job takes longer than the test."""
    with LocalPlatform(job_seconds=600) as platform:
        yield platform


def test_ctrl_c_ends_the_process_and_not_the_job(
    patient: LocalPlatform, ledger_url: str, tmp_path: Path
) -> None:
    """An interrupted script exits within seconds; job and session are as they were."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(patient.info.state_dir), ledger_url],
        env={**os.environ, "PREFECT_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
    )
    wait_until(
        lambda: patient.stats()["jobs"]["by_state"].get("running"),
        seconds=60,
        what="the job runs",
    )
    interrupted_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - interrupted_at < _EXIT_SECONDS
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said
    stats = patient.stats()
    assert stats["jobs"]["by_state"] == {"running": 1}
    assert stats["sessions"]["by_state"] == {"active": 1}
