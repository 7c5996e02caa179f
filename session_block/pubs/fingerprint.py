"""Pure: the identity of a request, stable across processes, hash seeds and machines.

Two requests have the same fingerprint if the platform could not tell them apart. Circuits are
compared by structure, parameters by name, values and observables by content, and so are shots,
precision and options. Circuit names, the order in which registers were created, metadata and
Python's object identities do not count. QPY bytes and pickles are no use here: they differ between
processes.

Nor do names count that nobody gave. Qiskit and other libraries number such names through the whole
process, so a retry has others. From version 2 on, a classical register's name counts only if it
does not end in a digit (``c7``, ``meas0``) and belongs to the circuit itself, not to a block or a
gate in it; digits do not count in labels, nor in the name of a gate with a definition; a loop's
variable counts by its depth. Qiskit's control-flow builder puts the bits of a block in any order,
so from version 2 on they count by their positions in the circuit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit.circuit import (
    CONTROL_FLOW_OP_NAMES,
    AnnotatedOperation,
    Barrier,
    BreakLoopOp,
    ClassicalRegister,
    Clbit,
    ContinueLoopOp,
    ControlFlowOp,
    ControlledGate,
    ForLoopOp,
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
_NUMBER = re.compile(r"[-_]?\d+")
_STANDARD = get_standard_gate_name_mapping()
_CONTROLLED = {
    name: gate.ctrl_state for name, gate in _STANDARD.items() if isinstance(gate, ControlledGate)
}
_CLASSES = {name: gate.base_class for name, gate in _STANDARD.items()}
_CONTROL_FLOW_CLASSES = (ControlFlowOp, BreakLoopOp, ContinueLoopOp)
_CONTROL_FLOW = {*CONTROL_FLOW_OP_NAMES, "break_loop", "continue_loop"}
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


@dataclass(frozen=True)
class _Scope:
    """Where an operation stands: what its names refer to, and by which version it is described.

    Attributes:
        version: The version of the rule.
        clbits: The positions of the circuit's bits.
        loops: The depths of the variables of the loops around it.
        inner: Whether the circuit is a block or a gate's definition.
        places: The positions of a block's qubits and bits in the circuit around it.
    """

    version: int
    clbits: Mapping[Clbit, int] = field(default_factory=dict)
    loops: Mapping[Any, int] = field(default_factory=dict)
    inner: bool = False
    places: tuple[Sequence[int], Sequence[int]] | None = None


def fingerprint_request(
    kind: str,
    implementation: str,
    pubs: Sequence[SamplerPub] | Sequence[EstimatorPub],
    options: Mapping[str, Any],
    *,
    version: int,
) -> str:
    """Return the fingerprint of a primitive request, as 64 hexadecimal digits.

    Args:
        kind: ``sampler`` or ``estimator``.
        implementation: Which family of the client's primitives runs it.
        pubs: The coerced PUBs.
        options: The options that reach the platform, without tags, as JSON-able values.
        version: The version of the rule.
    """
    circuits = {id(pub.circuit): pub.circuit for pub in pubs}
    # One at a time: the descriptions of many large circuits slow down the garbage collector.
    digests = {
        key: fingerprint_circuit(circuit, version=version) for key, circuit in circuits.items()
    }
    return digest(
        {
            "kind": kind,
            "implementation": implementation,
            "pubs": [describe_pub(pub, digests[id(pub.circuit)]) for pub in pubs],
            "options": _content(options, _Scope(version)),
        }
    )


def fingerprint_circuit(circuit: QuantumCircuit, *, version: int) -> str:
    """Return the fingerprint of a circuit's structure, as 64 hexadecimal digits."""
    return digest(_circuit(circuit, _Scope(version)))


FINGERPRINTS: Mapping[int, Callable[..., str]] = {
    version: partial(fingerprint_request, version=version) for version in (1, 2)
}
"""Each version of the rule that recognises requests. A version never changes."""

CIRCUIT_FINGERPRINTS: Mapping[int, Callable[[QuantumCircuit], str]] = {
    version: partial(fingerprint_circuit, version=version) for version in FINGERPRINTS
}
"""The same for single circuits; pinned circuits are found with it."""


def is_numbered(name: str) -> bool:
    """Whether a register's name ends in a number, as names do that nobody gave."""
    return name[-1:].isdecimal()


def fingerprint_label(label: str) -> str:
    """Return the identifier of a label, which replaces the fingerprint of the content."""
    return digest({"label": label})


