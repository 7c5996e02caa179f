"""Pure: the identity of what is not a PUB: quantum programs, noise to be learned, any inputs.

The rule is that of ``fingerprint``: two requests have the same fingerprint if the platform could
not tell them apart, except by names that nobody gave. Here these are also the references in a box's
annotations (``InjectNoise``, ``ChangeBasis``, ``InjectLocalClifford``, ``Tag``), which samplomatic
counts or hashes: they count by where they occur again, not by what they are called. So do the names
of a samplex's inputs, which come from them; ``samplex_fingerprint`` describes a samplex.

A program's ``noise_maps`` count where they are bound, as arguments of its items, since the client
sends nothing else of them. A value that shows no content of its own is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel
from qiskit.circuit import (
    Annotation,
    Bit,
    CircuitInstruction,
    Operation,
    ParameterExpression,
    QuantumCircuit,
)
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import (
    DensityMatrix,
    Operator,
    Pauli,
    PauliLindbladMap,
    PauliList,
    SparseObservable,
    SparsePauliOp,
    Statevector,
)

from session_block.errors import InvalidInputError
from session_block.pubs.boxes import References, circuit_of, place_in_register, settled
from session_block.pubs.fingerprint import (
    describe_pub,
    describe_text,
    describe_value,
    digest,
    fingerprint_circuit,
    unreadable,
)

if TYPE_CHECKING:
    from samplomatic import Samplex
    from samplomatic.quantum_program import QuantumProgram


@dataclass(frozen=True)
class _Request:
    """What holds for all of one request.

    Attributes:
        version: The version of the rule.
        references: The references of its boxes.
        circuits: The circuits met so far and their fingerprints, by the circuits' identities.
    """

    version: int
    references: References = field(default_factory=References)
    circuits: dict[int, tuple[QuantumCircuit, str]] = field(default_factory=dict)


def fingerprint_quantum_program(
    program: QuantumProgram, options: Mapping[str, Any], *, version: int
) -> str:
    """Return the fingerprint of a program for the client's ``Executor``, as 64 hexadecimal digits.

    Args:
        program: The program, of the client's class or of samplomatic's.
        options: The options that reach the platform, without tags.
        version: The version of the rule.

    Raises:
        InvalidInputError: The program holds what cannot be told by its content.
    """
    request = _Request(version)
    return digest(
        {
            "kind": "quantum program",
            "program": _program(program, request),
            "options": _describe(options, request),
        }
    )


def fingerprint_instructions(
    instructions: Iterable[CircuitInstruction], options: Mapping[str, Any], *, version: int
) -> str:
    """Return the fingerprint of instructions whose noise is to be learned, in their order.

    Args:
        instructions: The instructions with boxes. Their qubits count by their indices in the
            physical register ``QuantumRegister(n, "q")``; if one is in no such register, all count
            by their first appearances.
        options: The options that reach the platform, without tags.
        version: The version of the rule.
    """
    request = _Request(version)
    return digest(
        {
            "kind": "instructions",
            "instructions": _instructions(list(instructions), request),
            "options": _describe(options, request),
        }
    )


def fingerprint_inputs(
    program_id: str, inputs: Mapping[str, Any], options: Mapping[str, Any], *, version: int
) -> str:
    """Return the fingerprint of what a user gave for any program, as 64 hexadecimal digits.

    Args:
        program_id: The platform's name of the program.
        inputs: Its inputs: JSON values, numbers, arrays, circuits, PUBs, observables, parameters,
            dataclasses and pydantic models, instructions, quantum programs.
        options: The options that reach the platform, without tags.
        version: The version of the rule.

    Raises:
        InvalidInputError: An input cannot be told by its content.
    """
    request = _Request(version)
    return digest(
        {
            "kind": "inputs",
            "program_id": program_id,
            "inputs": _describe(inputs, request),
            "options": _describe(options, request),
        }
    )


def _program(program: QuantumProgram, request: _Request) -> dict[str, Any]:
    return {
        "shots": _describe(program.shots, request),
        "meas_level": program.meas_level,
        "items": [_item(item, request) for item in program.items],
        "passthrough_data": _describe(program.passthrough_data, request),
    }


def _item(item: Any, request: _Request) -> dict[str, Any]:
    from samplomatic.quantum_program import CircuitItem, SamplexItem

    described = {
        "circuit": _circuit(item.circuit, request),
        "shape": list(item.shape),
        "chunk_size": item.chunk_size,
    }
    if isinstance(item, CircuitItem):
        names = [parameter.name for parameter in item.circuit.parameters]
        arguments = _describe(item.circuit_arguments, request)
        return {**described, "parameters": names, "circuit_arguments": arguments}
    if isinstance(item, SamplexItem):
        registers = [register.name for register in item.circuit.cregs]
        samplex = _samplex(item.samplex, item.samplex_arguments, registers, request)
        return {**described, "samplex": samplex}
    raise InvalidInputError(
        f"A quantum program holds a {type(item).__qualname__}, which is neither a CircuitItem nor "
        "a SamplexItem, so the program could not be recognised after a restart."
    )


def _samplex(
    samplex: Samplex, arguments: Mapping[str, Any], registers: Sequence[str], request: _Request
) -> str:
    from session_block.pubs.samplex_fingerprint import fingerprint_samplex

    digests = {name: digest(_describe(value, request)) for name, value in arguments.items()}
    return fingerprint_samplex(samplex, digests, registers)


def _circuit(circuit: QuantumCircuit, request: _Request) -> str:
    if id(circuit) not in request.circuits:
        counted = settled(circuit, request.references)
        described = fingerprint_circuit(counted, version=request.version)
        # Kept, lest another circuit get its identity.
        request.circuits[id(circuit)] = circuit, described
    return request.circuits[id(circuit)][1]


def _instructions(instructions: Sequence[CircuitInstruction], request: _Request) -> str:
    circuit = settled(circuit_of(instructions), request.references)
    return fingerprint_circuit(circuit, version=request.version)


@singledispatch
def _describe(value: Any, request: _Request) -> Any:
    """Return a JSON value; two are equal exactly if what they describe is equal.

    A list is told from what else is described by one: it begins with the word ``list``.
    """
    if dataclasses.is_dataclass(value):
        content = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return ["dataclass", type(value).__qualname__, _describe(content, request)]
    if _is_samplomatics(value, "samplomatic.quantum_program", "QuantumProgram"):
        return ["program", _program(value, request)]
    if _is_samplomatics(value, "samplomatic.samplex", "Samplex"):
        return ["samplex", _samplex(value, {}, [], request)]
    text = describe_text(value)
    # NumPy and others leave out the middle of what is long.
    if "..." in text:
        raise unreadable(value)
    return ["text", type(value).__qualname__, text]


def _is_samplomatics(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class of samplomatic's; if there is one, its module is loaded."""
    return (loaded := sys.modules.get(module)) is not None and isinstance(
        value, getattr(loaded, name)
    )


