"""No faster than the platform takes jobs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit
from support import BACKEND

from session_block import LocalPlatformCredentials, QuantumSession
from session_block.environment.environment import Environment
from session_block.errors import SubmissionRejectedError
from session_block.experiments.experiment import Experiment
from session_block.ledger.database import DatabaseStore
from session_block.local_platform import LocalPlatform
from session_block.submissions.rate_limit import (
    FORGET_SECONDS,
    TELLING,
    WINDOW_SECONDS,
    RateLimiter,
)


class Time(Environment):
    """A world whose clock moves when somebody pauses, so that a minute takes no minute."""

    def __init__(self) -> None:
        super().__init__(DatabaseStore)
        self.seconds = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Return the time that was paused away."""
        return self.seconds

    def pause(self, seconds: float) -> None:
        """Pass the time at once."""
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.fixture
def clock() -> Time:
    """The limiter's world."""
    return Time()


def test_without_a_limit_nobody_waits(clock: Time) -> None:
    """As long as the platform takes everything, nothing is held back."""
    limiter = RateLimiter(clock)
    for _ in range(100):
        limiter.wait("it")
        limiter.accepted()
    assert clock.slept == []
    assert limiter.per_minute is None


def test_a_fixed_limit_holds_in_any_minute(clock: Time) -> None:
    """Of a limit's number of submissions the next one waits until the first is a minute old."""
    limiter = RateLimiter(clock, 3)
    moments = []
    for _ in range(7):
        limiter.wait("it")
        moments.append(clock.seconds)
        clock.seconds += 1
    assert moments == [1000, 1001, 1002, 1060, 1061, 1062, 1120]


def test_it_waits_as_long_as_it_is_told(clock: Time) -> None:
    """A refusal's Retry-After is obeyed, and what was taken before becomes the limit."""
    limiter = RateLimiter(clock)
    for _ in range(5):
        limiter.wait("it")
        limiter.accepted()
    limiter.wait("it")
    limiter.refused(7.0)
    assert limiter.per_minute == 5
    limiter.wait("it")
    assert clock.seconds == 1060
    assert sum(clock.slept) == pytest.approx(WINDOW_SECONDS)


def test_without_being_told_it_waits_ever_longer(clock: Time) -> None:
    """Refusals without Retry-After are sat out in growing steps, up to a minute."""
    limiter = RateLimiter(clock)
    pauses = []
    for _ in range(9):
        before = clock.seconds
        limiter.wait("it")
        pauses.append(clock.seconds - before)
        limiter.refused(None)
    assert pauses[:5] == [0, 1, 2, 4, 8]
    assert max(pauses) == WINDOW_SECONDS


def test_a_short_wait_that_does_not_help_grows(clock: Time) -> None:
    """A platform that says 'in a second' for ever is not asked every second for ever."""
    limiter = RateLimiter(clock)
    pauses = []
    for _ in range(12):
        before = clock.seconds
        limiter.wait("it")
        pauses.append(clock.seconds - before)
        limiter.refused(1.0)
    assert pauses[:8] == [0, 1, 1, 1, 1, 2, 4, 8]
    assert pauses[-1] == WINDOW_SECONDS


@pytest.mark.parametrize("refusals", [1, 3])
def test_an_early_refusal_slows_nothing_down(clock: Time, refusals: int) -> None:
    """A session burns while it waits: after 429s that come early it goes on as before."""
    limiter = RateLimiter(clock)
    limiter.wait("it")
    limiter.accepted()
    for _ in range(refusals):
        limiter.wait("it")
        limiter.refused(1.0)
    began = clock.seconds
    for _ in range(20):
        limiter.wait("it")
        limiter.accepted()
    assert clock.seconds - began == 1.0
    assert limiter.per_minute is None


