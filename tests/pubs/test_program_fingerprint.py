"""The identity of what is no PUB: the same in every process, different when the content is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from boxed_circuits import boxed_circuit, instructions_of, program_of
from pydantic import BaseModel
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import BoxOp, CircuitInstruction, Parameter, Qubit
from qiskit.circuit.library import CXGate, CZGate
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import (
    Operator,
    Pauli,
    PauliLindbladMap,
    PauliList,
    SparseObservable,
    SparsePauliOp,
    Statevector,
)
from qiskit_ibm_runtime.quantum_program import QuantumProgram as ClientsProgram
from samplomatic import ChangeBasis, InjectNoise, Tag, Twirl, build
from samplomatic.quantum_program import QuantumProgram
from samplomatic.serialization import samplex_from_json, samplex_to_json
from samplomatic.transpiler import generate_boxing_pass_manager

from session_block.errors import InvalidInputError
from session_block.pubs.program_fingerprint import (
    fingerprint_inputs,
    fingerprint_instructions,
    fingerprint_quantum_program,
)


def _of_program(program: QuantumProgram, options: Mapping[str, Any] | None = None) -> str:
    return fingerprint_quantum_program(program, options or {}, version=2)


def _of_instructions(instructions: Sequence[CircuitInstruction], **options: Any) -> str:
    return fingerprint_instructions(instructions, options, version=2)


def _of_value(value: Any) -> str:
    return fingerprint_inputs("any", {"value": value}, {}, version=2)


def test_processes_with_other_histories_find_the_same_fingerprints() -> None:
    """References and counters of samplomatic stand elsewhere in the second process."""
    printed = []
    for hash_seed, waste in [("1", 0), ("77", 3)]:
        code = f"import boxed_circuits; boxed_circuits.print_fingerprints(0, 20, {waste})"
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        }
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True
        )
        printed.append(ran.stdout.splitlines())
    assert printed[0] == printed[1]
    # What counts was not left out.
    assert len({line.split()[0] for line in printed[0]}) == 20


@pytest.mark.parametrize("seed", range(100, 108))
def test_a_random_program_is_the_same_when_it_is_made_again(seed: int) -> None:
    """From the same boxes, and after the pass manager boxed others; through samplomatic's JSON."""
    program = program_of(seed)
    found = _of_program(program)
    assert _of_program(program_of(seed, runs_before=2)) == found
    assert _of_instructions(instructions_of(seed, 2)) == _of_instructions(instructions_of(seed))
    (item,) = program.items
    item.samplex = samplex_from_json(samplex_to_json(item.samplex))
    assert _of_program(program) == found


RATES = (0.01, 0.02)


def _map(rate: float, pauli: str = "XX") -> PauliLindbladMap:
    return PauliLindbladMap.from_list([(pauli, rate), ("ZI", 0.005)])


def _boxes(
    *,
    twirl: Twirl = Twirl(),  # noqa: B008 - never changed
    gate: Any = CZGate(),  # noqa: B008 - never changed
    qubits: Sequence[Sequence[int]] = ((0, 1), (1, 2)),
    references: Sequence[str] = ("one", "other"),
    modifier: str = "",
    site: str = "after",
    tag: str = "",
    angle: Any = 0.25,
    register: str = "meas",
) -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(3, register))
    for pair, reference in zip(qubits, references, strict=True):
        with circuit.box([twirl, InjectNoise(reference, modifier, site), Tag(tag)]):
            circuit.rx(angle, pair[0])
            circuit.append(gate, pair)
    with circuit.box([Twirl(), ChangeBasis(ref=f"basis{reference}")]):
        circuit.measure([0, 1, 2], [0, 1, 2])
    return circuit


