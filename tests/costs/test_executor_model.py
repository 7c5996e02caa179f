"""Executor jobs: counted from what is sent, guessed widely, and learned from five finished ones."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import QuantumProgram
from support import Platform

from session_block import QuantumSession
from session_block.costs import v2_model
from session_block.costs.executor_model import ENOUGH_JOBS, executor_forecast
from session_block.costs.work import Runs, Work
from session_block.records.charges import JobKind, charges_of
from session_block.records.journal import Journal
from session_block.records.keys import Intent, JobCharged


def _work(executions: int) -> Work:
    return Work(
        program="sampler",
        family="heron",
        level=0,
        rep_delay_seconds=250e-6,
        runs=[Runs(executions, 2e-6)],
    )


def _charged(constant: float, price: float, executions: int) -> JobCharged:
    length = executor_forecast(_work(executions)).execution_seconds
    return JobCharged(
        program="sampler",
        level=0,
        backend="ibm_x",
        url="https://x",
        job_id="j",
        executions=executions,
        execution_seconds=length,
        seconds=float(round(constant + price * length)),
    )


@pytest.fixture
def circuit() -> QuantumCircuit:
    """A circuit that any backend takes as it is."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


def test_without_a_finished_job_the_interval_is_wide_and_says_why() -> None:
    """Twice and half, and nothing that was learned from server-side jobs."""
    found = executor_forecast(_work(40_000))
    assert found.seconds == pytest.approx(2 + 40_000 * 257e-6)
    assert (found.low, found.high) == (found.seconds / 2, 2 * found.seconds)
    assert (found.model, found.evidence) == ("executor", "no public record")
    assert found.seconds != v2_model.seconds(_work(40_000))


def test_four_jobs_teach_nothing_yet_and_five_do() -> None:
    """The interval stays wide until then."""
    known = [_charged(6, 1, 4000)] * (ENOUGH_JOBS - 1)
    assert executor_forecast(_work(4000), known) == executor_forecast(_work(4000))
    learned = executor_forecast(_work(4000), [*known, known[0]])
    assert learned.evidence == "this ledger, n=5"
    assert learned.seconds == pytest.approx(7, abs=0.5)
    assert learned.high - learned.low < 3


def test_constant_and_price_are_told_apart_by_jobs_of_several_lengths() -> None:
    """Short jobs teach the constant, long ones the price of an execution."""
    known = [_charged(5, 2, executions) for executions in (100, 4000, 40_000, 80_000, 160_000)]
    found = executor_forecast(_work(120_000), known)
    assert found.seconds == pytest.approx(5 + 2 * 120_000 * 257e-6, rel=0.05)
    assert found.low <= 5 + 2 * 120_000 * 257e-6 <= found.high


def test_short_jobs_do_not_teach_what_long_ones_cost() -> None:
    """The constant is learned, the price stays what it was, and the interval wide."""
    known = [_charged(1, 1, 100)] * 8
    found = executor_forecast(_work(400_000), known)
    assert found.seconds == pytest.approx(1 + 400_000 * 257e-6, rel=0.05)
    assert found.high == pytest.approx(2 * found.seconds)


def test_charges_that_vary_keep_the_interval_wide() -> None:
    """It covers what was learned from."""
    known = [_charged(constant, 1, 100) for constant in (2, 2, 3, 4, 12)]
    found = executor_forecast(_work(100), known)
    assert found.low <= 2
    assert found.high >= 12


@pytest.mark.rest
def test_all_items_of_what_is_sent_are_counted(platform: Platform, block: QuantumSession) -> None:
    """As many executions as the platform counts: TREX, randomizations and amplified circuits."""
    del platform
    experiment = block.experiment("e")
    circuit = experiment.transpile(real_amplitudes(2, reps=1))
    observable = SparsePauliOp(["ZZ", "XX"]).apply_layout(circuit.layout)
    pub = (circuit, observable, [0.0] * 4)
    counted = [
        experiment.estimate_estimator(
            [pub], precision=0.1, options={"resilience_level": level}
        ).executions
        for level in (0, 1, 2)
    ]
    # 2 bases of 100 shots; then of 128, and as many to learn the readout; then of three circuits.
    assert counted == [200, 3 * 128, (3 * 2 + 1) * 128]
    twirled = {"twirling": {"enable_gates": True, "num_randomizations": 10}}
    bell = QuantumCircuit(2, 2)
    bell.measure([0, 1], [0, 1])
    assert experiment.estimate_sampler([bell], shots=95, options=twirled).executions == 100
    assert experiment.estimate_sampler([(bell, None, 95), (bell, None, 5)]).executions == 100
    program = QuantumProgram(shots=7)
    program.append_circuit_item(bell)
    program.append_circuit_item(bell)
    assert experiment.estimate_executor(program).executions == 14


@pytest.mark.rest
def test_estimates_learn_from_the_jobs_of_the_ledger(
    platform: Platform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """Five finished jobs of a kind teach those of other experiments too, and of no other kind."""
    block = block.model_copy(update={"mode": "job"})
    with block.experiment("first") as first:
        before = first.estimate_sampler([circuit], shots=8)
        for number in range(ENOUGH_JOBS):
            first.run_sampler([circuit], shots=8, label=str(number))
        first.usage()
        backend, ledger = first.backend.name, first._ledger
        url = str(Journal(ledger, first.uid).all(Intent)[0].url)
    charges = charges_of(ledger, JobKind("sampler", 0, backend, url))
    usage = {job.job_id: job.seconds for job in first.usage().jobs}
    assert {one.job_id: one.seconds for one in charges} == usage
    assert platform.jobs_of(first.uid) == len(charges) == ENOUGH_JOBS
    assert {one.executions for one in charges} == {8}
    second = block.experiment("second")
    after = second.estimate_sampler([circuit], shots=8)
    assert (before.evidence, after.evidence) == ("no public record", "this ledger, n=5")
    assert after.high_seconds - after.low_seconds < before.high_seconds - before.low_seconds
    assert after.low_seconds <= charges[0].seconds <= after.high_seconds
    (other,) = [second.estimate_sampler([circuit], shots=8, implementation="v2")]
    assert other.model == "v2"
    assert other.evidence == "no public record of sampler jobs on falcon QPUs"


def test_an_intent_says_what_its_job_was_expected_to_cost(
    block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """It is recorded before the job is sent, and costs no fact of its own."""
    with block.experiment("e") as experiment:
        asked = experiment.estimate_sampler([circuit], shots=100)
        experiment.run_sampler([circuit], shots=100)
        (intent,) = Journal(experiment._ledger, experiment.uid).all(Intent)
    assert (intent.executions, intent.level) == (100, 0)
    assert intent.expected_seconds is not None
    expected, low, high = intent.expected_seconds
    assert expected == pytest.approx(asked.usage_seconds, abs=0.01)
    assert (low, high) == (
        pytest.approx(expected / 2, abs=0.01),
        pytest.approx(2 * expected, abs=0.01),
    )
