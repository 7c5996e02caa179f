"""Refuse requests that cannot be right before anything is recorded, sent or charged.

What is refused here would reach the platform and fail there, or give numbers without meaning. The
client's own checks are not repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from keyword import iskeyword
from typing import Any

import numpy as np
from qiskit.circuit import (
    CircuitInstruction,
    ControlFlowOp,
    ControlledGate,
    Delay,
    Gate,
    Instruction,
    ParameterExpression,
    QuantumCircuit,
)
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from session_block.errors import InvalidInputError

_PLAIN = (Instruction, Gate, ControlledGate)
"""Classes of gates made from a circuit. A library's own gates show their numbers as parameters."""

_MEASURING = "measure"
"""The beginning of every measurement's name: some backends have more than one."""


def check_sampler_pubs(pubs: Sequence[SamplerPub]) -> None:
    """Check what the client's Sampler lets pass.

    Raises:
        InvalidInputError: A circuit measures nothing, has a register whose name no result can hold,
            or a PUB has no parameter set or a number that is none. The message names the PUB.
    """
    for index, pub in enumerate(pubs):
        _check_pub(index, pub)
        for register in pub.circuit.cregs:
            if not register.name.isidentifier() or iskeyword(register.name):
                raise InvalidInputError(
                    f"PUB {index} has a classical register named {register.name!r}, a name that "
                    "no attribute of a result can have in Python. Nothing was submitted. Rename "
                    "the register."
                )
            if hasattr(DataBin, register.name) or register.name.startswith("__"):
                raise InvalidInputError(
                    f"PUB {index} has a classical register named {register.name!r}, a name that "
                    "Qiskit's results use themselves. Nothing was submitted. Rename the register."
                )
        if not measures(pub.circuit):
            raise InvalidInputError(
                f"The circuit of PUB {index} measures nothing, so a Sampler has nothing to return. "
                "Nothing was submitted. Add measurements, for example with circuit.measure_all()."
            )


def check_estimator_pubs(pubs: Sequence[EstimatorPub]) -> None:
    """Check what the client's Estimator lets pass.

    Raises:
        InvalidInputError: A PUB has no parameter set or no observable, or a number that is none.
            The message names the PUB.
    """
    for index, pub in enumerate(pubs):
        _check_pub(index, pub)
        _check_finite(index, "its precision", pub.precision)
        for terms in pub.observables.ravel().tolist():
            _check_finite(index, "an observable's coefficients", list(terms.values()))


def check_options(options: Any, name: str = "options") -> None:
    """Check that no number among the options is NaN or infinite.

    Args:
        options: Options as plain values, nested in dicts and lists.
        name: What they are called, for the message.

    Raises:
        InvalidInputError: One is. The message names it.
    """
    if isinstance(options, dict):
        for key, value in options.items():
            check_options(value, f"{name}.{key}")
    elif isinstance(options, list | tuple):
        for index, value in enumerate(options):
            check_options(value, f"{name}[{index}]")
    elif isinstance(options, float | np.floating) and not np.isfinite(options):
        raise InvalidInputError(f"{name} is {options}. Nothing was submitted.")


def _check_pub(index: int, pub: SamplerPub | EstimatorPub) -> None:
    if pub.size == 0:
        raise InvalidInputError(
            f"PUB {index} has the shape {pub.shape}: it holds no parameter set, and there is "
            "nothing to run. Nothing was submitted. Leave it out."
        )
    for values in pub.parameter_values.data.values():
        _check_finite(index, "its parameter values", values)
    _check_circuit(index, pub.circuit)


def _check_circuit(index: int, circuit: QuantumCircuit) -> None:
    _check_number(index, "the global phase", circuit.global_phase)
    for instruction in circuit.data:
        for value in instruction.params:
            _check_number(index, instruction.name, value)
        if instruction.is_standard_gate():
            continue
        operation = instruction.operation
        if isinstance(operation, Delay) and isinstance(operation.duration, ParameterExpression):
            raise InvalidInputError(
                f"The circuit of PUB {index} has a delay whose duration is the parameter "
                f"{operation.duration}. Nothing was submitted. Make one circuit for each duration."
            )
        for inner in _circuits_in(operation):
            _check_circuit(index, inner)


def _circuits_in(operation: Any) -> Iterator[QuantumCircuit]:
    if isinstance(operation, ControlFlowOp):
        yield from operation.blocks
    elif type(operation) in _PLAIN and operation.definition is not None:
        yield operation.definition


def _check_number(index: int, where: str, value: Any) -> None:
    if type(value) is float:  # most are; this takes a tenth of the time
        if not math.isfinite(value):
            raise _not_finite(index, f"the number in {where}")
    elif isinstance(value, complex | np.ndarray | np.inexact):
        _check_finite(index, f"the number in {where}", value)


def _check_finite(index: int, what: str, values: Any) -> None:
    if values is None:
        return
    numbers = np.asarray(values)
    if numbers.dtype.kind in "fc" and not np.isfinite(numbers).all():
        raise _not_finite(index, what)


def _not_finite(index: int, what: str) -> InvalidInputError:
    return InvalidInputError(
        f"PUB {index} cannot run: {what} must be finite, but there is NaN or infinity. Nothing was "
        "submitted. An optimizer that has diverged gives such values."
    )


def measures(circuit: QuantumCircuit) -> bool:
    """Whether a circuit measures anything, or may do so for all that can be seen of it."""
    # Measurements mostly stand at the end.
    return any(map(_writes, reversed(circuit.data)))


def _writes(instruction: CircuitInstruction) -> bool:
    """Whether an instruction measures, or may do so for all that can be seen of it."""
    if not instruction.clbits:
        return False
    if instruction.name.startswith(_MEASURING):
        return True
    operation = instruction.operation
    if isinstance(operation, ControlFlowOp):
        return any(map(measures, operation.blocks))
    return operation.definition is None or measures(operation.definition)
