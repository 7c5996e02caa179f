"""Simulates without device noise: samples and expectation values of the ideal state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerError
from qiskit_aer.primitives import SamplerV2

from session_block.local_platform.execution.simulator import Simulator

STATEVECTOR_QUBITS = 24
_RANDOM_OPERATIONS = ("measure", "reset", "initialize")

T = TypeVar("T")
Array = np.ndarray[Any, Any]


def sample(pub: SamplerPub, seed: int) -> DataBin:
    """Return samples of a PUB, as arrays of bits by register."""

    def attempt(simulator: Simulator) -> DataBin:
        sampler = SamplerV2.from_backend(simulator, seed=seed)
        return sampler.run([pub]).result()[0].data

    return on_simulator(pub.circuit.num_qubits, attempt)


def expectation_values(circuit: Any, values: Array, terms: Array, shots: int, seed: int) -> Array:
    """Return expectation values as a float array of the broadcast shape.

    A circuit with random operations is run ``shots`` times and averaged, any other one once.

    Args:
        circuit: A circuit on the kept qubits only.
        values: Parameter values in the circuit's own order; shape ``(*points, parameters)``.
        terms: Observables as lists of Pauli labels and weights; an object array whose shape
            broadcasts against the points.
        shots: Number of runs of a circuit with random operations, such as measure or reset.
        seed: Seed of these random choices.
    """
    points = np.arange(math.prod(values.shape[:-1])).reshape(values.shape[:-1])
    values = values.reshape(points.size, -1)
    pairs = np.broadcast(points, terms)
    wanted: dict[int, list[tuple[int, list[tuple[str, float]]]]] = {}
    for flat, (place, observable) in enumerate(pairs):
        wanted.setdefault(place, []).append((flat, observable))
    evs = np.zeros(pairs.size)
    bound = []
    for place, requests in wanted.items():
        experiment = circuit.assign_parameters(values[place])
        for flat, observable in requests:
            if circuit.num_qubits and observable:
                operator = SparsePauliOp.from_list(observable)
                experiment.save_expectation_value(operator, experiment.qubits, label=str(flat))
            else:
                evs[flat] = sum(weight for _, weight in observable)
        bound.append(experiment)
    if circuit.num_qubits:
        runs = shots if is_random(circuit) else 1
        for saved in _saved_values(bound, circuit.num_qubits, runs, seed):
            for label, value in saved.items():
                evs[int(label)] = float(np.real(value))
    return evs.reshape(pairs.shape)


def probabilities(circuits: list[Any], qubits: list[int]) -> Array:
    """Return the probabilities of all outcomes of some qubits; the first is the lowest bit.

    Args:
        circuits: Circuits that measure nothing, on equally many qubits.
        qubits: Which qubits are read out, at the end.
    """
    for circuit in circuits:
        circuit.save_probabilities(qubits, label="0")
    saved = _saved_values(circuits, circuits[0].num_qubits, 1, 0)
    return np.array([one["0"] for one in saved], dtype=float)


def on_simulator(num_qubits: int, attempt: Callable[[Simulator], T]) -> T:
    """Run ``attempt`` with the first simulation method that works for this number of qubits.

    For wide circuits, try the method for Clifford circuits, then the one for weak entanglement.
    """
    if num_qubits <= STATEVECTOR_QUBITS:
        return attempt(Simulator("automatic"))
    try:
        return attempt(Simulator("stabilizer", num_qubits))
    except AerError:
        return attempt(Simulator("matrix_product_state", num_qubits))


def _saved_values(
    experiments: list[Any], num_qubits: int, shots: int, seed: int
) -> list[dict[str, Any]]:
    def attempt(simulator: Simulator) -> list[dict[str, Any]]:
        result = simulator.run(experiments, shots=shots, seed_simulator=seed).result()
        return [result.data(index) for index in range(len(experiments))]

    return [
        {label: value for label, value in data.items() if label.isdigit()}
        for data in on_simulator(num_qubits, attempt)
    ]


def is_random(circuit: Any) -> bool:
    """Whether a circuit measures, resets or branches."""
    return circuit.has_control_flow_op() or any(
        name in _RANDOM_OPERATIONS for name in circuit.count_ops()
    )
