"""A resumed run gets the very circuit with which it began."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from support import BACKEND

from session_block import DurableEstimator, LocalPlatformCredentials, QuantumSession
from session_block.algorithms.vqe import run_vqe
from session_block.errors import FaultyQubitError, InvalidInputError
from session_block.local_platform import LocalPlatform

pytestmark = pytest.mark.rest

POINT = np.linspace(0.1, 0.4, 4)
ZZ = SparsePauliOp("ZZ")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A platform of the test's own, whose calibrations it may change."""
    with LocalPlatform(tmp_path / "platform", noise="device", seed=3) as platform:
        yield platform


@pytest.fixture
def block(platform: LocalPlatform, ledger_url: str) -> QuantumSession:
    """A Block for that platform."""
    return QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
        backend_name=BACKEND,
        ledger_url=ledger_url,
    )


def _asked(platform: LocalPlatform) -> dict[str, int]:
    counts = platform.stats()["requests"]
    return {route: count for route, count in counts.items() if "/_local/" not in route}


def _coupling(circuit: QuantumCircuit) -> list[int]:
    """Return the device's qubits on which a two-qubit ISA circuit has its first cx."""
    step = next(step for step in circuit.data if step.operation.name == "cx")
    return [circuit.find_bit(qubit).index for qubit in step.qubits]


def test_a_new_calibration_changes_no_circuit(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The ISA circuit comes from the ledger, whatever became of the backend."""
    circuit = real_amplitudes(2, reps=1)
    first = block.experiment("e").transpile(circuit)
    platform.calibrate(BACKEND, faulty_gates=[["cx", *_coupling(first)]])
    before = _asked(platform)
    experiment = block.experiment("e")
    assert experiment.transpile(circuit) == first
    assert _asked(platform) == before
    kept = [fact.key for fact in block.ledger().facts(experiment.uid, "circuit/")]
    assert len(kept) == 1
    other = block.experiment("another").transpile(circuit)
    assert _coupling(other) != _coupling(first)


def test_a_gate_that_becomes_faulty_is_said_before_anything_is_sent(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The error names repin; then what is recorded is replayed, and the rest runs elsewhere."""
    circuit = real_amplitudes(2, reps=1)
    experiment = block.experiment("e")
    before = DurableEstimator(experiment).run([(circuit, ZZ, POINT)]).result()[0].data.evs
    coupling = _coupling(experiment.fitting(circuit))
    platform.calibrate(BACKEND, faulty_gates=[["cx", *coupling]])

    resumed = block.experiment("e")
    estimator = DurableEstimator(resumed)
    assert estimator.run([(circuit, ZZ, POINT)]).result()[0].data.evs == before
    with pytest.raises(FaultyQubitError, match="repin"):
        estimator.run([(circuit, ZZ, 2 * POINT)])
    assert len(platform.jobs()) == 1
    assert _coupling(resumed.repin(circuit)) != coupling

    mended = block.experiment("e")
    estimator = DurableEstimator(mended)
    assert estimator.run([(circuit, ZZ, POINT)]).result()[0].data.evs == before
    estimator.run([(circuit, ZZ, 2 * POINT)]).result()
    mended.close_session()
    assert len(platform.jobs()) == 2


def test_a_circuit_that_fits_is_left_alone(block: QuantumSession) -> None:
    """An ISA circuit is run as it is."""
    experiment = block.experiment("e")
    isa_circuit = experiment.transpile(real_amplitudes(2, reps=1))
    assert experiment.fitting(isa_circuit) is isa_circuit


def test_the_transpiler_of_an_experiment_takes_one_circuit_or_many(block: QuantumSession) -> None:
    """Algorithms give it both; options belong to where it is made."""
    experiment = block.experiment("e")
    transpiler = experiment.transpiler()
    circuit = real_amplitudes(2, reps=1)
    one = transpiler.run(circuit)
    assert one == experiment.transpile(circuit)
    assert transpiler.run([circuit, QuantumCircuit(1)])[0] == one
    with pytest.raises(InvalidInputError, match="no options"):
        transpiler.run(circuit, optimization_level=3)


def test_a_noisy_run_is_repeatable(block: QuantumSession) -> None:
    """On a seeded platform with the device's noise two experiments take the same way."""
    reports = []
    for name in ("one", "two"):
        with block.experiment(name) as experiment:
            reports.append(run_vqe(experiment, seed=1, optimizer_options={"maxiter": 8}))
    assert reports[0].evaluations == reports[1].evaluations
