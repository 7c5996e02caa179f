"""The identity of a request: the same in every process, different when the content is."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qpy
from qiskit.circuit import AnnotatedOperation, Clbit, Gate, InverseModifier, Parameter, Qubit
from qiskit.circuit.classical import expr, types
from qiskit.circuit.library import (
    LinearPauliRotationsGate,
    PauliEvolutionGate,
    RXGate,
    RZZGate,
    UnitaryGate,
    efficient_su2,
    qaoa_ansatz,
    real_amplitudes,
)
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.quantum_info import Clifford, SparsePauliOp

from session_block.errors import InvalidInputError
from session_block.pubs import fingerprint
from session_block.pubs.encoding import decode_circuit, encode_circuit
from session_block.pubs.fingerprint import CIRCUIT_FINGERPRINTS, fingerprint_label, submission_id
from session_block.pubs.request import estimator_request, sampler_request

Z = SparsePauliOp("ZZ")
fingerprint_circuit = CIRCUIT_FINGERPRINTS[2]


def _bell(measured: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    if measured:
        circuit.measure_all()
    return circuit


def _dynamic() -> QuantumCircuit:
    circuit = QuantumCircuit([Qubit(), Qubit()], [Clbit(), Clbit()])
    register = ClassicalRegister(2, "r")
    circuit.add_register(register)
    variable = circuit.add_var("v", expr.lift(3, types.Uint(8)))
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    with circuit.if_test(expr.logic_and(circuit.clbits[1], expr.less(variable, 5))):
        circuit.z(1)
    with circuit.while_loop((register, 2)):
        circuit.store(variable, expr.lift(5, types.Uint(8)))
    with circuit.switch(register) as case:
        with case(1):
            circuit.x(0)
        with case(2, 3):
            circuit.z(0)
    with circuit.box(label="b"):
        circuit.h(0)
    circuit.append(UnitaryGate(np.eye(2)), [0])
    circuit.append(Gate("mine", 1, [Parameter("a")]), [0])
    circuit.append(real_amplitudes(2, reps=1).to_gate(), [0, 1])
    circuit.append(_bell(measured=False).to_gate(), [0, 1])
    return circuit


def _print_fingerprints() -> None:
    """Run in other processes by the test below."""
    bound = estimator_request([(real_amplitudes(2), Z, np.linspace(0, 1, 8))]).fingerprint
    for one in (fingerprint_circuit(_dynamic()), bound, fingerprint_label("x")):
        sys.stdout.write(one + "\n")


def test_every_process_finds_the_same_fingerprint() -> None:
    """Hash seeds, name counters and parameter UUIDs of a process leave no trace."""
    found = set()
    for seed, waste in [("0", 0), ("1", 3), ("77", 11)]:
        code = (
            "from qiskit import QuantumCircuit\n"
            f"for _ in range({waste}): QuantumCircuit(1).to_gate()\n"
            "import test_fingerprint; test_fingerprint._print_fingerprints()"
        )
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.path.dirname(__file__),  # noqa: PTH120 - one line
        }
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True
        )
        found.add(ran.stdout)
    assert len(found) == 1


def test_what_comes_back_from_the_ledger_is_the_same_circuit() -> None:
    """QPY changes object identities and nothing that counts."""
    for circuit in (_dynamic(), efficient_su2(5, reps=2), _bell()):
        assert fingerprint_circuit(decode_circuit(encode_circuit(circuit))) == fingerprint_circuit(
            circuit
        )


def test_names_and_metadata_change_nothing() -> None:
    """A circuit's name, its metadata and its quantum registers' names do not count."""
    plain = _bell()
    named = QuantumCircuit(QuantumRegister(2, "other"), name="named", metadata={"run": 7})
    named.h(0)
    named.cx(0, 1)
    named.measure_all()
    assert fingerprint_circuit(named) == fingerprint_circuit(plain)


def test_the_users_tags_change_nothing() -> None:
    """Tags and log level are for people; the request is the same with others."""
    plain = estimator_request([(_bell(False), Z)])
    tagged = estimator_request(
        [(_bell(False), Z)], options={"environment": {"job_tags": ["mine"], "log_level": "INFO"}}
    )
    assert tagged.fingerprint == plain.fingerprint


def _changed(change: Callable[[QuantumCircuit], Any]) -> QuantumCircuit:
    circuit = _bell(measured=False)
    change(circuit)
    circuit.measure_all()
    return circuit


def test_structure_counts() -> None:
    """Any gate, angle (to the last bit), qubit, delay or phase makes another circuit."""
    circuits = [
        _bell(),
        _changed(lambda circuit: circuit.x(0)),
        _changed(lambda circuit: circuit.rz(0.1, 0)),
        _changed(lambda circuit: circuit.rz(math.nextafter(0.1, 1), 0)),
        _changed(lambda circuit: circuit.rz(0.1, 1)),
        _changed(lambda circuit: circuit.delay(100, 0)),
        _changed(lambda circuit: circuit.delay(200, 0)),
        _changed(lambda circuit: circuit.barrier()),
        _changed(lambda circuit: setattr(circuit, "global_phase", 0.5)),
        _changed(lambda circuit: circuit.append(Gate("a", 1, []), [0])),
        _changed(lambda circuit: circuit.append(Gate("b", 1, []), [0])),
        _changed(lambda circuit: circuit.append(_bell(False).to_gate(), [0, 1])),
        _changed(lambda circuit: circuit.append(_bell(False).to_gate(), [1, 0])),
        _changed(lambda circuit: circuit.append(real_amplitudes(2).to_gate(), [0, 1])),
        _changed(lambda circuit: circuit.ch(0, 1)),
        _changed(lambda circuit: circuit.ch(0, 1, ctrl_state=0)),
        _changed(lambda circuit: circuit.append(UnitaryGate(np.eye(2)), [0])),
        _changed(lambda circuit: circuit.append(UnitaryGate(np.diag([1, -1])), [0])),
    ]
    assert len({fingerprint_circuit(circuit) for circuit in circuits}) == len(circuits)


def test_library_circuits_are_told_apart_by_what_they_do() -> None:
    """Composite gates of Qiskit's library count by their definition, not by their name."""
    gates = [
        PauliEvolutionGate(SparsePauliOp("ZZ"), time=1.0),
        PauliEvolutionGate(2 * SparsePauliOp("ZZ"), time=1.0),
        PauliEvolutionGate(SparsePauliOp("XX"), time=1.0),
        qaoa_ansatz(SparsePauliOp("ZZ"), reps=1).assign_parameters([0.1, 0.2]).to_gate(),
        qaoa_ansatz(5 * SparsePauliOp("ZZ"), reps=1).assign_parameters([0.1, 0.2]).to_gate(),
        Clifford(_bell(False)),
        Clifford(QuantumCircuit(2)),
        AnnotatedOperation(RZZGate(0.1), InverseModifier()),
        AnnotatedOperation(RZZGate(0.2), InverseModifier()),
        _bell(False).to_gate().control(0),
        QuantumCircuit(2, name=_bell(False).name).to_gate().control(0),
        LinearPauliRotationsGate(1, 0.1, 0.2),
        LinearPauliRotationsGate(1, 0.1, 0.3),
    ]
    circuits = []
    for gate in gates:
        circuit = QuantumCircuit(2)
        circuit.append(gate, [0, 1])
        circuits.append(circuit)
    assert len({fingerprint_circuit(circuit) for circuit in circuits}) == len(gates)