def fingerprint_part(whole: str, index: int) -> str:
    """Return the identifier of a part of a request, of its content or of its label."""
    return digest({"part": index, "of": whole})


def submission_id(fingerprint: str, occurrence: int) -> str:
    """Return the ID of the ``occurrence``-th request with this content: 24 hexadecimal digits."""
    return digest({"fingerprint": fingerprint, "occurrence": occurrence})[:24]


def digest(description: Any) -> str:
    """Return the digest of a JSON value, as 64 hexadecimal digits."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def describe_pub(pub: SamplerPub | EstimatorPub, circuit: str) -> dict[str, Any]:
    """Return a JSON value for a PUB, given the fingerprint of its circuit."""
    parameters = list(pub.circuit.parameters)
    described: dict[str, Any] = {
        "circuit": circuit,
        "parameters": [parameter.name for parameter in parameters],
        "values": describe_value(
            np.asarray(pub.parameter_values.as_array(parameters), dtype=float)
        ),
    }
    if isinstance(pub, EstimatorPub):
        described["observables"] = describe_value(pub.observables.tolist())
        described["observables_shape"] = list(pub.observables.shape)
        described["precision"] = describe_value(pub.precision)
    else:
        described["shots"] = pub.shots
    return described


def _circuit(circuit: QuantumCircuit, around: _Scope) -> dict[str, Any]:
    """Describe a circuit, or a circuit within one, for which ``around`` is ``inner``."""
    at, at_classical = around.places or (range(circuit.num_qubits), range(circuit.num_clbits))
    qubits = dict(zip(circuit.qubits, at, strict=True))
    clbits = dict(zip(circuit.clbits, at_classical, strict=True))
    scope = replace(around, clbits=clbits, places=None)
    registers: Sequence[Any] = [
        [_register_name(register, scope), [clbits[bit] for bit in register]]
        for register in circuit.cregs
    ]
    return {
        "qubits": len(qubits),
        "clbits": len(clbits),
        "registers": registers if around.places is None else sorted(registers),
        "variables": [[variable.name, str(variable.type)] for variable in circuit.iter_vars()],
        "phase": _content(circuit.global_phase, scope),
        "instructions": [
            _placed(
                instruction,
                scope,
                [qubits[bit] for bit in instruction.qubits],
                [clbits[bit] for bit in instruction.clbits],
            )
            for instruction in circuit.data
        ],
    }


def _placed(
    instruction: CircuitInstruction, scope: _Scope, qubits: list[int], clbits: list[int]
) -> list[Any]:
    """Describe an instruction and where it acts."""
    if (
        scope.version > 1
        and instruction.name in _CONTROL_FLOW
        and isinstance(instruction.operation, _CONTROL_FLOW_CLASSES)
    ):
        inside = replace(scope, places=(qubits, clbits))
        return [_operation(instruction.operation, inside), sorted(qubits), sorted(clbits)]
    return [_instruction(instruction, scope), qubits, clbits]


def _within(circuit: QuantumCircuit, scope: _Scope) -> dict[str, Any]:
    return _circuit(circuit, replace(scope, inner=True))


def _register_name(register: ClassicalRegister, scope: _Scope) -> str:
    """Return what counts of a register's name. The first version counts all of it."""
    unnamed = scope.version > 1 and (scope.inner or is_numbered(register.name))
    return "" if unnamed else register.name


def _instruction(instruction: CircuitInstruction, scope: _Scope) -> dict[str, Any]:
    """Describe an instruction's operation; for standard gates, by a shortcut with equal results.

    Qiskit also calls a subclass with its own definition a standard gate, so the class is compared.
    """
    operation, name = instruction.operation, instruction.name
    if not (instruction.is_standard_gate() and operation.base_class is _CLASSES.get(name)):
        return _operation(operation, scope)
    described = {"name": name, "params": [_content(item, scope) for item in instruction.params]}
    if (label := instruction.label) is not None:
        described["label"] = _label(label, scope)
    if name in _CONTROLLED:
        described["ctrl_state"] = _CONTROLLED[name]
    return described


