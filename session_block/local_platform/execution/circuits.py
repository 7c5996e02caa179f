"""Reduces circuits and observables to the qubits in use.

An ISA circuit for a device of 156 qubits has all of them, more than a simulator can hold. Qubits
without a gate stay in the ground state, so they are removed from the circuit, and replaced in the
observables by their known expectation values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Qubit
from qiskit.converters import circuit_to_dag, dag_to_circuit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

# Expectation value of each letter of an observable for a qubit in its ground state.
_GROUND_STATE = {
    "I": 1.0,
    "Z": 1.0,
    "X": 0.0,
    "Y": 0.0,
    "0": 1.0,
    "1": 0.0,
    "+": 0.5,
    "-": 0.5,
    "r": 0.5,
    "l": 0.5,
}

# Projectors as sums of Pauli letters.
_AS_PAULIS = {
    "0": (("I", 0.5), ("Z", 0.5)),
    "1": (("I", 0.5), ("Z", -0.5)),
    "+": (("I", 0.5), ("X", 0.5)),
    "-": (("I", 0.5), ("X", -0.5)),
    "r": (("I", 0.5), ("Y", 0.5)),
    "l": (("I", 0.5), ("Y", -0.5)),
}


def compact(
    circuit: QuantumCircuit, also: Collection[int] = (), *, with_delays: bool = False
) -> tuple[QuantumCircuit, tuple[int, ...]]:
    """Return an equivalent circuit without idle qubits, and the indices of the kept qubits.

    Barriers are dropped. A qubit with delays alone is idle.

    Args:
        circuit: The circuit.
        also: Indices of qubits to keep even if they are idle.
        with_delays: Whether to keep the delays on the kept qubits. Without device noise they have
            no effect.
    """
    dag = circuit_to_dag(circuit)
    dag.remove_all_ops_named("barrier")
    if not with_delays:
        dag.remove_all_ops_named("delay")
    wanted = {circuit.qubits[index] for index in also}
    idle = [
        wire
        for wire in dag.idle_wires(ignore=["delay"])
        if isinstance(wire, Qubit) and wire not in wanted
    ]
    gone = set(idle)
    for node in dag.named_nodes("delay"):
        if node.qargs[0] in gone:
            dag.remove_op_node(node)
    kept = tuple(index for index, qubit in enumerate(circuit.qubits) if qubit not in gone)
    dag.remove_qubits(*idle)
    return dag_to_circuit(dag), kept


def observed(observables: Any) -> set[int]:
    """Return the indices of the qubits on which one of the observables is not the identity."""
    return {
        index
        for observable in np.ravel(np.asarray(observables))
        for label in observable
        for index, letter in enumerate(reversed(label))
        if letter != "I"
    }


def reduced_terms(observable: Mapping[str, float], kept: Sequence[int]) -> list[tuple[str, float]]:
    """Return an observable as weighted Pauli labels over the kept qubits.

    The rightmost letter is the first kept qubit. Projectors are expanded into Paulis, and letters
    on removed qubits become a factor.
    """
    places = set(kept)
    total: dict[str, float] = {}
    for label, coefficient in observable.items():
        letters = label[::-1]
        factor = float(coefficient)
        for index, letter in enumerate(letters):
            if index not in places:
                factor *= _GROUND_STATE[letter]
        if factor == 0.0:
            continue
        for paulis, weight in _expand([letters[index] for index in kept]):
            total[paulis] = total.get(paulis, 0.0) + factor * weight
    return list(total.items())


def all_reduced_terms(observables: Any, kept: Sequence[int]) -> np.ndarray[Any, Any]:
    """Reduce each observable of an array. Returns an object array of the same shape."""
    whole: Any = np.asarray(observables)
    reduced = np.empty(whole.shape, dtype=object)
    for index in np.ndindex(whole.shape):
        reduced[index] = reduced_terms(whole[index], kept)
    return reduced


def structure(circuit: QuantumCircuit) -> str:
    """Return a text that is equal for equal circuits in any process, to derive seeds from.

    QPY bytes are not suitable: they contain random parameter IDs. Qiskit numbers what nobody named
    through the whole process, so such names are numbered anew, in the order in which they appear.
    """
    return _renumbered(_text(circuit), circuit)


def _renumbered(text: str, circuit: QuantumCircuit) -> str:
    registers = [
        re.escape(one.name) for one in (*circuit.qregs, *circuit.cregs) if one.name[-1:].isdecimal()
    ]
    names: dict[str, str] = {}
    return re.sub(
        "|".join([*(f"\\b{name}\\b" for name in registers), r"\b_loop_i_\d+", r"\bcircuit_\d+\w*"]),
        lambda found: names.setdefault(found[0], f"name {len(names)}"),
        text,
    )


def _text(circuit: QuantumCircuit) -> str:
    try:
        return str(qasm3.dumps(circuit))
    except qasm3.QASM3ExporterError:
        return _instructions(circuit)


def _instructions(circuit: QuantumCircuit) -> str:
    """Return a circuit as text, where OpenQASM 3 has no words for it."""
    return "\n".join(
        f"{item.operation.name} "
        f"{[_parameter(value) for value in item.operation.params]} "
        f"{[circuit.find_bit(bit).index for bit in item.qubits]} "
        f"{[circuit.find_bit(bit).index for bit in item.clbits]}"
        for item in circuit.data
    )


def _parameter(value: Any) -> str:
    return _instructions(value) if isinstance(value, QuantumCircuit) else str(value)


def _expand(letters: Sequence[str]) -> list[tuple[str, float]]:
    """Expand letters (first qubit first) into weighted Pauli labels (first qubit last)."""
    terms = [("", 1.0)]
    for letter in letters:
        options = _AS_PAULIS.get(letter, ((letter, 1.0),))
        terms = [
            (pauli + label, weight * part) for label, weight in terms for pauli, part in options
        ]
    return terms
