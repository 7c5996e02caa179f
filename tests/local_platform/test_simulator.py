"""A simulation that fails is an error, whoever asks for it."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit
from qiskit.primitives import BackendSamplerV2
from qiskit_aer import AerError
from qiskit_aer.primitives import SamplerV2

from session_block.local_platform.execution.simulator import Simulator


def _rotated() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.rx(0.3, 0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize(
    "sampler", [SamplerV2.from_backend, lambda backend: BackendSamplerV2(backend=backend)]
)
def test_a_failed_run_gives_no_zeros(sampler: type[SamplerV2]) -> None:
    """The method for Clifford circuits cannot run another one; samplers pass its error on."""
    with pytest.raises(AerError, match="simulation failed"):
        sampler(Simulator("stabilizer")).run([_rotated()], shots=8).result()
    result = sampler(Simulator("statevector")).run([_rotated()], shots=8).result()
    assert result[0].data.meas.num_shots == 8


def test_a_method_takes_as_many_qubits_as_it_is_told() -> None:
    """Aer's own limit for state vectors follows the machine's memory."""
    circuit = QuantumCircuit(70)
    circuit.h(range(70))
    circuit.measure_all()
    counts = Simulator("stabilizer", 70).run(circuit, shots=8).result().get_counts()
    assert sum(counts.values()) == 8