def _operation(operation: Operation, scope: _Scope) -> dict[str, Any]:
    """Describe an operation; if it is not in the standard library, also by its definition."""
    scope = _scope_of(operation, scope)
    described: dict[str, Any] = {
        "name": _AUTOMATIC_NAME.sub("circuit", operation.name),
        "params": [_classical(item, scope) for item in getattr(operation, "params", [])],
    }
    for attribute in _ATTRIBUTES:
        if (value := getattr(operation, attribute, None)) is not None:
            described[attribute] = (
                _label(value, scope) if attribute == "label" else _classical(value, scope)
            )
    if isinstance(operation, SwitchCaseOp):
        described["cases"] = [
            [str(case) for case in cases] for cases, _ in operation.cases_specifier()
        ]
    if annotations := getattr(operation, "annotations", None):
        described["annotations"] = [describe_text(annotation) for annotation in annotations]
    if isinstance(operation, AnnotatedOperation):
        described["base"] = _operation(operation.base_op, scope)
    elif not isinstance(operation, Instruction):
        described["definition"] = _within(operation.to_instruction().definition, scope)
    elif not _is_told_by_params(operation) and operation.definition is not None:
        described["definition"] = _within(operation.definition, scope)
    if scope.version > 1 and "definition" in described:
        described["name"] = _NUMBER.sub("", operation.name)
    return described


def _label(label: str, scope: _Scope) -> str:
    """Return what counts of a label: a power of an unnamed gate is labelled ``circuit-7^2``."""
    return label if scope.version == 1 else _NUMBER.sub("", label)


def _scope_of(operation: Operation, around: _Scope) -> _Scope:
    """Return the scope of an operation's parameters; a loop's has its variable."""
    if around.version == 1 or not isinstance(operation, ForLoopOp):
        return around
    _, variable, _ = operation.params
    if variable is None:
        return around
    return replace(around, loops={**around.loops, variable: len(around.loops)})


def _is_told_by_params(operation: Operation) -> bool:
    """Whether name, parameters and attributes are a full description.

    They are for control flow, because its blocks are parameters.
    """
    if isinstance(operation, _TOLD_BY_PARAMS):
        return True
    known = _CLASSES.get(operation.name)
    return known is not None and getattr(operation, "base_class", None) is known


def _classical(value: Any, scope: _Scope) -> Any:
    """Describe a condition or a classical expression by positions and names."""
    if isinstance(value, Clbit):
        return ["clbit", scope.clbits[value]]
    if isinstance(value, ClassicalRegister):
        name = value.name if scope.version == 1 else ""
        return ["register", name, [scope.clbits[bit] for bit in value]]
    if isinstance(value, tuple):
        compared, to = value
        return [_classical(compared, scope), int(to)]
    if isinstance(value, expr.Var):
        if value in scope.loops:
            return ["loop", scope.loops[value]]
        name = value.name if value.standalone else _classical(value.var, scope)
        return ["variable", name, str(value.type)]
    if isinstance(value, expr.Expr):
        parts = ("op", "name", "value", "operand", "left", "right", "target", "index")
        return [
            type(value).__name__,
            str(value.type),
            *(
                [part, _classical(getattr(value, part), scope)]
                for part in parts
                if hasattr(value, part)
            ),
        ]
    return _content(value, scope)


def _content(value: Any, scope: _Scope) -> Any:
    """Describe a value that may hold circuits or the variables of loops."""
    if isinstance(value, QuantumCircuit):
        return _within(value, scope)
    if scope.loops and isinstance(value, ParameterExpression):
        # No user's parameter is called so.
        variables = {
            one: Parameter(f"\0loop{scope.loops[one]}")
            for one in value.parameters
            if one in scope.loops
        }
        return describe_value(value.subs(variables))
    if isinstance(value, Mapping):
        return {str(key): _content(item, scope) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_content(item, scope) for item in value]
    return describe_value(value)


def describe_value(value: Any) -> Any:  # noqa: C901 - one case for each kind of value
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
            return [
                "array",
                list(value.shape),
                [describe_value(item) for item in value.ravel().tolist()],
            ]
        case Parameter():
            return ["parameter", value.name]
        case ParameterExpression():
            return ["expression", str(value)]
        case Mapping():
            return {str(key): describe_value(item) for key, item in value.items()}
        case set() | frozenset():
            return sorted((describe_value(item) for item in value), key=json.dumps)
        case Iterable():
            return [describe_value(item) for item in value]
        case _:
            return [type(value).__qualname__, describe_text(value)]


def describe_text(value: Any) -> str:
    """Return the text that shows a value's content.

    Raises:
        InvalidInputError: The value shows where it lies in memory instead.
    """
    text = repr(value)
    if " at 0x" in text:
        raise unreadable(value)
    return text


def unreadable(value: Any) -> InvalidInputError:
    """Return the error for a value that does not show its content."""
    return InvalidInputError(
        f"A request holds a {type(value).__qualname__} with a repr that does not show its "
        "content, so the request could not be recognised after a restart. Give that class a "
        "__repr__ that shows its content."
    )
