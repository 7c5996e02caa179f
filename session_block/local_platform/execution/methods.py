"""Chooses the method for simulating a noisy circuit, and refuses circuits that take too long.

The choice depends on the circuit and the number of shots alone, never on the machine, so that
equal jobs have equal results everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qiskit.circuit import QuantumCircuit

LIMIT_SECONDS = 600.0
# A density matrix of 12 qubits takes 268 MB, and so does a state vector of 24.
_DENSITY_MATRIX_QUBITS = 12
_STATEVECTOR_QUBITS = 24
# Bonds of 2**10 make tensors of 2**21 amplitudes.
_BOND_BITS = 10
# Gates that raise the entanglement across a cut by at most one bit; others count as two or more.
_ONE_BIT_GATES = frozenset(("cx", "cz", "ecr", "rzz", "cp"))


class TooBigToSimulateError(ValueError):
    """A circuit cannot be simulated with device noise in reasonable time and memory."""


@dataclass(frozen=True)
class _Size:
    qubits: int
    operations: int
    bond_bits: int
    is_measured_last: bool


def choose(circuits: Sequence[QuantumCircuit], shots: int) -> str:
    """Return the name of Aer's fastest method for running each circuit ``shots`` times.

    Estimates are for one core of an ordinary machine of 2025. Loops count as one iteration.

    Raises:
        TooBigToSimulateError: Every method would take more than ``LIMIT_SECONDS`` or too much
            memory.
    """
    sizes = [_size(circuit) for circuit in circuits]
    estimates = {
        method: sum(estimate(size, shots) for size in sizes)
        for method, estimate in (
            ("density_matrix", _density_matrix_seconds),
            ("statevector", _statevector_seconds),
            ("matrix_product_state", _matrix_product_seconds),
        )
    }
    best = min(estimates, key=lambda method: estimates[method])
    if estimates[best] > LIMIT_SECONDS:
        qubits = max(size.qubits for size in sizes)
        operations = sum(size.operations for size in sizes)
        raise TooBigToSimulateError(
            f"{len(sizes)} circuits of up to {qubits} active qubits and {operations} instructions "
            f"in total, each run {shots} times, cannot be simulated with device noise within "
            f"{LIMIT_SECONDS:.0f} seconds. Use fewer qubits, gates or shots, or start the platform "
            'with noise "exact" or "shots"'
        )
    return best


def _density_matrix_seconds(size: _Size, shots: int) -> float:
    if size.qubits > _DENSITY_MATRIX_QUBITS:
        return float("inf")
    runs = 1 if size.is_measured_last else shots
    return runs * size.operations * (1.5e-4 + 3.5e-9 * 4.0**size.qubits)


def _statevector_seconds(size: _Size, shots: int) -> float:
    if size.qubits > _STATEVECTOR_QUBITS:
        return float("inf")
    return shots * size.operations * (2e-6 + 9e-9 * 2.0**size.qubits)


def _matrix_product_seconds(size: _Size, shots: int) -> float:
    if size.bond_bits > _BOND_BITS:
        return float("inf")
    return shots * size.operations * (5e-5 + 1.2e-8 * 8.0**size.bond_bits)


def _size(circuit: QuantumCircuit) -> _Size:
    operations = 0
    crossings = [0] * (circuit.num_qubits + 1)
    measured: set[int] = set()
    is_measured_last = True
    for step in circuit.data:
        qubits = [circuit.find_bit(bit).index for bit in step.qubits]
        name = step.operation.name
        if name == "barrier":
            continue
        blocks = getattr(step.operation, "blocks", ())
        inside = sum(_size(block).operations for block in blocks)
        operations += inside + 1
        is_measured_last &= not blocks and measured.isdisjoint(qubits)
        if name == "measure":
            measured.update(qubits)
        elif len(qubits) > 1:
            bits = 1 if name in _ONE_BIT_GATES else max(len(qubits), inside)
            for cut in range(min(qubits), max(qubits)):
                crossings[cut] += bits
    bond_bits = max(
        (
            min(bits, cut + 1, circuit.num_qubits - cut - 1)
            for cut, bits in enumerate(crossings[: circuit.num_qubits])
        ),
        default=0,
    )
    return _Size(circuit.num_qubits, operations, bond_bits, is_measured_last)
