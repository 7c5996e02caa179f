"""Limits of jobs and of usage, counted at the platform."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from qiskit import QuantumCircuit
from support import BACKEND, Platform

from session_block import LocalPlatformCredentials, QuantumSession
from session_block.errors import (
    BudgetExceededError,
    InvalidInputError,
    SubmissionRejectedError,
)
from session_block.experiments.experiment import Experiment
from session_block.local_platform import Admin, LocalPlatform


@pytest.fixture
def circuit() -> QuantumCircuit:
    """A circuit that any backend takes as it is."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


def _limited(block: QuantumSession, **limits: Any) -> QuantumSession:
    return block.model_copy(update=limits)


def _run(experiment: Experiment, circuit: QuantumCircuit, times: int) -> None:
    for number in range(times):
        experiment.run_sampler([circuit], shots=8, label=str(number))


def test_a_limit_of_jobs_lets_that_many_through(
    platform: Platform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """P12: the job over the limit is not sent, and the error says what to raise."""
    experiment = _limited(block, max_jobs=2).experiment("e")
    with pytest.raises(BudgetExceededError, match=r"2 jobs that it may make.*Raise the limit"):
        _run(experiment, circuit, 3)
    experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 2


def test_no_job_at_all_is_a_limit_too(
    platform: Platform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """A limit of nought lets nothing through."""
    experiment = _limited(block, max_jobs=0).experiment("e")
    with pytest.raises(BudgetExceededError):
        _run(experiment, circuit, 1)
    experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 0


def test_a_raised_limit_goes_on_where_it_stopped(
    platform: Platform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """What was refused is the next generation of its submission once there is room."""
    first = _limited(block, max_jobs=1).experiment("e")
    for _ in range(2):
        with pytest.raises(BudgetExceededError):
            _run(first, circuit, 2)
    second = _limited(block, max_jobs=2).experiment("e")
    _run(second, circuit, 2)
    with pytest.raises(BudgetExceededError):
        _run(second, circuit, 3)
    second.close_session()
    assert platform.jobs_of(second.uid) == 2


def test_a_limit_that_is_set_later_counts_what_was_before(
    platform: Platform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """Jobs that were made while nobody counted are counted when somebody does."""
    _run(block.experiment("e"), circuit, 2)
    experiment = _limited(block, max_jobs=3).experiment("e")
    with pytest.raises(BudgetExceededError):
        _run(experiment, circuit, 4)
    experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 3


def test_what_the_platform_refused_costs_nothing(
    platform: Platform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """A submission that made no job leaves room for one that does."""
    admin = Admin.of(platform.info)
    experiment = _limited(block, max_jobs=1).experiment("e")
    admin.add_fault(kind="status", status=400, message="not this one", method="POST", path="/jobs")
    with pytest.raises(SubmissionRejectedError, match="not this one"):
        experiment.run_sampler([circuit], shots=4)
    admin.clear_faults()
    experiment.run_sampler([circuit], shots=8)
    with pytest.raises(BudgetExceededError):
        experiment.run_sampler([circuit], shots=16)
    experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 1


def test_concurrent_tasks_pass_no_limit_together_and_use_it_up(
    platform: Platform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """P12: of twenty that submit at once exactly the limit's number get a job."""
    experiment = _limited(block, max_jobs=7).experiment("e")
    experiment.open_session()

    def submit(number: int) -> bool:
        try:
            experiment.run_sampler([circuit], shots=8, label=str(number))
        except BudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(submit, range(20))) == 7
    experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 7


def test_what_is_recorded_is_answered_whatever_the_limit(
    block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """P7: a result that was paid for is given out without a look at the budget."""
    _run(block.experiment("e"), circuit, 2)
    experiment = _limited(block, max_jobs=0).experiment("e")
    _run(experiment, circuit, 2)
    experiment.close_session()


def test_it_is_said_before_a_limit_is_reached(
    block: QuantumSession, circuit: QuantumCircuit, caplog: pytest.LogCaptureFixture
) -> None:
    """At four fifths of a limit a warning is logged, once."""
    experiment = _limited(block, max_jobs=5).experiment("e")
    _run(experiment, circuit, 3)
    assert "nearly spent" not in caplog.text
    _run(experiment, circuit, 5)
    experiment.close_session()
    said = [r for r in caplog.records if "nearly spent: jobs 4 of 5" in r.getMessage()]
    assert [record.levelno for record in said] == [logging.WARNING]


@pytest.fixture
def costly(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A platform whose jobs take ten seconds each, by a clock that hurries."""
    with LocalPlatform(
        tmp_path / "platform", charges="simulated", job_seconds=10, time_scale=100
    ) as platform:
        yield platform


@pytest.fixture
def costly_block(costly: LocalPlatform, ledger_url: str) -> QuantumSession:
    """A Block for that platform."""
    return QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=costly.info.state_dir),
        backend_name=BACKEND,
        ledger_url=ledger_url,
    )


@pytest.mark.rest
@pytest.mark.parametrize("mode", ["session", "batch", "job"])
def test_a_limit_of_usage_is_passed_by_no_more_than_the_jobs_in_flight(
    costly: LocalPlatform, costly_block: QuantumSession, circuit: QuantumCircuit, mode: str
) -> None:
    """P12: the platform's own figure is asked for before each submission, in every mode."""
    experiment = _limited(costly_block, mode=mode, max_usage="25s").experiment("e")
    with pytest.raises(BudgetExceededError, match="of the 25 s that it may use"):
        _run(experiment, circuit, 20)
    used = experiment.usage().seconds
    assert used >= 25
    experiment.close_session()
    jobs = len(costly.jobs())
    assert jobs == 3 if mode != "session" else 1 <= jobs <= 3


def test_the_experiments_of_a_block_share_its_limits(
    prefect_server: str, platform: Platform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """The Block's limits count all its experiments, and each counts by itself as well."""
    assert prefect_server
    limited = _limited(block, block_max_jobs=3, max_jobs=2)
    limited.save("t-shared-limits", overwrite=True)
    loaded = QuantumSession.load("t-shared-limits")
    assert isinstance(loaded, QuantumSession)
    first, second = loaded.experiment("first"), loaded.experiment("second")
    with pytest.raises(BudgetExceededError, match=f"experiment {first.uid} has made the 2"):
        _run(first, circuit, 3)
    with pytest.raises(BudgetExceededError, match="Block 't-shared-limits' has made the 3"):
        _run(second, circuit, 2)
    first.close_session()
    second.close_session()
    assert (platform.jobs_of(first.uid), platform.jobs_of(second.uid)) == (2, 1)


def test_a_block_without_a_name_has_no_limits_of_its_own(block: QuantumSession) -> None:
    """What all experiments of a Block spend is counted under its name, so it needs one."""
    with pytest.raises(InvalidInputError, match="needs a name"):
        _limited(block, block_max_jobs=3).experiment("e")


def test_the_usage_of_a_blocks_experiments_adds_up(
    prefect_server: str,
    costly_block: QuantumSession,
    circuit: QuantumCircuit,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What one experiment has used the next one cannot; that the ledger is not shared is said."""
    assert prefect_server
    limited = _limited(costly_block, mode="job", block_max_usage=25.0)
    limited.save("t-shared-usage", overwrite=True)
    loaded = QuantumSession.load("t-shared-usage")
    assert isinstance(loaded, QuantumSession)
    _run(loaded.experiment("first"), circuit, 2)
    with pytest.raises(BudgetExceededError, match="has used 30 s of the 25 s"):
        _run(loaded.experiment("second"), circuit, 2)
    assert "which other machines do not share" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [{"max_jobs": -1}, {"max_usage": -1}, {"max_usage": "soon"}, {"block_max_usage": float("inf")}],
)
def test_limits_that_cannot_be_kept_are_refused(platform: Platform, wrong: dict[str, Any]) -> None:
    """A malformed limit is an error when the Block is made."""
    with pytest.raises(ValidationError):
        QuantumSession(credentials=platform.credentials(), backend_name=BACKEND, **wrong)
