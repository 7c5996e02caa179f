"""Turns JSON flow parameters into Qiskit objects."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from qiskit import QuantumCircuit, qasm3
from qiskit.quantum_info import SparsePauliOp

from session_block.algorithms.hamiltonians import named_hamiltonian
from session_block.errors import InvalidInputError
from session_block.flows.parameters import SweepCircuit

PauliList = Sequence[tuple[str, float]]


def parse_hamiltonian(description: PauliList | str) -> SparsePauliOp:
    """Return the Hamiltonian that a flow parameter describes.

    Args:
        description: Pairs of a Pauli label (rightmost is qubit 0) and a real coefficient, a name
            (``H2``, ``ibm-tutorial``, ``ising-N``, ``heisenberg-N``), or ``module:function`` for a
            function that returns a ``SparsePauliOp``.

    Raises:
        InvalidInputError: The description is none of these.
    """
    if isinstance(description, str):
        known = named_hamiltonian(description)
        if known is not None:
            return known
        return _returned_by(description, SparsePauliOp)
    if not description:
        raise InvalidInputError("The Hamiltonian has no terms.")
    try:
        terms = [(str(label), float(coefficient)) for label, coefficient in description]
        hamiltonian = SparsePauliOp.from_list(terms)
    except Exception as error:
        raise InvalidInputError(
            f"The Hamiltonian is not a list of [Pauli label, coefficient]: {error}"
        ) from error
    if not all(math.isfinite(coefficient) for _, coefficient in terms):
        raise InvalidInputError("A coefficient of the Hamiltonian is not finite.")
    return hamiltonian


def parse_ansatz(description: str) -> QuantumCircuit:
    """Return the circuit that a flow parameter describes.

    Args:
        description: OpenQASM 3 text whose ``input`` variables are the parameters, or
            ``module:function`` for a function that returns a ``QuantumCircuit``.

    Raises:
        InvalidInputError: The description is neither.
    """
    if "OPENQASM" not in description:
        return _returned_by(description, QuantumCircuit)
    try:
        return qasm3.loads(description)
    except Exception as error:
        raise InvalidInputError(f"The ansatz is not readable OpenQASM 3: {error}") from error


def parse_circuit(described: SweepCircuit) -> QuantumCircuit:
    """Return a sweep's circuit.

    Raises:
        InvalidInputError: It cannot be read. The circuit is named.
    """
    try:
        return parse_ansatz(described.circuit)
    except InvalidInputError as error:
        raise InvalidInputError(f"Circuit {described.name!r}: {error}") from error


def _returned_by(reference: str, expected: type[Any]) -> Any:
    function = _function(reference)
    value = function()
    if not isinstance(value, expected):
        raise InvalidInputError(
            f"{reference} returned a {type(value).__qualname__}, not a {expected.__name__}."
        )
    return value


def _function(reference: str) -> Callable[[], Any]:
    module, _, name = reference.partition(":")
    if not module or not name:
        raise InvalidInputError(f"{reference!r} is not of the form 'module:function'.")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(f"{reference!r} cannot be imported: {error}") from error
    if not callable(function):
        raise InvalidInputError(f"{reference!r} is not a function.")
    return function  # type: ignore[no-any-return]