def test_a_platform_that_keeps_refusing_is_believed(clock: Time) -> None:
    """Whoever takes one a minute is sent about one a minute, with a probe now and then."""
    limiter, taken = RateLimiter(clock), [-WINDOW_SECONDS]
    refused = 0
    while len(taken) < 20:
        limiter.wait("it")
        left = taken[-1] + WINDOW_SECONDS - clock.seconds
        if left > 0:
            refused += 1
            limiter.refused(left)
        else:
            taken.append(clock.seconds)
            limiter.accepted()
    assert clock.seconds - taken[1] < 20 * WINDOW_SECONDS * 1.1
    assert refused <= 20


def test_a_learnt_limit_recovers_within_minutes(clock: Time) -> None:
    """It doubles with each quiet minute, and is dropped after three."""
    limiter = RateLimiter(clock)
    for _ in range(TELLING):
        limiter.wait("it")
        limiter.accepted()
    limiter.wait("it")
    limiter.refused(1.0)
    assert limiter.per_minute == TELLING
    limits = []
    for _ in range(4):
        clock.seconds += WINDOW_SECONDS
        limits.append(limiter.per_minute)
    assert limits == [TELLING, 2 * TELLING, 4 * TELLING, None]
    assert 3 * WINDOW_SECONDS == FORGET_SECONDS


def test_it_is_not_told_to_wait_longer_than_an_hour(
    clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """A Retry-After of a day, or without an end, is cut to an hour, and that is said."""
    limiter = RateLimiter(clock)
    for asked in (86400.0, math.inf):
        limiter.wait("it")
        limiter.refused(asked)
        assert limiter.pause_seconds == 3600.0
        assert f"asks to wait {asked:.0f} s" in caplog.text
        assert "tried again after 3600 s" in caplog.text
    limiter.wait("it")
    assert clock.seconds == 1000 + 2 * 3600


@pytest.fixture(scope="module")
def platform_with_limit() -> Iterator[LocalPlatform]:
    """A platform of the test's own, whose clock can be advanced past a minute."""
    with LocalPlatform(interactive_seconds=1) as platform:
        yield platform


def _experiment(platform: LocalPlatform, ledger: Path, **more: object) -> Experiment:
    block = QuantumSession.model_validate(
        {
            "credentials": LocalPlatformCredentials(state_dir=platform.info.state_dir),
            "backend_name": BACKEND,
            "ledger_url": f"sqlite:///{ledger}",
            **more,
        }
    )
    return block.experiment(ledger.parent.name)


def _circuit(number: int) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.rz(0.1 * number, 0)
    circuit.measure(0, 0)
    return circuit


@pytest.mark.rest
def test_a_rate_limit_is_sat_out_visibly(
    platform_with_limit: LocalPlatform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After 429 the submission waits as it is told, says so, and is one job in the end."""
    platform = platform_with_limit
    experiment = _experiment(platform, tmp_path / "l.db")
    experiment.run_sampler([_circuit(0)], shots=8)
    fault = platform.add_fault(
        kind="status", method="POST", path="/jobs", status=429, code=1202, retry_after=2, times=2
    )
    began = time.monotonic()
    limiter = experiment._parts.submitter._limiter
    with caplog.at_level(logging.WARNING):
        experiment.run_sampler([_circuit(1)], shots=8)
    assert limiter.per_minute is None
    assert time.monotonic() - began >= 4
    assert "submissions a minute" in caplog.text
    (rule,) = [one for one in platform.faults() if one["id"] == fault]
    assert rule["used"] == 2
    assert platform.stats()["jobs"]["by_tag"][f"qs-uid:{experiment.uid}"] == 2


def test_other_refusals_are_raised(platform_with_limit: LocalPlatform, tmp_path: Path) -> None:
    """A refusal that waiting does not cure is raised at once; the next run submits."""
    platform = platform_with_limit
    experiment = _experiment(platform, tmp_path / "l.db")
    platform.add_fault(kind="status", method="POST", path="/jobs", status=403, code=1200)
    with pytest.raises(SubmissionRejectedError, match="403"):
        experiment.run_sampler([_circuit(0)], shots=8)
    experiment.run_sampler([_circuit(0)], shots=8)
    assert platform.stats()["jobs"]["by_tag"][f"qs-uid:{experiment.uid}"] == 1