@_describe.register(type(None))
@_describe.register(bool)
@_describe.register(int)
@_describe.register(ParameterExpression)
def _(value: Any, _request: _Request) -> Any:
    return describe_value(value)


@_describe.register(str)
def _(value: str, _request: _Request) -> Any:
    return str.__str__(value)


@_describe.register(float)
@_describe.register(complex)
def _(value: complex, _request: _Request) -> Any:
    return ["number", describe_value(value)]


@_describe.register(np.generic)
def _(value: np.generic[Any], request: _Request) -> Any:
    item = value.item()
    # An extended float stays what it is.
    return ["number", describe_value(value)] if item is value else _describe(item, request)


@_describe.register(Enum)
def _(value: Enum, request: _Request) -> Any:
    return ["enum", type(value).__qualname__, _describe(value.value, request)]


@_describe.register(bytes)
@_describe.register(bytearray)
def _(value: bytes, _request: _Request) -> Any:
    return ["bytes", hashlib.sha256(value).hexdigest()]


@_describe.register(np.ndarray)
def _(value: np.ndarray[Any, Any], request: _Request) -> Any:
    if value.dtype.hasobject:
        items = [_describe(item, request) for item in value.ravel().tolist()]
        return ["objects", list(value.shape), items]
    little = value.astype(value.dtype.newbyteorder("<"))
    content = hashlib.sha256(little.tobytes()).hexdigest()
    return ["array", little.dtype.str, list(value.shape), content]


