"""Usage of jobs, sessions and experiments equals the platform's own; estimates come close."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Session
from support import BACKEND

from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession
from session_block.costs.executor_model import CONSTANT_SECONDS, EXECUTION_SECONDS
from session_block.errors import InvalidInputError, LabelConflictError, NotISAError
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform

JOB_SECONDS = 10


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A platform whose jobs take ten seconds each, by a clock that hurries."""
    with LocalPlatform(
        tmp_path / "platform",
        charges="simulated",
        job_seconds=JOB_SECONDS,
        time_scale=100,
        interactive_seconds=30,
    ) as platform:
        yield platform


@pytest.fixture
def block(platform: LocalPlatform, ledger_url: str) -> QuantumSession:
    """A Block for that platform."""
    return QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
        backend_name=BACKEND,
        ledger_url=ledger_url,
    )


@pytest.fixture
def circuit() -> QuantumCircuit:
    """A circuit that any backend takes as it is."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


def _run(experiment: Experiment, circuit: QuantumCircuit, times: int) -> None:
    for number in range(times):
        experiment.run_sampler([circuit], shots=8, label=str(number))


def _requests(platform: LocalPlatform) -> dict[str, int]:
    counts = platform.stats()["requests"]
    return {route: count for route, count in counts.items() if "/_local/" not in route}


@pytest.mark.rest
@pytest.mark.parametrize("mode", ["batch", "job"])
def test_what_is_charged_by_job_is_their_sum(
    platform: LocalPlatform, block: QuantumSession, circuit: QuantumCircuit, mode: str
) -> None:
    """A batch, and jobs outside of one, are charged with the time that the QPU is locked."""
    with block.model_copy(update={"mode": mode}).experiment("e") as experiment:
        _run(experiment, circuit, 3)
    usage = experiment.usage()
    assert usage.seconds == sum(job["usage_seconds"] for job in platform.jobs()) == 3 * JOB_SECONDS
    assert [job.seconds for job in usage.jobs] == [JOB_SECONDS] * 3
    assert {job.charged for job in usage.jobs} == {mode == "job"}
    assert {job.job_id for job in usage.jobs} == {job["id"] for job in platform.jobs()}
    assert [session.final for session in usage.sessions] == ([True] if mode == "batch" else [])


@pytest.mark.rest
def test_a_session_is_charged_by_the_clock(
    platform: LocalPlatform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """Usage of an experiment is that of its sessions, which is more than that of its jobs."""
    with block.experiment("e") as experiment:
        _run(experiment, circuit, 2)
        assert experiment.session_usage() >= 2 * JOB_SECONDS
    [session] = experiment.usage().sessions
    [known] = platform.sessions()
    assert session.session_id == known["id"]
    assert session.final
    assert session.seconds == pytest.approx(known["usage_seconds"], abs=1)
    assert session.seconds == Session.from_id(known["id"], experiment.service).usage()
    assert session.seconds == experiment.usage().seconds
    assert session.seconds > sum(job.seconds or 0 for job in experiment.usage().jobs)


@pytest.mark.rest
def test_what_is_final_is_asked_for_once(
    platform: LocalPlatform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """A second report of a finished experiment makes no request for figures that stand."""
    with block.model_copy(update={"mode": "batch"}).experiment("e") as experiment:
        _run(experiment, circuit, 2)
    first = experiment.usage()
    before = _requests(platform)
    again = block.model_copy(update={"mode": "batch"}).experiment("e").usage()
    assert again == first
    assert _requests(platform) == before


@pytest.mark.rest
def test_of_a_borrowed_session_only_the_own_jobs_count(
    platform: LocalPlatform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """The session is charged to who opened it; the experiment with what its jobs used."""
    owner = block.experiment("theirs")
    _run(owner, circuit, 1)
    guest = block.experiment("ours")
    guest.borrow_session(str(owner.session_id))
    guest.run_sampler([circuit], shots=16)
    usage = guest.usage()
    assert (usage.seconds, usage.sessions) == (JOB_SECONDS, [])
    owner.close_session()
    assert len(platform.jobs()) == 2


def test_an_estimate_says_what_a_run_costs_and_submits_nothing(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """Jobs, executions and seconds are known before, and what the limits leave."""
    block = block.model_copy(update={"max_jobs": 40, "max_usage": "1h"})
    experiment = block.experiment("e")
    circuit = experiment.transpile(real_amplitudes(2, reps=1))
    observable = SparsePauliOp(["ZZ", "XX", "ZI", "II"]).apply_layout(circuit.layout)
    points = [[0.0] * 4, [1.0] * 4, [2.0] * 4]
    one = experiment.estimate_estimator([(circuit, observable, points)], precision=0.1)
    estimate = one.times(40)
    # Two measurement bases (ZZ and ZI share one) at three points, and the readout to learn (TREX):
    # a hundred shots each, which 32 randomizations make 128.
    assert estimate.executions == 40 * (2 * 3 + 1) * 128
    rep_delay = experiment.backend.default_rep_delay
    assert estimate.usage_seconds == pytest.approx(
        40 * CONSTANT_SECONDS + estimate.executions * (rep_delay + EXECUTION_SECONDS), rel=0.03
    )
    assert (estimate.budget_jobs_left, estimate.budget_seconds_left) == (40, 3600)
    assert estimate.allocation_left_seconds is None
    assert estimate.fits
    assert not experiment.estimate_estimator([(circuit, observable, points)]).times(41).fits
    assert platform.jobs() == []
    assert platform.sessions() == []


@pytest.mark.rest
def test_an_estimate_is_near_what_the_platform_counts(
    tmp_path: Path, ledger_url: str, circuit: QuantumCircuit
) -> None:
    """But for the overhead, which only IBM's jobs have, circuit and delay times agree."""
    with LocalPlatform(
        tmp_path / "timed", circuit_time=True, charges="simulated", time_scale=10
    ) as platform:
        block = QuantumSession(
            credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
            backend_name=BACKEND,
            mode="job",
            ledger_url=ledger_url,
        )
        experiment = block.experiment("e")
        estimate = experiment.estimate_sampler([circuit], shots=20_000)
        experiment.run_sampler([circuit], shots=20_000)
        [job] = platform.jobs()
    assert estimate.usage_seconds - CONSTANT_SECONDS == pytest.approx(job["usage_seconds"], abs=2)


