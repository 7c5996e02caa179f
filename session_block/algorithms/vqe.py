"""The variational quantum eigensolver inside one durable experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives.containers import PrimitiveResult
from qiskit.quantum_info import SparsePauliOp

from session_block.algorithms.evaluations import evaluations_named, values_told
from session_block.algorithms.hamiltonians import H2_PAULIS, exact_ground_energy
from session_block.algorithms.optimizers import Gradient, Optimizer
from session_block.display.frames import numbered
from session_block.errors import InvalidInputError
from session_block.experiments.experiment import Experiment
from session_block.experiments.primitives import DurableEstimator
from session_block.experiments.report import RunFacts
from session_block.prefect_context import shown_as
from session_block.pubs.fingerprint import CIRCUIT_FINGERPRINTS
from session_block.pubs.request import estimator_request
from session_block.records.notebook import report_page
from session_block.references import Implementation

if TYPE_CHECKING:
    import pandas as pd

_LARGEST_SEED = 2**31
_SMALL = 8
"""Up to so many qubits the exact energy takes milliseconds; the session is still open then."""


class Evaluation(BaseModel):
    """One evaluation of the energy.

    Attributes:
        energy: Expectation value of the Hamiltonian.
        standard_error: The standard error that the Estimator gives.
        parameters: The ansatz parameters.
        restart: The number of the optimisation, counted from 0.

    Examples:
        >>> with block.experiment("h2") as experiment:
        ...     report = run_vqe(experiment, optimizer_options={"maxiter": 10}, seed=1)
        >>> first = report.evaluations[0]
        >>> len(first.parameters), first.restart
        (4, 0)
    """

    model_config = ConfigDict(frozen=True)

    energy: float
    standard_error: float
    parameters: list[float]
    restart: int


class Optimum(BaseModel):
    """Where one optimisation ended.

    Attributes:
        energy: The lowest energy that the optimiser reports, in the Hamiltonian's unit.
        parameters: The ansatz parameters at that energy.
        success: Whether the optimiser reports convergence.
        message: The optimiser's message at its end.

    Examples:
        >>> with block.experiment("h2") as experiment:
        ...     report = run_vqe(experiment, optimizer_options={"maxiter": 10}, seed=1)
        >>> report.energy == min(optimum.energy for optimum in report.optima)
        True
    """

    model_config = ConfigDict(frozen=True)

    energy: float
    parameters: list[float]
    success: bool
    message: str


class VQEReport(Optimum):
    """What a VQE found: the best of its optimisations, and how it got there.

    Attributes:
        exact: The Hamiltonian's lowest eigenvalue; ``None`` with more than 8 qubits.
        optimizer: The method.
        optima: Where each optimisation ended.
        evaluations: Every evaluation, in order. Points of one step share a job.
        run: Experiment, sessions, jobs and usage.

    Examples:
        >>> with block.experiment("h2") as experiment:
        ...     report = run_vqe(experiment, optimizer_options={"maxiter": 10}, seed=1)
        >>> print(f"{report.exact:.4f} hartree is exact")
        -1.8573 hartree is exact
        >>> report.run.job_ids == Experiment.load("h2").job_ids
        True
    """

    exact: float | None = None
    optimizer: str
    optima: list[Optimum]
    evaluations: list[Evaluation]
    run: RunFacts

    @property
    def session_id(self) -> str | None:
        """The session of the last job; ``None`` in job mode.

        Examples:
            >>> with block.experiment("h2") as experiment:
            ...     report = run_vqe(experiment, optimizer_options={"maxiter": 10}, seed=1)
            >>> report.session_id == experiment.session_id
            True
        """
        return self.run.session_ids[-1] if self.run.session_ids else None

    def to_dataframe(self) -> pd.DataFrame:
        """Return a data frame with a row for each evaluation; needs the extra ``analysis``.

        The columns are ``energy`` and ``standard_error`` in the Hamiltonian's unit, ``restart``,
        ``exact`` (NaN if it is not known), and ``parameters.0``, ``parameters.1``, … in radians, in
        the order of the ansatz's parameters. The index counts from 1.

        Raises:
            InvalidInputError: pandas is not installed.

        Examples:
            >>> with block.experiment("h2") as experiment:
            ...     report = run_vqe(experiment, optimizer_options={"maxiter": 10}, seed=1)
            >>> frame = report.to_dataframe()
            >>> len(frame) == len(report.evaluations), float(frame["energy"].min()) == report.energy
            (True, True)
            >>> axes = frame.plot(y=["energy", "exact"])
        """
        rows = [
            {
                "energy": one.energy,
                "standard_error": one.standard_error,
                "restart": one.restart,
                "exact": math.nan if self.exact is None else self.exact,
                **{f"parameters.{place}": value for place, value in enumerate(one.parameters)},
            }
            for one in self.evaluations
        ]
        return numbered(rows, "evaluation")

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return report_page(f"VQE {self.run.experiment!r}", self.model_dump(mode="json"))


def run_vqe(
    experiment: Experiment,
    hamiltonian: SparsePauliOp | None = None,
    ansatz: QuantumCircuit | None = None,
    *,
    optimizer: str = "COBYLA",
    optimizer_options: Mapping[str, Any] | None = None,
    gradient: Gradient = "parameter-shift",
    initial_point: Sequence[float] | None = None,
    restarts: int = 1,
    seed: int | None = None,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation | None = None,
    on_evaluation: Callable[[int, Evaluation], None] | None = None,
) -> VQEReport:
    """Minimise a Hamiltonian's expectation value over an ansatz's parameters.

    The transpiled circuit, the drawn initial points and each evaluation are recorded. SciPy's
    optimisers cannot save their state, so a resumed run replays the recorded evaluations into the
    same deterministic optimiser, without network. At the end the experiment is sealed with the
    report; a sealed experiment returns its report at once.

    Args:
        experiment: Submits and records the jobs.
        hamiltonian: The observable; ``None`` for H2 at 0.735 Å.
        ansatz: A circuit with parameters and no measurements; ``None`` for ``real_amplitudes`` with
            one repetition.
        optimizer: ``SPSA``, ``differential-evolution``, or a method of
            :func:`scipy.optimize.minimize`. All points of a step are one job.
        optimizer_options: Its ``options``, such as ``{"maxiter": 100}``.
        gradient: How gradients are computed, for methods that use one; see
            :mod:`session_block.algorithms.optimizers`.
        initial_point: One value per parameter, for the first optimisation; ``None`` to draw it
            once.
        restarts: The number of optimisations; all but the first start at points drawn once.
        seed: Seed for these draws and the optimiser.
        precision: Target standard error; ``None`` for the options' default.
        options: The Estimator's own options.
        implementation: ``v2`` or ``executor``, the client's two families of primitives; ``None``
            for the experiment's own.
        on_evaluation: Called after each evaluation with its number, counted from 1.

    Raises:
        InvalidInputError: Hamiltonian, ansatz and initial point do not fit each other, options
            and precision are wrong, or the experiment began with another Hamiltonian or ansatz;
            nothing was sent.
        SubmissionError: A job went wrong; the next run continues at that evaluation.

    Examples:
        Start it again after an interruption, with the same lines:

        >>> with block.experiment("h2") as experiment:
        ...     report = run_vqe(experiment, optimizer_options={"maxiter": 10}, seed=1)
        >>> print(f"{report.energy:.3f} hartree after {len(report.evaluations)} evaluations")
        -1... hartree after 10 evaluations
        >>> print(f"{report.exact:.3f} is exact")
        -1.857 is exact
    """
    observable = SparsePauliOp.from_list(list(H2_PAULIS)) if hamiltonian is None else hamiltonian
    problem = {"hamiltonian": _terms(observable), "ansatz": _description(experiment, ansatz)}
    if (sealed := experiment.report()) is not None:
        report = _sealed(experiment, sealed)
        experiment.require_problem(problem)
        return report
    circuit = real_amplitudes(observable.num_qubits, reps=1) if ansatz is None else ansatz
    _check(observable, circuit, initial_point, restarts)
    experiment.require_problem(problem)
    estimator = DurableEstimator(experiment, options=options, implementation=implementation)
    estimator_request(
        [(circuit, observable, np.zeros(circuit.num_parameters))],
        precision=precision,
        options=options,
        implementation=implementation or experiment.implementation,
    )
    random = np.random.default_rng(seed)
    # Every run draws; once() keeps what the first one drew.
    points = [random.uniform(-math.pi, math.pi, circuit.num_parameters) for _ in range(restarts)]
    starts = [
        experiment.once(f"vqe/initial-point/{number}", point.tolist)
        for number, point in enumerate(points)
    ]
    if initial_point is not None:
        starts[0] = list(initial_point)
    method = Optimizer(
        optimizer,
        optimizer_options or {},
        gradient,
        experiment.once("vqe/seed", lambda: int(random.integers(_LARGEST_SEED))),
    )
    exact = exact_ground_energy(observable) if observable.num_qubits <= _SMALL else None
    experiment.progress(exact=exact)
    evaluations: list[Evaluation] = []

    def energies(points: NDArray[np.float64], restart: int) -> NDArray[np.float64]:
        with shown_as(evaluations_named(len(evaluations), len(points)), _told):
            job = estimator.run([(circuit, observable, points)], precision=precision)
            data = job.result()[0].data
        for point, energy, error in zip(points, data.evs, data.stds, strict=True):
            evaluations.append(
                Evaluation(
                    energy=float(energy),
                    standard_error=float(error),
                    parameters=point.tolist(),
                    restart=restart,
                )
            )
            experiment.progress(float(energy), float(error), at=point)
            if on_evaluation is not None:
                on_evaluation(len(evaluations), evaluations[-1])
        return np.asarray(data.evs, dtype=float)

    optima = [
        _optimum(method, partial(energies, restart=restart), start)
        for restart, start in enumerate(starts)
    ]
    best = min(optima, key=lambda one: one.energy)
    report = VQEReport(
        **best.model_dump(),
        exact=exact,
        optimizer=optimizer,
        optima=optima,
        evaluations=evaluations,
        run=experiment.run_facts(),
    )
    return VQEReport.model_validate(experiment.seal(report.model_dump()))


def _told(result: PrimitiveResult) -> str:
    data = result[0].data
    return values_told("energy", zip(data.evs, data.stds, strict=True))


def _sealed(experiment: Experiment, report: Mapping[str, Any]) -> VQEReport:
    try:
        return VQEReport.model_validate(report)
    except ValidationError as error:
        raise InvalidInputError(
            f"Experiment {experiment.identity} is finished, and its report is not of a VQE. Use "
            "another name, or start anew with fresh=True."
        ) from error


def _terms(observable: SparsePauliOp) -> list[tuple[str, float, float]]:
    terms = [(label, complex(weight)) for label, weight in observable.to_list()]
    return sorted((label, weight.real, weight.imag) for label, weight in terms)


def _description(experiment: Experiment, ansatz: QuantumCircuit | None) -> str:
    """Return what stays the same for one ansatz, also with another version of Qiskit."""
    if ansatz is None:
        return "real_amplitudes"
    return CIRCUIT_FINGERPRINTS[experiment.versions.fingerprint](ansatz)


def _optimum(
    method: Optimizer,
    energies: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    start: Sequence[float],
) -> Optimum:
    found = method.minimize(energies, np.asarray(start, dtype=float))
    return Optimum(
        energy=float(found.fun),
        parameters=[float(value) for value in found.x],
        success=bool(found.success),
        message=str(found.message),
    )


def _check(
    observable: SparsePauliOp,
    circuit: QuantumCircuit,
    initial_point: Sequence[float] | None,
    restarts: int,
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
    if restarts < 1:
        raise InvalidInputError(f"restarts is {restarts}; a VQE needs 1 optimisation or more.")
