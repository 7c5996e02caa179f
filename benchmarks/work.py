"""The same work for every loop: a VQE's circuit, observable and points, as JSON.

Points are fixed beforehand, so that every loop makes the same jobs, and as many. The circuit is
transpiled once, so that every loop sends the same one.
"""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qpy, transpile
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from session_block.hamiltonians import H2_PAULIS

BACKEND = "ibm_manila"
_SEED = 8
_STEP = 0.05


@dataclass(frozen=True)
class Work:
    """What a loop does, one job for each point.

    Attributes:
        circuit: The ISA circuit as QPY, in base 64.
        observable: Pairs of a Pauli label and a coefficient, laid out as the circuit is.
        points: Values for the circuit's parameters.
    """

    circuit: str
    observable: list[tuple[str, float]]
    points: list[list[float]]

    def as_json(self) -> dict[str, Any]:
        """Return it for another process."""
        return asdict(self)


def new_work(evaluations: int) -> Work:
    """Return the energy of H2 at points as an optimiser would ask for them, near one another."""
    circuit = transpile(real_amplitudes(2, reps=1), FakeManilaV2(), seed_transpiler=1)
    observable = SparsePauliOp.from_list(list(H2_PAULIS)).apply_layout(circuit.layout)
    steps = np.random.default_rng(_SEED).normal(0, _STEP, (evaluations, circuit.num_parameters))
    return Work(
        circuit=as_text(circuit),
        observable=[(label, float(value.real)) for label, value in observable.to_list()],
        points=np.cumsum(steps, axis=0).tolist(),
    )


def as_text(circuit: QuantumCircuit) -> str:
    """Return a circuit as QPY in base 64."""
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return base64.b64encode(buffer.getvalue()).decode()
