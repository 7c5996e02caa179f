"""A resumed run whose requests are concurrent repeats what was recorded, or is stopped."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from qiskit import QuantumCircuit
from support import Platform

from session_block import QuantumSession
from session_block.errors import ExperimentDivergedError
from session_block.experiments.experiment import Experiment
from session_block.experiments.repetition import REPLAY_WAIT

WAIT_SECONDS = 1.0


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPLAY_WAIT, str(WAIT_SECONDS))


def _turned(angle: float) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.sx(0)
    circuit.rz(angle, 0)
    circuit.sx(0)
    circuit.measure(0, 0)
    return circuit


def _ask(experiment: Experiment, angle: float) -> int:
    result = experiment.run_sampler([_turned(angle)], shots=64)
    return int(result[0].data.c.get_counts().get("1", 0))


def _at_once(experiment: Experiment, angles: Iterable[float]) -> list[int]:
    """Ask in four threads."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda angle: _ask(experiment, angle), angles))


def _crash(block: QuantumSession, angles: Iterable[float]) -> Experiment:
    """Ask at once, and leave it as a crash does; return the experiment."""
    experiment = block.experiment("e")
    _at_once(experiment, angles)
    return experiment


def test_a_changed_program_buys_nothing(block: QuantumSession, platform: Platform) -> None:
    """P8: the recorded requests do not come, so the new ones are not sent; one wait for all."""
    first = _crash(block, range(4))
    began = time.monotonic()
    again = block.experiment("e")
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(_ask, again, angle + 0.5) for angle in range(12)]
    errors = [one.exception() for one in found]
    assert all(isinstance(one, ExperimentDivergedError) for one in errors)
    assert "4 requests" in str(errors[0])
    assert time.monotonic() - began < 3 * WAIT_SECONDS
    assert platform.jobs_of(first.uid) == 4
    with block.experiment("e") as restored:
        _at_once(restored, range(5))
    assert platform.jobs_of(first.uid) == 5


def test_a_request_that_was_sent_again_after_a_refusal_must_be_repeated(
    block: QuantumSession, platform: Platform
) -> None:
    """P8: only what was refused the last time may be left out by a changed program."""
    refusal = {"kind": "status", "status": 429, "code": 1202, "retry_after": 1, "times": 1}
    platform.admin.add_fault(method="POST", path="/jobs", **refusal)
    first = block.experiment("e")
    _ask(first, 1)
    [submission] = Experiment.load("e", block.ledger()).submissions()
    assert submission["generations"] == 2
    with pytest.raises(ExperimentDivergedError), block.experiment("e") as changed:
        _ask(changed, 2)
    assert platform.jobs_of(first.uid) == 1


def test_the_platform_s_slow_answer_is_no_wait_for_others(
    block: QuantumSession, platform: Platform
) -> None:
    """P8: the recorded requests get their whole time, however long the first look takes."""
    first = _crash(block, [0, 1, 3])
    slow = platform.admin.add_fault(
        kind="delay", seconds=3 * WAIT_SECONDS, method="GET", path="/jobs", times=1
    )
    new_first = threading.Barrier(4)

    def ask(angle: float) -> int:
        new_first.wait()
        time.sleep(0.0 if angle == 0.5 else 0.2)
        return _ask(again, angle)

    with block.experiment("e") as again, ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(ask, [0.5, 0, 1, 3]))) == 4
    assert platform.jobs_of(first.uid) == 4
    platform.admin.clear_faults(slow)


def test_a_new_request_may_come_first_and_waits(
    block: QuantumSession, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """An unchanged program has no order: a new request waits for the recorded ones, no longer."""
    first = _crash(block, [0, 1, 3, 4])
    admitted: list[float] = []

    def ask(experiment: Experiment, angle: float) -> None:
        experiment.submit_sampler([_turned(angle)], shots=64)
        admitted.append(angle)

    with caplog.at_level(logging.WARNING), block.experiment("e") as again:
        new = threading.Thread(target=ask, args=(again, 2))
        new.start()
        for angle in (4, 3, 1, 0):
            time.sleep(WAIT_SECONDS / 2)  # in all twice as long as it waits for any of them
            assert 2 not in admitted
            ask(again, angle)
        new.join()
        assert admitted == [4, 3, 1, 0, 2]
    assert platform.jobs_of(first.uid) == 5
    assert "waits until" not in caplog.text


def test_coroutines_are_checked_too(block: QuantumSession, platform: Platform) -> None:
    """A changed ``gather`` is stopped; the unchanged one goes on."""

    async def whole(start: float, count: int) -> int:
        experiment = block.experiment("e")
        circuits = [_turned(start + number) for number in range(count)]
        asked = (experiment.arun_sampler([one], shots=64) for one in circuits)
        return len(await asyncio.gather(*asked))

    assert asyncio.run(whole(0, 3)) == 3
    uid = block.experiment("e").uid
    with pytest.raises(ExperimentDivergedError):
        asyncio.run(whole(0.5, 3))
    assert platform.jobs_of(uid) == 3
    assert asyncio.run(whole(0, 20)) == 20
    assert platform.jobs_of(uid) == 20


def test_who_lets_it_diverge_waits_for_nothing(block: QuantumSession, platform: Platform) -> None:
    """With ``on_divergence="warn"`` new requests are sent at once."""
    first = _crash(block, range(4))
    lenient = block.model_copy(update={"on_divergence": "warn"})
    with lenient.experiment("e") as again:
        again.run_sampler([_turned(0)], shots=64)
        again.submit_sampler([_turned(0.5)], shots=64)  # also looks back at the platform
        began = time.monotonic()
        for angle in range(1, 4):
            again.submit_sampler([_turned(angle + 0.5)], shots=64)
        assert time.monotonic() - began < WAIT_SECONDS
    assert platform.jobs_of(first.uid) == 8


def test_a_label_needs_no_repetition(block: QuantumSession, platform: Platform) -> None:
    """Requests with labels are found by them, in any order, and none is waited for."""
    first = _crash(block, range(4))
    with block.experiment("e") as again:
        again.run_sampler([_turned(9)], shots=64, label="nine")
    assert platform.jobs_of(first.uid) == 5
