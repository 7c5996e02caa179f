"""Hamiltonians with known ground states, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from session_block.errors import InvalidInputError

H2_PAULIS = (
    ("II", -1.052373245772859),
    ("IZ", 0.39793742484318045),
    ("ZI", -0.39793742484318045),
    ("ZZ", -0.01128010425623538),
    ("XX", 0.18093119978423156),
)
"""Electronic Hamiltonian of H2 at 0.735 Å in STO-3G on two qubits, in hartree (qiskit-algorithms,
``test_vqe.py``). Its lowest eigenvalue is -1.857275; with the nuclei it is -1.137306."""

H2_NUCLEAR_REPULSION = 0.719968994
"""Of two protons 0.735 Å apart, in hartree: a Bohr radius (0.529177211 Å, CODATA) by the
distance."""

TUTORIAL_PAULIS = (("YZ", 0.3980), ("ZI", -0.3980), ("ZZ", -0.0113), ("XX", 0.1810))
"""IBM's VQE tutorial (``vqe_with_estimator``). Its lowest eigenvalue is -0.702930."""

_EXACT_LIMIT_QUBITS = 12


def transverse_field_ising(num_qubits: int) -> SparsePauliOp:
    """Return -ΣZZ - ΣX on an open chain; the ground energy is 1 - 1/sin(π/(4N+2)).

    Raises:
        InvalidInputError: A chain has two sites or more.
    """
    bonds = [("ZZ", [site, site + 1], -1.0) for site in range(_sites(num_qubits) - 1)]
    fields = [("X", [site], -1.0) for site in range(num_qubits)]
    return SparsePauliOp.from_sparse_list([*bonds, *fields], num_qubits)


def heisenberg(num_qubits: int) -> SparsePauliOp:
    """Return Σ(XX + YY + ZZ) on an open chain; on four sites the ground energy is -3 - 2√3.

    Raises:
        InvalidInputError: A chain has two sites or more.
    """
    bonds = [
        (pauli, [site, site + 1], 1.0)
        for site in range(_sites(num_qubits) - 1)
        for pauli in ("XX", "YY", "ZZ")
    ]
    return SparsePauliOp.from_sparse_list(bonds, num_qubits)


_CHAINS: Mapping[str, Callable[[int], SparsePauliOp]] = {
    "ising": transverse_field_ising,
    "heisenberg": heisenberg,
}
_FIXED = {"H2": H2_PAULIS, "ibm-tutorial": TUTORIAL_PAULIS}


def named_hamiltonian(name: str) -> SparsePauliOp | None:
    """Return a Hamiltonian by name, or ``None`` if the name is unknown.

    Names are ``H2``, ``ibm-tutorial``, ``ising-N`` and ``heisenberg-N`` for a chain of N sites.
    """
    if name in _FIXED:
        return SparsePauliOp.from_list(list(_FIXED[name]))
    kind, _, sites = name.partition("-")
    return _CHAINS[kind](int(sites)) if kind in _CHAINS and sites.isdecimal() else None


def exact_ground_energy(hamiltonian: SparsePauliOp) -> float:
    """Return the lowest eigenvalue by exact diagonalisation.

    Raises:
        InvalidInputError: The Hamiltonian acts on more than 12 qubits.
    """
    if hamiltonian.num_qubits > _EXACT_LIMIT_QUBITS:
        raise InvalidInputError(
            f"Exact diagonalisation takes up to {_EXACT_LIMIT_QUBITS} qubits; this Hamiltonian has "
            f"{hamiltonian.num_qubits}."
        )
    return float(np.linalg.eigvalsh(hamiltonian.to_matrix())[0])


def _sites(num_qubits: int) -> int:
    if num_qubits < 2:  # noqa: PLR2004
        raise InvalidInputError(f"A chain has two sites or more, not {num_qubits}.")
    return num_qubits
