"""Flow parameters are JSON; what cannot be read is refused before anything is sent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from session_block.errors import InvalidInputError
from session_block.flows.problems import parse_ansatz, parse_hamiltonian

QASM = """
OPENQASM 3.0;
include "stdgates.inc";
input float[64] a;
input float[64] b;
qubit[2] q;
ry(a) q[0];
cx q[0], q[1];
ry(b) q[1];
"""


@pytest.fixture(autouse=True)
def _user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own, which parameters refer to."""
    (tmp_path / "my_problem.py").write_text(
        "from qiskit.circuit.library import real_amplitudes\n"
        "from qiskit.quantum_info import SparsePauliOp\n"
        "hamiltonian = lambda: SparsePauliOp('XX')\n"
        "ansatz = lambda: real_amplitudes(2)\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_problem", None)


def test_a_pauli_list_is_a_hamiltonian() -> None:
    """Pairs of label and coefficient, as JSON gives them."""
    terms: Any = [["ZZ", 0.5], ["XI", -1]]
    assert parse_hamiltonian(terms) == SparsePauliOp(["ZZ", "XI"], [0.5, -1])


def test_openqasm_3_is_an_ansatz() -> None:
    """Its ``input`` variables are the parameters."""
    circuit = parse_ansatz(QASM)
    assert circuit.num_qubits == 2
    assert [parameter.name for parameter in circuit.parameters] == ["a", "b"]


def test_a_function_is_either() -> None:
    """``module:function`` is imported and called."""
    assert parse_hamiltonian("my_problem:hamiltonian") == SparsePauliOp("XX")
    assert isinstance(parse_ansatz("my_problem:ansatz"), QuantumCircuit)


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [["ZZ"]],
        [["ZA", 1.0]],
        [["ZZ", 1.0], ["Z", 1.0]],
        [["ZZ", "much"]],
        [["ZZ", float("nan")]],
        "",
        "my_problem",
        "my_problem:",
        "my_problem:missing",
        "my_problem:number",
        "my_problem:ansatz",
        "no_such_module:f",
    ],
)
def test_an_unreadable_hamiltonian_is_refused(bad: Any) -> None:
    """The error is this package's, whatever Qiskit or Python made of it."""
    with pytest.raises(InvalidInputError):
        parse_hamiltonian(bad)


@pytest.mark.parametrize(
    "bad", ["", "OPENQASM 3.0; nonsense", "my_problem:hamiltonian", "qubit[2] q;"]
)
def test_an_unreadable_ansatz_is_refused(bad: str) -> None:
    """Neither broken OpenQASM nor a function that returns something else is guessed at."""
    with pytest.raises(InvalidInputError):
        parse_ansatz(bad)