@_describe.register(list)
@_describe.register(tuple)
@_describe.register(range)
@_describe.register(deque)
def _(value: Iterable[Any], request: _Request) -> Any:
    return ["list", *(_describe(item, request) for item in value)]


@_describe.register(set)
@_describe.register(frozenset)
def _(value: Iterable[Any], request: _Request) -> Any:
    return ["set", *sorted(digest(_describe(item, request)) for item in value)]


@_describe.register(Iterator)
def _(value: Iterator[Any], _request: _Request) -> Any:
    # To read it would leave nothing to send.
    raise unreadable(value)


@_describe.register(Mapping)
def _(value: Mapping[Any, Any], request: _Request) -> Any:
    # In the order of the keys, in which references are named.
    named = sorted(((str(key), item) for key, item in value.items()), key=lambda one: one[0])
    return {key: _describe(item, request) for key, item in named}


@_describe.register(BaseModel)
def _(value: BaseModel, request: _Request) -> Any:
    content = {name: getattr(value, name) for name in type(value).model_fields}
    content.update(value.model_extra or {})
    return ["model", type(value).__qualname__, _describe(content, request)]


@_describe.register(QuantumCircuit)
def _(value: QuantumCircuit, request: _Request) -> Any:
    return ["circuit", _circuit(value, request)]


@_describe.register(SamplerPub)
@_describe.register(EstimatorPub)
def _(value: SamplerPub | EstimatorPub, request: _Request) -> Any:
    described = describe_pub(value, _circuit(value.circuit, request))
    return ["pub", type(value).__qualname__, described]


@_describe.register(CircuitInstruction)
def _(value: CircuitInstruction, request: _Request) -> Any:
    return ["instruction", _instructions([value], request)]


@_describe.register(Operation)
def _(value: Operation, request: _Request) -> Any:
    circuit = QuantumCircuit(value.num_qubits, value.num_clbits)
    circuit.append(value, circuit.qubits, circuit.clbits)
    return ["instruction", _instructions(circuit.data, request)]


@_describe.register(Annotation)
def _(value: Annotation, request: _Request) -> Any:
    return ["annotation", describe_text(request.references.renamed(value))]


@_describe.register(Bit)
def _(value: Bit, _request: _Request) -> Any:
    if (place := place_in_register(value)) is None:
        raise unreadable(value)
    return ["bit", type(value).__qualname__, *place]


def _register(kind: type, content: Callable[[Any], Any]) -> None:
    """Let a class of Qiskit's be described by its name and what a function takes out of it."""

    @_describe.register(kind)
    def _(value: Any, request: _Request) -> Any:
        return [kind.__qualname__, _describe(content(value), request)]


_register(Pauli, lambda pauli: pauli.to_label())
_register(PauliList, lambda paulis: paulis.to_labels())
_register(SparsePauliOp, lambda terms: [terms.paulis.to_labels(), terms.coeffs])
_register(SparseObservable, lambda terms: [terms.num_qubits, terms.to_sparse_list()])
_register(ObservablesArray, lambda array: [list(array.shape), array.tolist()])
_register(PauliLindbladMap, lambda terms: [terms.num_qubits, terms.to_sparse_list()])
_register(BindingsArray, lambda bound: [list(bound.shape), sorted(bound.data.items())])
_register(Operator, lambda matrix: [matrix.input_dims(), matrix.output_dims(), matrix.data])
_register(Statevector, lambda state: [state.dims(), state.data])
_register(DensityMatrix, lambda state: [state.dims(), state.data])