def test_requests_differ_where_the_platform_would_see_it() -> None:
    """Kind, family, values, shots, precision, observables and options all count."""
    ansatz = real_amplitudes(2, reps=1)
    point = [0.1, 0.2, 0.3, 0.4]
    requests = [
        estimator_request([(ansatz, Z, point)]),
        estimator_request([(ansatz, Z, point)], implementation="v2"),
        estimator_request([(ansatz, Z, point), (ansatz, Z, point)]),
        estimator_request([(ansatz, Z, [*point[:3], 0.4000000000000001])]),
        estimator_request([(ansatz, Z, [point, point])]),
        estimator_request([(ansatz, [Z, Z], point)]),
        estimator_request([(ansatz, 2 * Z, point)]),
        estimator_request([(ansatz, Z, point)], precision=0.1),
        estimator_request([(ansatz, Z, point)], options={"resilience_level": 2}),
        estimator_request([(ansatz, Z, point)], options={"default_shots": 100}),
        sampler_request([_bell()]),
        sampler_request([_bell()], shots=100),
        sampler_request([_bell()], shots=101),
    ]
    assert len({request.fingerprint for request in requests}) == len(requests)


def test_an_option_at_its_default_changes_nothing() -> None:
    """To name a default is to ask for the same; a new default elsewhere changes no identity."""
    said = estimator_request([(_bell(False), Z)], options={"environment": {"private": False}})
    assert said.fingerprint == estimator_request([(_bell(False), Z)]).fingerprint


