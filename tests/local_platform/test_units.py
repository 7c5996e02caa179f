"""The pure parts: seeds, and circuits and observables without idle qubits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Statevector

from session_block.local_platform import circuits
from session_block.local_platform.seeding import content_seed

STRUCTURE = (
    "from qiskit import QuantumCircuit\n"
    "from qiskit.circuit import ParameterVector\n"
    "from session_block.local_platform import circuits\n"
    "from session_block.local_platform.seeding import content_seed\n"
    "[QuantumCircuit(1) for _ in range(int(__import__('sys').argv[1]))]\n"
    "circuit = QuantumCircuit(3)\n"
    "circuit.ry(ParameterVector('t', 2)[1], 2)\n"
    "circuit.measure_all()\n"
    "print(content_seed(circuits.structure(circuit)))"
)


def test_seeds_follow_content() -> None:
    """Equal content gives equal seeds; any difference in kind, order or value another one."""
    array = np.arange(4.0)
    different = [
        (1, "a", array),
        (2, "a", array),
        ("1", "a", array),
        ("a", 1, array),
        (1, "a", array.reshape(2, 2)),
        (1, "a", array.astype(int)),
        (1, "a", {"x": None}),
        (1, "a", {"x": [None]}),
        (1, "a", [[], None]),
        (1, "a", [[None]]),
    ]
    seeds = {content_seed(*content) for content in different}
    assert len(seeds) == len(different)
    assert content_seed({"x": 1, "y": [array]}) == content_seed({"y": (array.copy(),), "x": 1})
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_structure_is_the_same_in_every_process() -> None:
    """A circuit built in two processes, after a different number of others, has one structure."""
    seeds = {
        subprocess.run(
            [sys.executable, "-c", STRUCTURE, count], capture_output=True, text=True, check=True
        ).stdout
        for count in ("0", "5")
    }
    assert len(seeds) == 1


def test_idle_qubits_are_left_out() -> None:
    """A wide circuit keeps its active qubits, parameters, registers and outcome, and no more."""
    angle = ParameterVector("t", 1)
    circuit = QuantumCircuit(40, 2)
    circuit.h(7)
    circuit.barrier()
    circuit.cx(7, 30)
    circuit.rz(angle[0], 30)
    circuit.delay(100, 3)
    circuit.measure([7, 30], [0, 1])
    small, kept = circuits.compact(circuit)
    assert kept == (7, 30)
    assert list(small.parameters) == list(angle)
    assert small.cregs == circuit.cregs
    assert circuit.num_qubits == 40


LETTERS = "IXYZ01+-rl"


@pytest.mark.parametrize("kept", [(0, 2), (1,), (), (0, 1, 2)])
def test_observables_reduce_without_changing_their_value(kept: tuple[int, ...]) -> None:
    """On states whose left-out qubits are idle, every letter keeps its expectation value."""
    rng = np.random.default_rng(1)
    small = QuantumCircuit(len(kept))
    full = QuantumCircuit(3)
    for index, qubit in enumerate(kept):
        angles = rng.uniform(0, 6, 3)
        small.u(*angles, index)
        full.u(*angles, qubit)
    matrices = {
        "I": np.eye(2),
        "X": np.array([[0, 1], [1, 0]]),
        "Y": np.array([[0, -1j], [1j, 0]]),
        "Z": np.diag([1, -1]),
    }
    for letter, projected, sign in (
        ("0", "Z", 1),
        ("1", "Z", -1),
        ("+", "X", 1),
        ("-", "X", -1),
        ("r", "Y", 1),
        ("l", "Y", -1),
    ):
        matrices[letter] = (np.eye(2) + sign * matrices[projected]) / 2
    state = Statevector(full).data
    for _ in range(50):
        label = "".join(rng.choice(list(LETTERS), 3))
        matrix = np.eye(1)
        for letter in label:
            matrix = np.kron(matrix, matrices[letter])
        expected = np.vdot(state, matrix @ state).real
        terms = circuits.reduced_terms({label: 2.0}, kept)
        value = 0.0
        for paulis, weight in terms:
            operator = np.eye(1)
            for letter in paulis:
                operator = np.kron(operator, matrices[letter])
            reduced = Statevector(small).data if kept else np.ones(1)
            value += weight * np.vdot(reduced, operator @ reduced).real
        assert value == pytest.approx(2.0 * expected, abs=1e-12), label