def _program(
    *,
    shots: int = 100,
    meas_level: Any = "classified",
    passthrough: Any = None,
    rates: Sequence[float] = RATES,
    pauli: str = "XX",
    basis: Sequence[int] = (0, 1, 2),
    values: Sequence[float] = (),
    shape: tuple[int, ...] = (4,),
    chunk_size: int | None = None,
    extra: Mapping[str, Any] | None = None,
    references: Sequence[str] = ("one", "other"),
    **boxes: Any,
) -> QuantumProgram:
    template, samplex = build(_boxes(references=references, **boxes))
    program = QuantumProgram(shots, meas_level=meas_level, passthrough_data=passthrough)
    program.noise_maps = {
        reference: _map(rate, pauli) for reference, rate in zip(references, rates, strict=True)
    }
    arguments = {f"basis_changes.basis{references[-1]}": np.array(basis), **(extra or {})}
    if values:
        arguments["parameter_values"] = np.array(values)
    program.append_samplex_item(template, samplex, arguments, shape=shape, chunk_size=chunk_size)
    return program


def _circuits(*angles: float, named: str = "a") -> QuantumProgram:
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter(named), 0)
    program = QuantumProgram(10)
    for angle in angles:
        program.append_circuit_item(circuit, np.array([angle]))
    return program


def _wide() -> QuantumProgram:
    program = _circuits()
    program.append_circuit_item(QuantumCircuit(1, 1), np.zeros((2, 0)))
    return program


PROGRAMS: Mapping[str, Callable[[], QuantumProgram]] = {
    "plain": _program,
    "shots": lambda: _program(shots=101),
    "level": lambda: _program(meas_level="kerneled"),
    "group": lambda: _program(twirl=Twirl(group="balanced_pauli")),
    "another group": lambda: _program(twirl=Twirl(group="local_c1")),
    "decomposition": lambda: _program(twirl=Twirl(decomposition="rzrx")),
    "gate": lambda: _program(gate=CXGate()),
    "swapped qubits": lambda: _program(gate=CXGate(), qubits=((1, 0), (1, 2))),
    "other qubits": lambda: _program(qubits=((0, 1), (0, 2))),
    "order of layers": lambda: _program(qubits=((1, 2), (0, 1))),
    "angle": lambda: _program(angle=0.26),
    "site": lambda: _program(site="before"),
    "rate": lambda: _program(rates=(0.01, 0.03)),
    "swapped maps": lambda: _program(rates=RATES[::-1]),
    "generator": lambda: _program(pauli="XZ"),
    "basis": lambda: _program(basis=(0, 2, 1)),
    "shape": lambda: _program(shape=(5,)),
    "axes": lambda: _program(shape=(4, 1)),
    "chunks": lambda: _program(chunk_size=2),
    "a modifier": lambda: _program(modifier="m", references=("one", "one"), rates=(0.01, 0.01)),
    "a scale": lambda: _program(
        modifier="m",
        references=("one", "one"),
        rates=(0.01, 0.01),
        extra={"noise_scales.m": 2.0},
    ),
    "one map": lambda: _program(references=("one", "one"), rates=(0.01, 0.01)),
    "a parameter": lambda: _program(angle=Parameter("a"), values=[0.25]),
    "another value": lambda: _program(angle=Parameter("a"), values=[0.26]),
    "another parameter": lambda: _program(angle=Parameter("b"), values=[0.25]),
    "an expression": lambda: _program(angle=2 * Parameter("a"), values=[0.25]),
    "a register": lambda: _program(register="alpha"),
    "passed through": lambda: _program(passthrough={"a": [np.arange(3), None, "text", 1]}),
    "an array": lambda: _program(passthrough={"a": [np.arange(4), None, "text", 1]}),
    "a list": lambda: _program(passthrough={"a": [[0, 1, 2], None, "text", 1]}),
    "no items": _circuits,
    "circuits": lambda: _circuits(0.1, 0.2),
    "order of items": lambda: _circuits(0.2, 0.1),
    "a circuit's parameter": lambda: _circuits(0.1, 0.2, named="b"),
    "no arguments, twice": _wide,
}


def test_programs_differ_where_the_platform_would_see_it() -> None:
    """Each program differs from each other one, and each is the same when it is made again."""
    found = {name: _of_program(program()) for name, program in PROGRAMS.items()}
    assert len(set(found.values())) == len(found)
    assert {name: _of_program(program()) for name, program in PROGRAMS.items()} == found