def test_an_estimate_says_what_the_allocation_has_left(
    platform: LocalPlatform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """A run that the instance's allocation cannot pay for does not fit."""
    open_plan = next(one for one in platform.accounts[0].instances if one.plan == "open")
    credentials = IBMSessionCredentials(
        token=SecretStr(platform.info.token), instance=open_plan.crn, url=platform.info.origin
    )
    block = block.model_copy(
        update={"credentials": credentials, "backend_name": "ibm_fez", "mode": "job"}
    )
    experiment = block.experiment("e")
    assert experiment.estimate_sampler([circuit]).allocation_left_seconds == 600
    assert experiment.estimate_sampler([circuit]).times(100).fits
    assert not experiment.estimate_sampler([circuit]).times(400).fits


def test_a_circuit_that_branches_has_an_estimate(block: QuantumSession) -> None:
    """Where its length is not known beforehand, the depth bounds it."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    estimate = block.experiment("e").estimate_sampler([circuit], shots=1000)
    assert CONSTANT_SECONDS + 0.25 <= estimate.usage_seconds < CONSTANT_SECONDS + 0.3


def test_a_wrong_request_has_no_estimate(block: QuantumSession, circuit: QuantumCircuit) -> None:
    """What would be refused when it is submitted is refused here."""
    experiment = block.experiment("e")
    with pytest.raises(InvalidInputError):
        experiment.estimate_sampler([])
    with pytest.raises(InvalidInputError, match="-1 jobs"):
        experiment.estimate_sampler([circuit]).times(-1)
    for wrong_number in (1.5, "2", None):
        with pytest.raises(InvalidInputError, match="no number of jobs"):
            experiment.estimate_sampler([circuit]).times(wrong_number)  # type: ignore[arg-type]
    assert experiment.estimate_sampler([circuit]).times(np.int64(2)).jobs == 2
    wrong = QuantumCircuit(1, 1)
    wrong.h(0)
    wrong.measure(0, 0)
    with pytest.raises(NotISAError):
        experiment.estimate_sampler([wrong])


def test_what_is_recorded_under_a_label_costs_nothing_more(
    block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """Asked with another request, the label is refused, as it is when that is run."""
    experiment = block.experiment("e")
    asked = experiment.estimate_sampler([circuit], shots=10, label="a")
    experiment.run_sampler([circuit], shots=10, label="a")
    again = experiment.estimate_sampler([circuit], shots=10, label="a")
    assert (asked.jobs, again.jobs, again.usage_seconds) == (1, 0, 0)
    assert experiment.estimate_sampler([circuit], shots=10).jobs == 1
    with pytest.raises(LabelConflictError):
        experiment.estimate_sampler([circuit], shots=20, label="a")
