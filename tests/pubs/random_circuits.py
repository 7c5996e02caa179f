"""Random circuits in which nobody names what can go without a name."""

from __future__ import annotations

import random
import sys
from typing import Any

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Parameter

from session_block.pubs.request import sampler_request


def circuit_of(seed: int, *, named: bool = False) -> QuantumCircuit:
    """Return the circuit of a seed; its names depend on what the process made before.

    Args:
        seed: Decides the structure.
        named: Whether the quantum registers, the circuit and the loops' variables have names.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    qubits = QuantumRegister(3, "mine") if named else QuantumRegister(3)
    circuit = QuantumCircuit(qubits, name="mine" if named else None)
    for _ in range(draw.randint(1, 3)):
        circuit.add_register(ClassicalRegister(draw.randint(1, 2)))
    if draw.random() < 0.5:
        circuit.add_register(ClassicalRegister(bits=draw.sample(circuit.clbits, 1)))
    if draw.random() < 0.3:
        circuit.add_bits([Clbit()])
    for _ in range(draw.randint(1, 5)):
        _add(circuit, draw, 2, named)
    for _ in range(draw.randint(0, 2)):
        circuit.measure_all()
    circuit.measure(0, 0)
    return circuit


def _add(circuit: QuantumCircuit, draw: random.Random, depth: int, named: bool) -> None:
    kind = draw.choice(["gate", "bit", "register", "loop", "nested", "while", "sub", "block"])
    if depth == 0 or kind == "gate":
        circuit.rx(draw.random(), draw.randrange(3))
        return
    match kind:
        case "bit":
            circuit.measure(0, 0)
            with circuit.if_test((circuit.clbits[0], draw.randint(0, 1))):
                _add(circuit, draw, depth - 1, named)
        case "register":
            circuit.measure(1, 0)
            with circuit.if_test((draw.choice(circuit.cregs), 1)) as otherwise:
                _add(circuit, draw, depth - 1, named)
            with otherwise:
                circuit.z(draw.randrange(3))
        case "while":
            with circuit.while_loop((circuit.cregs[0], 1)):
                circuit.measure(2, 0)
        case "loop":
            variable = Parameter("turn") if named else None
            with circuit.for_loop(range(draw.randint(1, 3)), variable) as turn:
                circuit.ry(turn * draw.random() + draw.random(), draw.randrange(3))
                circuit.rz(turn, draw.randrange(3))
        case "nested":
            with circuit.for_loop(range(2)) as outer, circuit.for_loop(range(2)) as inner:
                circuit.rz(outer * inner + 2 * outer - draw.random() * inner, 0)
        case "sub":
            circuit.append(_sub(draw), draw.sample(range(3), 2), [0])
        case "block":
            body = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1))
            body.rx(draw.random(), 0)
            body.measure(0, 0)
            circuit.if_test((circuit.clbits[0], 1), body, [0, 1], [0])


def _sub(draw: random.Random) -> Any:
    inner = QuantumCircuit(2)
    inner.rx(draw.random(), 0)
    if draw.random() < 0.5:
        inner.append(inner.to_gate().inverse().power(2), [0, 1])
    sub = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1))
    sub.append(inner.to_gate(), [0, 1])
    sub.measure(0, 0)
    return sub.to_instruction()


def print_fingerprints(first: int, last: int, waste: int) -> None:
    """Print the fingerprints of some seeds in a process that made other things before."""
    for _ in range(waste):
        made = QuantumCircuit(QuantumRegister(1), ClassicalRegister(1))
        made.measure_all()
        made.measure_all()
        with made.for_loop(range(2)) as turn:
            made.rx(turn, 0)
        QuantumCircuit(1).to_instruction()
    for seed in range(first, last):
        sys.stdout.write(sampler_request([circuit_of(seed)], shots=10).fingerprint + "\n")
