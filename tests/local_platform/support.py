"""Circuits, observables and HTTP that the platform's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager

from session_block.local_platform import Admin

if TYPE_CHECKING:
    from session_block.local_platform import PlatformInfo

H2 = SparsePauliOp.from_list(
    [
        ("II", -1.052373245772859),
        ("IZ", 0.39793742484318045),
        ("ZI", -0.39793742484318045),
        ("ZZ", -0.01128010425623538),
        ("XX", 0.18093119978423156),
    ]
)
H2_GROUND_ENERGY = -1.85727503


def raw_client(info: PlatformInfo) -> httpx.Client:
    """Return plain HTTP to a platform's API, with credentials."""
    headers = {"Authorization": f"apikey {info.token}", "Service-CRN": info.instance}
    return httpx.Client(base_url=info.url, headers=headers, trust_env=False)


def stats(info: PlatformInfo) -> dict[str, Any]:
    """Return what a platform has counted."""
    return Admin.of(info).stats()


def isa(circuit: QuantumCircuit, backend: Any) -> QuantumCircuit:
    """Return the circuit as the backend takes it, always in the same way."""
    return generate_preset_pass_manager(1, backend, seed_transpiler=1).run(circuit)


def is_gone(process: psutil.Process) -> bool:
    """Say whether a process has ended, also if nobody has taken note of it yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def ground_state() -> QuantumCircuit:
    """Return the circuit that prepares the ground state of H2."""
    vector = np.linalg.eigh(H2.to_matrix())[1][:, 0].real
    circuit = QuantumCircuit(2)
    circuit.ry(2 * np.arctan2(vector[1], vector[2]), 0)
    circuit.x(1)
    circuit.cx(0, 1)
    return circuit


def bell() -> QuantumCircuit:
    """Return a measured Bell state."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit
