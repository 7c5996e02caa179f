"""Random circuits in boxes, the programs made of them, and processes with another history."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import CircuitInstruction, Parameter
from qiskit.quantum_info import PauliLindbladMap
from samplomatic import InjectNoise, build
from samplomatic.quantum_program import QuantumProgram
from samplomatic.transpiler import generate_boxing_pass_manager
from samplomatic.transpiler.passes import AddInjectNoise
from samplomatic.transpiler.passes.add_tags import AddTags

from session_block.pubs.program_fingerprint import (
    fingerprint_instructions,
    fingerprint_quantum_program,
)


def boxed_circuit(seed: int, runs_before: int = 0) -> QuantumCircuit:
    """Return the boxed circuit of a seed.

    Args:
        seed: Decides the structure.
        runs_before: How many circuits the same pass manager boxed before; it counts on.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    manager = generate_boxing_pass_manager(
        twirling_group=draw.choice(["pauli", "balanced_pauli", "local_c1", "local_pauli"]),
        twirling_strategy=draw.choice(["active", "active_accum", "active_circuit", "all"]),
        decomposition=draw.choice(["rzsx", "rzrx"]),
        measure_annotations=draw.choice(["twirl", "change_basis", "all"]),
        inject_noise_targets=draw.choice(["gates", "measures", "all"]),
        inject_noise_strategy=draw.choice(
            ["no_modification", "uniform_modification", "individual_modification"]
        ),
        inject_noise_site=draw.choice(["before", "after"]),
        add_tags=draw.choice(["none", "unique_box", "unique_instance", "noise_ref"]),
    )
    for number in range(runs_before):
        manager.run(_circuit(random.Random(number)))  # noqa: S311 - no secret
    return manager.run(_circuit(draw))


def _circuit(draw: random.Random) -> QuantumCircuit:
    size = draw.randint(2, 5)
    circuit = QuantumCircuit(QuantumRegister(size, "q"))
    parameters = [Parameter(name) for name in "abc"]
    for _ in range(draw.randint(1, 4)):
        for qubit in range(size):
            angle = draw.choice([draw.random(), draw.choice(parameters) * 0.5, None])
            if angle is not None:
                circuit.rz(angle, qubit)
                circuit.sx(qubit)
        order = draw.sample(range(size), size)
        for one, other in zip(order[::2], order[1::2], strict=False):
            circuit.cz(one, other)
    # Nobody names these registers.
    for qubit in range(size) if draw.random() < 0.5 else ():
        circuit.add_register(register := ClassicalRegister(1))
        circuit.measure(qubit, register)
    if not circuit.cregs:
        circuit.measure_all()
    return circuit


def program_of(seed: int, runs_before: int = 0) -> QuantumProgram:
    """Return a program of the boxed circuit of a seed, with arguments that the seed decides."""
    boxed = boxed_circuit(seed, runs_before)
    template, samplex = build(boxed)
    draw = np.random.default_rng(seed)
    inputs = {spec.name: spec for spec in samplex.inputs().get_specs()}
    arguments: dict[str, Any] = {}
    for reference in _references(boxed):
        spec = inputs[f"pauli_lindblad_maps.{reference}"]
        terms = [("XZ"[q % 2], [q], draw.random()) for q in range(spec.num_qubits)]
        arguments[spec.name] = PauliLindbladMap.from_sparse_list(terms, spec.num_qubits)
    for name, spec in inputs.items():
        if name.startswith("basis_changes."):
            arguments[name] = draw.integers(0, 4, spec.shape, dtype=np.uint8)
        elif name == "parameter_values":
            arguments[name] = draw.random((2, *spec.shape))
    program = QuantumProgram(shots=100)
    program.append_samplex_item(template, samplex, arguments, shape=(3, 2))
    return program


def instructions_of(seed: int, runs_before: int = 0) -> list[CircuitInstruction]:
    """Return the boxes of the boxed circuit of a seed."""
    return [one for one in boxed_circuit(seed, runs_before).data if one.name == "box"]


def _references(boxed: QuantumCircuit) -> list[str]:
    """Return the references of the noise in the order of the boxes."""
    found = [
        annotation.ref
        for instruction in boxed.data
        for annotation in getattr(instruction.operation, "annotations", ())
        if isinstance(annotation, InjectNoise)
    ]
    return list(dict.fromkeys(found))


def print_fingerprints(first: int, last: int, waste: int) -> None:
    """Print the fingerprints of some seeds in a process that made other things before."""
    for number in range(waste):
        QuantumCircuit(QuantumRegister(1), ClassicalRegister(1)).measure_all()
        program_of(10**6 + number)
    if waste:
        # A long history: all short references are taken, so each new one is longer.
        short = [f"{number:03x}" for number in range(16**3)]
        AddInjectNoise._REFS.update(f"r{one}{site}" for one in short for site in "AB")
        AddTags._REFS.update(f"t{one}" for one in short)
    for seed in range(first, last):
        program = fingerprint_quantum_program(program_of(seed, waste), {}, version=2)
        learned = fingerprint_instructions(instructions_of(seed, waste), {}, version=2)
        sys.stdout.write(f"{program} {learned}\n")
