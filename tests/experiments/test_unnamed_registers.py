"""Circuits whose registers nobody named are found again, and their results by today's names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from support import Platform

from session_block import DurableSampler, QuantumSession
from session_block.experiments.experiment import Experiment
from session_block.references import Implementation, JobRef

BOTH = pytest.mark.parametrize("implementation", ["v2", "executor"])
SHOTS = 7


def _circuit() -> QuantumCircuit:
    """Two registers without names; the first one gives 1, the second one 0."""
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1), ClassicalRegister(1))
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    return circuit


def _by_run(experiment: Experiment, circuit: QuantumCircuit, family: Implementation) -> Any:
    return experiment.run_sampler([circuit], shots=SHOTS, implementation=family)


def _by_primitive(experiment: Experiment, circuit: QuantumCircuit, family: Implementation) -> Any:
    return DurableSampler(experiment, implementation=family).run([circuit], shots=SHOTS).result()


def _by_reference(experiment: Experiment, circuit: QuantumCircuit, family: Implementation) -> Any:
    job = experiment.submit_sampler([circuit], shots=SHOTS, implementation=family)
    return experiment.fetch_result(JobRef.model_validate(json.loads(job.model_dump_json())))


@BOTH
@pytest.mark.parametrize("ask", [_by_run, _by_primitive, _by_reference])
def test_a_resumed_run_reads_its_own_names(
    platform: Platform,
    block: QuantumSession,
    ask: Callable[[Experiment, QuantumCircuit, Implementation], Any],
    implementation: Implementation,
) -> None:
    """Names overlap: what was the second register's name is the first one's now."""
    for attempt in range(3):
        if attempt == 1:
            ClassicalRegister(1)  # so that the numbers move by one place, then by two
        circuit = _circuit()
        first, second = (register.name for register in circuit.cregs)
        experiment = block.experiment("resumed")
        data = ask(experiment, circuit, implementation)[0].data
        assert list(data) == [first, second]
        assert data[first].get_counts() == {"1": SHOTS}
        assert data[second].get_counts() == {"0": SHOTS}
        assert platform.jobs_of(experiment.uid) == 1
    experiment.close_session()


def test_a_lost_ledger_loses_no_register(
    platform: Platform, block: QuantumSession, tmp_path: Path
) -> None:
    """The names that were sent are lost with it; the order of the result tells them."""
    experiment = block.experiment("lost")
    experiment.run_sampler([_circuit()], shots=SHOTS)
    url = SecretStr(f"sqlite:///{tmp_path}/new.db")
    elsewhere = block.model_copy(update={"ledger_url": url})
    again = elsewhere.experiment("lost")
    circuit = _circuit()
    first, second = (register.name for register in circuit.cregs)
    data = again.run_sampler([circuit], shots=SHOTS)[0].data
    assert data[first].get_counts() == {"1": SHOTS}
    assert data[second].get_counts() == {"0": SHOTS}
    assert platform.jobs_of(experiment.uid) == 1
    again.close_session()


@pytest.mark.rest
def test_a_second_measurement_of_all_is_found_again(
    platform: Platform, block: QuantumSession
) -> None:
    """Qiskit numbers its register ``meas0``, ``meas1``, … through the whole process."""
    for _ in range(2):
        circuit = QuantumCircuit(1)
        circuit.measure_all()
        circuit.x(0)
        circuit.measure_all()
        experiment = block.experiment("twice")
        data = DurableSampler(experiment).run([circuit], shots=SHOTS).result()[0].data
        assert data.meas.get_counts() == {"0": SHOTS}
        assert data[circuit.cregs[1].name].get_counts() == {"1": SHOTS}
    assert platform.jobs_of(experiment.uid) == 1
    experiment.close_session()