def test_occurrences_of_one_content_are_different_submissions() -> None:
    """The submission's ID holds the content and the count."""
    fingerprint = fingerprint_label("content")
    assert len({submission_id(fingerprint, n) for n in range(1, 50)}) == 49
    assert submission_id(fingerprint, 1) == submission_id(fingerprint, 1)


def test_an_object_without_readable_content_is_refused() -> None:
    """What could not be recognised after a restart is no part of a request."""

    class Opaque:
        pass

    request = estimator_request([(_bell(False), Z)], options={"experimental": {"x": Opaque()}})
    with pytest.raises(InvalidInputError, match="Opaque"):
        _ = request.fingerprint


def test_qpy_is_no_fingerprint() -> None:
    """Why bytes do not serve: two dumps of one circuit differ, its fingerprint does not."""
    dumps = []
    for circuit in (efficient_su2(2), efficient_su2(2)):
        buffer = io.BytesIO()
        qpy.dump(circuit, buffer)
        dumps.append(buffer.getvalue())
    assert dumps[0] != dumps[1]
    assert fingerprint_circuit(efficient_su2(2)) == fingerprint_circuit(efficient_su2(2))


@pytest.mark.parametrize("label", [None, "mine"])
@pytest.mark.parametrize(
    "name",
    sorted(name for name, one in get_standard_gate_name_mapping().items() if isinstance(one, Gate)),
)
def test_a_standard_gate_is_told_in_short(name: str, label: str | None) -> None:
    """The short way says what the long way says."""
    gate = get_standard_gate_name_mapping()[name].to_mutable()
    if label is not None:
        gate.label = label
    numbers = [0.25 * (index + 1) for index in range(len(gate.params))]
    for params in (numbers, gate.params):
        gate.params = params
        circuit = QuantumCircuit(max(gate.num_qubits, 1))
        circuit.append(gate, range(gate.num_qubits))
        instruction = circuit.data[0]
        scope = fingerprint._Scope(2)
        long_way = fingerprint._operation(instruction.operation, scope)
        assert fingerprint._instruction(instruction, scope) == long_way


class Redefined(RXGate):
    """A rotation by name, and a Hadamard gate by definition."""

    def _define(self) -> None:
        self.definition = QuantumCircuit(1)
        self.definition.h(0)


def test_a_standard_gate_that_is_redefined_is_another_one() -> None:
    """Qiskit takes it for the standard gate; its result must not stand for that gate's."""
    circuits = [QuantumCircuit(1), QuantumCircuit(1)]
    for circuit, gate in zip(circuits, (RXGate(0.1), Redefined(0.1)), strict=True):
        circuit.append(gate, [0])
        assert circuit.data[0].is_standard_gate()
    assert fingerprint_circuit(circuits[0]) != fingerprint_circuit(circuits[1])