def test_options_count() -> None:
    """With other options the platform does something else."""
    assert _of_program(_program(), {"init_qubits": False}) != _of_program(_program())


def test_dressing_counts() -> None:
    """A box dressed on its other side is another program."""
    found = set()
    for dressing in ("left", "right"):
        circuit = QuantumCircuit(1)
        with circuit.box([Twirl(dressing="left")]):
            circuit.noop(0)
        with circuit.box([Twirl(dressing=dressing)]):
            circuit.noop(0)
        with circuit.box([Twirl(dressing="right")]):
            circuit.noop(0)
        template, samplex = build(circuit)
        program = QuantumProgram(10)
        program.append_samplex_item(template, samplex)
        found.add(_of_program(program))
        found.add(_of_instructions([one for one in circuit.data if one.name == "box"]))
    assert len(found) == 4


def test_what_a_reference_is_called_changes_nothing() -> None:
    """Maps and bases count by where they are used."""
    plain = _of_program(_program())
    assert _of_program(_program(references=("r2feA", "basis7"))) == plain
    assert _of_program(_program(references=("zz", "a.b"), tag="t2fe")) == plain
    assert _of_program(_program(references=("other", "one"))) == plain
    modified = _of_program(PROGRAMS["a modifier"]())
    same = _program(modifier="q", references=("two", "two"), rates=(0.01, 0.01))
    assert _of_program(same) == modified


def test_a_register_that_nobody_named_counts_by_its_place() -> None:
    """Qiskit numbers such registers through the process."""
    assert _of_program(_program(register="c7")) == _of_program(_program(register="c12"))


@pytest.mark.skipif(
    not hasattr(ClientsProgram, "from_"), reason="version 0.50 of the client converts none"
)
def test_the_clients_class_and_samplomatics_are_one() -> None:
    """The client converts a program of samplomatic's before it sends it."""
    assert _of_program(ClientsProgram.from_(_program())) == _of_program(_program())


def test_maps_count_where_they_are_bound() -> None:
    """The client sends the arguments of items, and nothing else of a program's maps."""
    program = _program()
    program.noise_maps = {"one": _map(0.5), "unused": _map(0.1)}
    assert _of_program(program) == _of_program(_program())


def test_an_unknown_item_is_refused() -> None:
    """What the client cannot send has no identity."""
    with pytest.raises(InvalidInputError, match="SamplexItem"):
        _of_program(QuantumProgram(1, items=[_Unknown()]))


class _Unknown:
    circuit = QuantumCircuit(1)
    shape = ()
    chunk_size = None


def test_a_large_program_is_told_in_less_than_a_second() -> None:
    """Twirled layers on 100 qubits; a processor takes 0.3 to 0.4 s, mostly for the samplex."""
    circuit = QuantumCircuit(100)
    for layer in range(10):
        for qubit in range(100):
            circuit.rz(0.1 * (qubit + 1) * (layer + 1), qubit)
        for qubit in range(layer % 2, 99, 2):
            circuit.cz(qubit, qubit + 1)
    circuit.measure_all()
    template, samplex = build(generate_boxing_pass_manager().run(circuit))
    program = QuantumProgram(100)
    program.append_samplex_item(template, samplex, shape=(10,))
    durations = []
    for _ in range(3):
        began = process_time()
        _of_program(program)
        durations.append(process_time() - began)
    assert min(durations) < 1


def _learned(
    *annotations: Any, pairs: Sequence[Sequence[int]] = ((0, 1),), gate: Any = None, size: int = 5
) -> list[CircuitInstruction]:
    register = QuantumRegister(size, "q")
    body = QuantumCircuit(2)
    body.append(gate or CZGate(), [0, 1])
    box = BoxOp(body, annotations=annotations or [Twirl()])
    return [CircuitInstruction(box, [register[index] for index in pair]) for pair in pairs]


