"""The same work for every loop: a VQE's circuit, observable and points, as JSON.

Points are fixed beforehand, so that every loop makes the same jobs. The circuit is transpiled once,
so that every loop sends the same circuit.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import QuantumCircuit, qpy, transpile
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp

if TYPE_CHECKING:
    from session_block import QuantumSession
    from session_block.local_platform import LocalPlatform

BACKEND = "ibm_manila"
_SEED = 8
_STEP = 0.05


def new_work(evaluations: int) -> dict[str, Any]:
    """Return the work: the energy of H2 at points close together, as an optimiser would ask."""
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    from session_block.algorithms.hamiltonians import H2_PAULIS

    circuit = transpile(real_amplitudes(2, reps=1), FakeManilaV2(), seed_transpiler=1)
    observable = SparsePauliOp.from_list(list(H2_PAULIS)).apply_layout(circuit.layout)
    steps = np.random.default_rng(_SEED).normal(0, _STEP, (evaluations, circuit.num_parameters))
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return {
        "circuit": base64.b64encode(buffer.getvalue()).decode(),
        "observable": [(label, float(value.real)) for label, value in observable.to_list()],
        "points": np.cumsum(steps, axis=0).tolist(),
    }


def received(spec: Mapping[str, Any]) -> tuple[QuantumCircuit, SparsePauliOp]:
    """Return the circuit and the observable of a process's work."""
    circuit = qpy.load(io.BytesIO(base64.b64decode(spec["circuit"])))[0]
    return circuit, SparsePauliOp.from_list([tuple(term) for term in spec["observable"]])


def place(platform: LocalPlatform, ledger: str = "ledger") -> dict[str, str]:
    """Return the place of a durable loop: this platform, and a ledger of this name beside it."""
    directory = platform.info.state_dir
    return {"state_dir": str(directory), "ledger_url": f"sqlite:///{directory}/{ledger}.db"}


def block_at(spec: Mapping[str, Any], backend: str = BACKEND, **fields: Any) -> QuantumSession:
    """Return a Block for the place in a process's work."""
    from session_block import LocalPlatformCredentials, QuantumSession

    return QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=spec["state_dir"]),
        backend_name=backend,
        ledger_url=spec["ledger_url"],
        **fields,
    )
