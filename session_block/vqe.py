"""The variational quantum eigensolver inside one durable experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from scipy.optimize import minimize

from session_block.errors import InvalidInputError
from session_block.experiment import Experiment
from session_block.primitives import DurableEstimator
from session_block.references import Implementation
from session_block.request import estimator_request

H2_PAULIS = (
    ("II", -1.052373245772859),
    ("IZ", 0.39793742484318045),
    ("ZI", -0.39793742484318045),
    ("ZZ", -0.01128010425623538),
    ("XX", 0.18093119978423156),
)
"""Electronic Hamiltonian of H2 at 0.735 Å in STO-3G on two qubits, in hartree (qiskit-algorithms,
``test_vqe.py``). Its lowest eigenvalue is -1.857275."""

_EXACT_LIMIT_QUBITS = 12


class Evaluation(BaseModel):
    """One evaluation of the energy.

    Attributes:
        energy: Expectation value of the Hamiltonian.
        standard_error: Its standard error, as the Estimator gives it.
    """

    model_config = ConfigDict(frozen=True)

    energy: float
    standard_error: float


class VQEReport(BaseModel):
    """What a VQE found.

    Attributes:
        energy: The lowest energy that the optimiser reports, in the Hamiltonian's unit.
        parameters: The ansatz parameters at that energy.
        evaluations: Every evaluation, in order.
        optimizer: The SciPy method.
        success: Whether the optimiser says that it converged.
        message: What the optimiser says of its end.
        session_id: The session in which the last job ran.
    """

    model_config = ConfigDict(frozen=True)

    energy: float
    parameters: list[float]
    evaluations: list[Evaluation]
    optimizer: str
    success: bool
    message: str
    session_id: str | None


def run_vqe(
    experiment: Experiment,
    hamiltonian: SparsePauliOp | None = None,
    ansatz: QuantumCircuit | None = None,
    *,
    optimizer: str = "COBYLA",
    optimizer_options: Mapping[str, Any] | None = None,
    initial_point: Sequence[float] | None = None,
    seed: int | None = None,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation = "v2",
    on_evaluation: Callable[[int, Evaluation], None] | None = None,
) -> VQEReport:
    """Minimise a Hamiltonian's expectation value over an ansatz's parameters.

    Everything that a resumed run must not make anew is recorded: the transpiled circuit, the drawn
    initial point, each evaluation. SciPy's optimisers cannot save their state, so a resumed run
    replays the recorded evaluations into the same deterministic optimiser; replaying touches no
    network. The experiment is sealed with the report; a sealed one returns it at once.

    Args:
        experiment: Where jobs are submitted and recorded.
        hamiltonian: The observable; ``None`` for H2 at 0.735 Å.
        ansatz: A circuit with parameters and no measurements; ``None`` for ``real_amplitudes`` with
            one repetition.
        optimizer: A method of :func:`scipy.optimize.minimize`.
        optimizer_options: Its ``options``, such as ``{"maxiter": 100}``.
        initial_point: One value for each parameter; drawn once when it is ``None``.
        seed: Seeds that draw.
        precision: Standard error that is aimed at; ``None`` for the options' default.
        options: The Estimator's own options.
        implementation: Which family of the client's primitives to use.
        on_evaluation: Called after each evaluation with its number, counted from 1.

    Raises:
        InvalidInputError: Hamiltonian, ansatz and initial point do not fit each other, or options
            and precision are wrong; nothing was sent.
        SubmissionError: A job went wrong; running again goes on at that evaluation.
    """
    if (sealed := experiment.report) is not None:
        return VQEReport.model_validate(sealed)
    observable = SparsePauliOp.from_list(list(H2_PAULIS)) if hamiltonian is None else hamiltonian
    circuit = real_amplitudes(observable.num_qubits, reps=1) if ansatz is None else ansatz
    _check(observable, circuit, initial_point)
    estimator_request(
        [(circuit, observable, np.zeros(circuit.num_parameters))],
        precision=precision,
        options=options,
        implementation=implementation,
    )
    estimator = DurableEstimator(experiment, options=options, implementation=implementation)
    start = experiment.once(
        "vqe/initial-point",
        lambda: (
            initial_point
            if initial_point is not None
            else np.random.default_rng(seed).uniform(-math.pi, math.pi, circuit.num_parameters)
        ),
    )
    evaluations: list[Evaluation] = []

    def energy(point: np.ndarray) -> float:
        data = estimator.run([(circuit, observable, point)], precision=precision).result()[0].data
        evaluations.append(Evaluation(energy=float(data.evs), standard_error=float(data.stds)))
        if on_evaluation is not None:
            on_evaluation(len(evaluations), evaluations[-1])
        return evaluations[-1].energy

    found = minimize(energy, start, method=optimizer, options=dict(optimizer_options or {}))
    report = VQEReport(
        energy=float(found.fun),
        parameters=[float(value) for value in found.x],
        evaluations=evaluations,
        optimizer=optimizer,
        success=bool(found.success),
        message=str(found.message),
        session_id=experiment.session_id,
    )
    return VQEReport.model_validate(experiment.seal(report.model_dump()))


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


def _check(
    observable: SparsePauliOp, circuit: QuantumCircuit, initial_point: Sequence[float] | None
) -> None:
    if observable.num_qubits != circuit.num_qubits:
        raise InvalidInputError(
            f"The Hamiltonian acts on {observable.num_qubits} qubits and the ansatz on "
            f"{circuit.num_qubits}."
        )
    if not circuit.num_parameters:
        raise InvalidInputError("The ansatz has no parameters, so there is nothing to optimise.")
    if initial_point is not None and len(initial_point) != circuit.num_parameters:
        raise InvalidInputError(
            f"The initial point has {len(initial_point)} values; the ansatz has "
            f"{circuit.num_parameters} parameters."
        )