def test_instructions_differ_where_the_platform_would_see_it() -> None:
    """Gates, qubits, their order, annotations and the order of instructions count."""
    measured = QuantumCircuit(2, 2)
    measured.measure([0, 1], [0, 1])
    register = QuantumRegister(5, "q")
    box = BoxOp(measured, annotations=[Twirl()])
    instructions = [
        _learned(),
        _learned(gate=CXGate()),
        _learned(gate=CXGate(), pairs=[(1, 0)]),
        _learned(pairs=[(1, 2)]),
        _learned(pairs=[(0, 1), (1, 2)]),
        _learned(pairs=[(1, 2), (0, 1)]),
        _learned(pairs=[(0, 1), (0, 1)]),
        _learned(Twirl(group="local_c1")),
        _learned(Twirl(decomposition="rzrx")),
        _learned(Twirl(dressing="right")),
        _learned(Twirl(), InjectNoise("a")),
        _learned(Twirl(), InjectNoise("a", site="before")),
        _learned(Twirl(), InjectNoise("a", modifier_ref="m")),
        [CircuitInstruction(box, register[:2], measured.clbits)],
        [],
    ]
    found = {_of_instructions(one) for one in instructions}
    assert len(found) == len(instructions)
    assert _of_instructions(_learned(), shots=1) not in found


def test_equal_instructions_are_the_same() -> None:
    """Neither references nor the order in which a box lists its qubits count, nor the container."""
    named = [_learned(Twirl(), InjectNoise(one, other)) for one, other in ["ab", "ba", "xx"]]
    assert len({_of_instructions(one) for one in named}) == 1
    assert _of_instructions(iter(_learned())) == _of_instructions(tuple(_learned()))
    body = QuantumCircuit(2)
    body.cz(1, 0)
    (other_way,) = _learned(pairs=[(1, 0)])
    other_way = other_way.replace(operation=BoxOp(body, annotations=[Twirl()]))
    assert _of_instructions([other_way]) == _of_instructions(_learned())


def test_references_tell_where_they_occur_again() -> None:
    """Two boxes with one map are not two boxes with two."""
    one, other = (_learned(Twirl(), InjectNoise(name))[0] for name in "ab")
    assert _of_instructions([one, one]) != _of_instructions([one, other])
    assert _of_instructions([other, other]) == _of_instructions([one, one])


def test_other_qubits_count_by_their_first_appearances() -> None:
    """Qubits in no physical register have no number of their own."""
    operation = _learned()[0].operation
    free, more = ([Qubit(), Qubit()] for _ in range(2))
    found = _of_instructions([CircuitInstruction(operation, free)])
    assert _of_instructions([CircuitInstruction(operation, more)]) == found


@dataclass
class _Data:
    circuit: QuantumCircuit
    number: int


class _Model(BaseModel, arbitrary_types_allowed=True):
    circuit: QuantumCircuit
    number: int


def _circuit(angle: float = 0.1) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.rx(angle, 0)
    return circuit


