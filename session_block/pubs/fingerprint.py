"""Pure: the identity of a request, stable across processes, hash seeds and machines.

Two requests have the same fingerprint if the platform could not tell them apart. Circuits are
compared by structure, parameters by name, values and observables by content, and so are shots,
precision and options. Circuit names, the order in which registers were created, metadata and
Python's object identities do not count. QPY bytes and pickles are no use here: they differ between
processes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ClassicalRegister,
    Clbit,
    ControlFlowOp,
    ControlledGate,
    Instruction,
    Parameter,
    ParameterExpression,
    QuantumCircuit,
    Store,
    SwitchCaseOp,
)
from qiskit.circuit.classical import expr
from qiskit.circuit.library import Initialize, PauliGate, PermutationGate, UnitaryGate
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from session_block.errors import InvalidInputError

if TYPE_CHECKING:
    from qiskit.circuit import CircuitInstruction, Operation

_Clbits = Mapping[Clbit, int]
_ATTRIBUTES = (
    "label",
    "ctrl_state",
    "duration",
    "unit",
    "modifiers",
    "condition",
    "target",
)
_AUTOMATIC_NAME = re.compile(r"circuit-\d+(-\d+)*")
_STANDARD = get_standard_gate_name_mapping()
_CONTROLLED = {
    name: gate.ctrl_state for name, gate in _STANDARD.items() if isinstance(gate, ControlledGate)
}
_CLASSES = {name: gate.base_class for name, gate in _STANDARD.items()}
_TOLD_BY_PARAMS = (
    ControlFlowOp,
    Barrier,
    Store,
    UnitaryGate,
    Initialize,
    PauliGate,
    PermutationGate,
)
"""Operations described by their parameters, not by their definitions.

Their definitions, if any, are synthesised in floating point, which differs between machines."""


def fingerprint_request(
    kind: str,
    implementation: str,
    pubs: Sequence[SamplerPub] | Sequence[EstimatorPub],
    options: Mapping[str, Any],
) -> str:
    """Return the fingerprint of a primitive request, as 64 hexadecimal digits.

    Args:
        kind: ``sampler`` or ``estimator``.
        implementation: Which family of the client's primitives runs it.
        pubs: The coerced PUBs.
        options: The options that reach the platform, without tags, as JSON-able values.
    """
    circuits = {id(pub.circuit): pub.circuit for pub in pubs}
    # One at a time: the descriptions of many large circuits slow down the garbage collector.
    digests = {key: fingerprint_circuit(circuit) for key, circuit in circuits.items()}
    return _digest(
        {
            "kind": kind,
            "implementation": implementation,
            "pubs": [_pub(pub, digests[id(pub.circuit)]) for pub in pubs],
            "options": _value(options),
        }
    )


def fingerprint_circuit(circuit: QuantumCircuit) -> str:
    """Return the fingerprint of a circuit's structure, as 64 hexadecimal digits."""
    return _digest(_circuit(circuit))


FINGERPRINTS: Mapping[int, Callable[..., str]] = {1: fingerprint_request}
"""Each version of the rule that recognises requests. A version never changes."""

CIRCUIT_FINGERPRINTS: Mapping[int, Callable[[QuantumCircuit], str]] = {1: fingerprint_circuit}
"""The same for single circuits; pinned circuits are found with it."""


def fingerprint_label(label: str) -> str:
    """Return the identifier of a label, which replaces the fingerprint of the content."""
    return _digest({"label": label})


def submission_id(fingerprint: str, occurrence: int) -> str:
    """Return the ID of the ``occurrence``-th request with this content: 24 hexadecimal digits."""
    return _digest({"fingerprint": fingerprint, "occurrence": occurrence})[:24]


def _digest(description: Any) -> str:
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _pub(pub: SamplerPub | EstimatorPub, circuit: str) -> dict[str, Any]:
    parameters = list(pub.circuit.parameters)
    described: dict[str, Any] = {
        "circuit": circuit,
        "parameters": [parameter.name for parameter in parameters],
        "values": _value(np.asarray(pub.parameter_values.as_array(parameters), dtype=float)),
    }
    if isinstance(pub, EstimatorPub):
        described["observables"] = _value(pub.observables.tolist())
        described["observables_shape"] = list(pub.observables.shape)
        described["precision"] = _value(pub.precision)
    else:
        described["shots"] = pub.shots
    return described


def _circuit(circuit: QuantumCircuit) -> dict[str, Any]:
    qubits = {bit: index for index, bit in enumerate(circuit.qubits)}
    clbits = {bit: index for index, bit in enumerate(circuit.clbits)}
    return {
        "qubits": len(qubits),
        "clbits": len(clbits),
        "registers": [
            [register.name, [clbits[bit] for bit in register]] for register in circuit.cregs
        ],
        "variables": [[variable.name, str(variable.type)] for variable in circuit.iter_vars()],
        "phase": _value(circuit.global_phase),
        "instructions": [
            [
                _instruction(instruction, clbits),
                [qubits[bit] for bit in instruction.qubits],
                [clbits[bit] for bit in instruction.clbits],
            ]
            for instruction in circuit.data
        ],
    }


