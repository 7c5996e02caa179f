"""In a session the time that it is active is forecast, gaps and idling included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit
from support import BACKEND

from session_block import Estimate, LocalPlatformCredentials, QuantumSession
from session_block.costs.budget import Left
from session_block.costs.estimate import estimate
from session_block.costs.session_time import Gaps
from session_block.costs.work import Forecast
from session_block.local_platform import LocalPlatform
from session_block.references import ExecutionMode

GAPS = Gaps(1.0, 0.5, 5.0)


def _estimate(
    mode: ExecutionMode, left: float | None = None, budget: float | None = None
) -> Estimate:
    job = Forecast(
        seconds=4.0,
        low=2.0,
        high=8.0,
        level=0,
        executions=1000,
        execution_seconds=2.0,
        model="executor",
        evidence="no public record",
    )
    allocation = {} if left is None else {"usage_remaining_seconds": left}
    return estimate([job], mode, allocation, Left(None, budget), GAPS, 60.0)


def test_a_session_is_expected_to_be_active_between_its_jobs_and_after() -> None:
    """Beside it stands what a batch would cost; the lower end is of a session closed at once."""
    found = _estimate("session").times(10)
    assert (found.usage_seconds, found.gap_seconds, found.idle_seconds) == (40, 10, 60)
    assert found.expected_seconds == 110
    assert (found.low_seconds, found.high_seconds) == (25, 190)
    assert found.times(1) == found
    assert "of session time; the same as a batch: 40 s" in str(found)
    assert found.evidence == "no public record; gaps between jobs assumed"


@pytest.mark.parametrize("mode", ["batch", "job"])
def test_a_batch_and_jobs_cost_what_their_jobs_do(mode: ExecutionMode) -> None:
    """Nothing passes between them that is charged."""
    found = _estimate(mode).times(10)
    assert found.expected_seconds == found.usage_seconds == 40
    assert (found.low_seconds, found.high_seconds) == (20, 80)
    assert (found.gap_seconds, found.idle_seconds) == (0, 0)
    assert "batch:" not in str(found)


def test_no_job_costs_nothing() -> None:
    """Not even idling."""
    nothing = _estimate("session").times(0)
    assert (nothing.expected_seconds, nothing.high_seconds, nothing.jobs) == (0, 0, 0)


@pytest.mark.parametrize(
    ("left", "fits", "warned"),
    [(19.0, False, 0), (20.0, True, 1), (79.0, True, 1), (80.0, True, 0)],
)
def test_only_what_surely_exceeds_a_limit_does_not_fit(
    left: float,
    fits: bool,
    warned: int,
) -> None:
    """Between the ends it is a warning, for the allocation and for the budget alike."""
    for found in (_estimate("batch", left=left), _estimate("batch", budget=left)):
        ten = found.times(10)
        assert (ten.fits, len(ten.warnings)) == (fits, warned)
    if warned:
        assert f"20 to 80 s are expected, and the budget has {left:.3g} s left" in ten.warnings[0]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A platform whose jobs take two seconds each."""
    with LocalPlatform(
        tmp_path / "platform",
        charges="simulated",
        job_seconds=2,
        time_scale=2,
        interactive_seconds=30,
    ) as platform:
        yield platform


@pytest.mark.rest
def test_gaps_are_measured_by_the_platforms_clock(platform: LocalPlatform, ledger_url: str) -> None:
    """After some jobs the forecast of as many is what the session of the first ones was charged."""
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
        backend_name=BACKEND,
        ledger_url=ledger_url,
    )
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    jobs = 6
    with block.experiment("e") as experiment:
        first = experiment.estimate_sampler([circuit], shots=8)
        assert (first.mode, first.idle_seconds) == ("session", 30)
        for number in range(jobs):
            experiment.run_sampler([circuit], shots=8, label=str(number))
        second = experiment.estimate_sampler([circuit], shots=8).times(jobs)
    assert "gaps between jobs measured, n=" in second.evidence
    assert second.usage_seconds == pytest.approx(2 * jobs, rel=0.1)
    (session,) = platform.sessions()
    assert second.low_seconds <= session["usage_seconds"] <= second.high_seconds