X = Parameter("x")
VALUES: Sequence[Callable[[], Any]] = [
    lambda: None,
    lambda: True,
    lambda: 1,
    lambda: 2,
    lambda: 1.5,
    lambda: "1",
    lambda: "0x1.8000000000000p+0",
    lambda: 1.5j,
    lambda: b"bytes",
    list,
    lambda: [1],
    lambda: [[1]],
    lambda: ["parameter", "x"],
    dict,
    lambda: {"a": 1},
    lambda: {"a": [1]},
    lambda: {1, 2},
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: np.arange(3),
    lambda: np.arange(3.0),
    lambda: np.arange(3).reshape(3, 1),
    lambda: np.array([1, "a", None], dtype=object),
    lambda: np.arange(2000),
    lambda: np.where(np.arange(2000) == 1000, 0, np.arange(2000)),
    lambda: X,
    lambda: 2 * X,
    _circuit,
    lambda: _circuit(0.2),
    lambda: SamplerPub.coerce((_circuit(),), shots=10),
    lambda: SamplerPub.coerce((_circuit(),), shots=11),
    lambda: EstimatorPub.coerce((_circuit(), "ZZ"), precision=0.1),
    lambda: EstimatorPub.coerce((_circuit(), "ZX"), precision=0.1),
    lambda: (_circuit(), "ZZ", [0.1]),
    lambda: SparsePauliOp(["ZZ", "XX"], [1, 2]),
    lambda: SparsePauliOp(["ZZ", "XX"], [1, 3]),
    lambda: SparsePauliOp(["ZZ"], np.array([X])),
    lambda: Pauli("-ZZ"),
    lambda: PauliList(["ZZ"]),
    lambda: SparseObservable.from_list([("ZZ", 1.0)]),
    lambda: ObservablesArray(["ZZ"]),
    lambda: ObservablesArray(["ZX"]),
    lambda: BindingsArray({("x", "y"): np.ones((3, 2))}),
    lambda: BindingsArray({("x", "y"): np.zeros((3, 2))}),
    lambda: Operator(np.eye(64)),
    lambda: Operator(np.diag([*[1] * 32, -1, *[1] * 31])),
    lambda: Statevector([1, 0]),
    lambda: _map(0.1),
    lambda: _map(0.2),
    CXGate,
    CZGate,
    lambda: _learned()[0],
    lambda: _learned(pairs=[(1, 2)])[0],
    Twirl,
    lambda: Twirl(group="local_c1"),
    lambda: QuantumRegister(3, "q")[1],
    lambda: _Data(_circuit(), 1),
    lambda: _Data(_circuit(0.2), 1),
    lambda: _Model(circuit=_circuit(), number=1),
    lambda: _Model(circuit=_circuit(), number=2),
    _program,
    lambda: _program(shots=5),
    lambda: build(_boxes())[1],
    lambda: build(_boxes(gate=CXGate()))[1],
]


def test_inputs_are_told_by_their_content() -> None:
    """Each value differs from each other one, and each is the same when it is made again."""
    found = [_of_value(value()) for value in VALUES]
    assert len(set(found)) == len(VALUES)
    assert [_of_value(value()) for value in VALUES] == found


def test_numbers_and_lists_count_by_their_values() -> None:
    """NumPy's number is Python's, a tuple is a list, and a mapping has no order."""
    assert _of_value(np.float64(1.5)) == _of_value(1.5)
    assert _of_value(np.int32(2)) == _of_value(2)
    assert _of_value(np.bool_(True)) == _of_value(True)
    assert _of_value((1, 2)) == _of_value([1, 2])
    assert _of_value({"a": 1, "b": 2}) == _of_value({"b": 2, "a": 1})
    assert _of_value(np.asfortranarray(np.eye(3))) == _of_value(np.eye(3))
    assert _of_value(np.arange(3, dtype=">i8")) == _of_value(np.arange(3, dtype="<i8"))


def test_program_options_and_boxes_of_inputs() -> None:
    """The program's name and options count; what a circuit's reference is called does not."""
    plain = fingerprint_inputs("one", {}, {}, version=2)
    assert fingerprint_inputs("other", {}, {}, version=2) != plain
    assert fingerprint_inputs("one", {}, {"a": 1}, version=2) != plain
    boxed = _of_value(_boxes(references=("a", "b")))
    assert _of_value(_boxes(references=("r2feA", "r2feeA"))) == boxed
    assert _of_value(_boxes(references=("a", "a"))) != boxed
    assert _of_value([boxed_circuit(1), boxed_circuit(2)]) == _of_value(
        [boxed_circuit(1, 2), boxed_circuit(2, 1)]
    )


class _Opaque:
    pass


class _Long:
    def __repr__(self) -> str:
        return "[1, 2, ..., 9]"


@pytest.mark.parametrize("value", [_Opaque(), _Long(), Qubit(), iter([1]), lambda: 1])
def test_what_shows_no_content_is_refused(value: Any) -> None:
    """It could not be recognised after a restart, or two of them could not be told apart."""
    with pytest.raises(InvalidInputError, match="could not be recognised"):
        _of_value({"nested": [value]})
    with pytest.raises(InvalidInputError, match="could not be recognised"):
        _of_program(QuantumProgram(1, passthrough_data=[value]))