def _instruction(instruction: CircuitInstruction, clbits: _Clbits) -> dict[str, Any]:
    """Describe an instruction's operation; for standard gates, by a shortcut with equal results.

    Qiskit also calls a subclass with its own definition a standard gate, so the class is compared.
    """
    operation, name = instruction.operation, instruction.name
    if not (instruction.is_standard_gate() and operation.base_class is _CLASSES.get(name)):
        return _operation(operation, clbits)
    described = {"name": name, "params": [_value(item) for item in instruction.params]}
    if (label := instruction.label) is not None:
        described["label"] = label
    if name in _CONTROLLED:
        described["ctrl_state"] = _CONTROLLED[name]
    return described


def _operation(operation: Operation, clbits: _Clbits) -> dict[str, Any]:
    """Describe an operation; if it is not in the standard library, also by its definition."""
    described: dict[str, Any] = {
        "name": _AUTOMATIC_NAME.sub("circuit", operation.name),
        "params": [_classical(item, clbits) for item in getattr(operation, "params", [])],
    }
    for attribute in _ATTRIBUTES:
        if (value := getattr(operation, attribute, None)) is not None:
            described[attribute] = _classical(value, clbits)
    if isinstance(operation, SwitchCaseOp):
        described["cases"] = [
            [str(case) for case in cases] for cases, _ in operation.cases_specifier()
        ]
    if annotations := getattr(operation, "annotations", None):
        described["annotations"] = [_text(annotation) for annotation in annotations]
    if isinstance(operation, AnnotatedOperation):
        described["base"] = _operation(operation.base_op, clbits)
    elif not isinstance(operation, Instruction):
        described["definition"] = _circuit(operation.to_instruction().definition)
    elif not _is_told_by_params(operation) and operation.definition is not None:
        described["definition"] = _circuit(operation.definition)
    return described


def _is_told_by_params(operation: Operation) -> bool:
    """Whether name, parameters and attributes are a full description.

    They are for control flow, because its blocks are parameters.
    """
    if isinstance(operation, _TOLD_BY_PARAMS):
        return True
    known = _CLASSES.get(operation.name)
    return known is not None and getattr(operation, "base_class", None) is known


def _classical(value: Any, clbits: _Clbits) -> Any:
    """Describe a condition or a classical expression by positions and names."""
    if isinstance(value, Clbit):
        return ["clbit", clbits[value]]
    if isinstance(value, ClassicalRegister):
        return ["register", value.name, [clbits[bit] for bit in value]]
    if isinstance(value, tuple):
        compared, to = value
        return [_classical(compared, clbits), int(to)]
    if isinstance(value, expr.Var):
        name = value.name if value.standalone else _classical(value.var, clbits)
        return ["variable", name, str(value.type)]
    if isinstance(value, expr.Expr):
        parts = ("op", "name", "value", "operand", "left", "right", "target", "index")
        return [
            type(value).__name__,
            str(value.type),
            *(
                [part, _classical(getattr(value, part), clbits)]
                for part in parts
                if hasattr(value, part)
            ),
        ]
    return _value(value)


def _value(value: Any) -> Any:  # noqa: C901, PLR0912 - one case for each kind of value
    """Return a JSON value; two are equal exactly if the values they describe are equal."""
    match value:
        case None | bool() | str():
            return value.value if isinstance(value, Enum) else value
        case Enum():
            return value.name
        case int() | np.integer():
            return int(value)
        case float() | np.floating():
            return float(value).hex()
        case complex() | np.complexfloating():
            return ["complex", float(value.real).hex(), float(value.imag).hex()]
        case np.ndarray():
            return ["array", list(value.shape), [_value(item) for item in value.ravel().tolist()]]
        case Parameter():
            return ["parameter", value.name]
        case ParameterExpression():
            return ["expression", str(value)]
        case QuantumCircuit():
            return _circuit(value)
        case Mapping():
            return {str(key): _value(item) for key, item in value.items()}
        case set() | frozenset():
            return sorted((_value(item) for item in value), key=json.dumps)
        case Iterable():
            return [_value(item) for item in value]
        case _:
            return [type(value).__qualname__, _text(value)]


def _text(value: Any) -> str:
    text = repr(value)
    if " at 0x" in text:
        raise InvalidInputError(
            f"A request holds a {type(value).__qualname__} with a repr that does not show its "
            "content, so the request could not be recognised after a restart. Give that class a "
            "__repr__ that shows its content."
        )
    return text
