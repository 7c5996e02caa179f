"""QAOA's circuit and angles, and the objective that its optimiser evaluates.

The convention is that of Farhi, Goldstone and Gutmann (arXiv:1411.4028): start in the uniform
superposition of all bit strings, then apply, p times, exp(−iγ_l C) followed by exp(−iβ_l ΣX). C is
maximised: it is the cut, or minus the energy. On an even ring γ = π/4, β = π/8 cut ¾ of the edges.
Qiskit's own ansatz uses the energy instead of C, so its γ have the opposite sign.

Points are ``[γ_1, …, γ_p, β_1, …, β_p]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives.containers import PrimitiveResult

from session_block.algorithms.evaluations import evaluations_named, values_told
from session_block.algorithms.ising import SpinProblem
from session_block.algorithms.samples import BitString, Mean, Samples
from session_block.errors import InvalidInputError, NotISAError
from session_block.experiments.experiment import Experiment
from session_block.experiments.primitives import DurableEstimator, DurableSampler
from session_block.prefect_context import shown_as
from session_block.pubs.request import estimator_request, sampler_request
from session_block.references import Implementation

Point = NDArray[np.float64]

_GAMMA_END, _BETA_BEGIN = 1.1, 0.75
"""The linear ramp's last γ and first β. No other pair tried was much better, on rings and on cubic,
random and complete graphs, weighted or not, with 1 to 8 layers."""

_COUNTS_TOLD = 3

Objective = Literal["estimator", "sampler"]

Points = NDArray[np.float64]


def qaoa_circuit(problem: SpinProblem, reps: int) -> QuantumCircuit:
    """Return the circuit without measurements; its parameters are :func:`angle_names`."""
    gammas, betas = ParameterVector("γ", reps), ParameterVector("β", reps)
    couplings, fields, _ = problem.terms
    sign = 1 if problem.maximised else -1
    circuit = QuantumCircuit(problem.num_nodes, name="qaoa")
    circuit.h(circuit.qubits)
    for gamma, beta in zip(gammas, betas, strict=True):
        for first, second, coupling in couplings:
            if coupling:
                circuit.rzz(2 * sign * coupling * gamma, first, second)
        for node, field in fields:
            if field:
                circuit.rz(2 * sign * field * gamma, node)
        circuit.rx(2 * beta, circuit.qubits)
    return circuit


def angle_names(reps: int) -> tuple[str, ...]:
    """Return the names of the circuit's parameters, in the order of a point's angles."""
    return tuple(f"{letter}[{layer}]" for letter in "γβ" for layer in range(reps))


def units(problem: SpinProblem, reps: int) -> Point:
    """Return units in which the angles are of order 1, whatever the problem's weights.

    γ counts in units of 1 / strength (compare Sureshbabu et al., arXiv:2305.15201), β in radians.
    """
    return np.repeat([1 / problem.strength, 1.0], reps)


def linear_ramp(reps: int) -> Point:
    """Return a point, in :func:`units`, with rising γ and falling β, as in annealing.

    γ_l = 1.1 t_l and β_l = 0.75 (1 − t_l), with t_l = (l − ½) / p; compare Sack and Serbyn,
    arXiv:2101.05742.
    """
    times = (np.arange(reps) + 0.5) / reps
    return np.concatenate([_GAMMA_END * times, _BETA_BEGIN * (1 - times)])


def random_point(reps: int, random: np.random.Generator) -> Point:
    """Draw a point, in :func:`units`: γ uniformly from ±π, β from ±π/2."""
    reach = np.repeat([math.pi, math.pi / 2], reps)
    return random.uniform(-reach, reach)


class Landscape:
    """Evaluates a problem's objective at points; one call is one job, however many points.

    The arguments are those of :func:`session_block.algorithms.qaoa.run_qaoa`. Nothing is sent
    before the first evaluation.

    Raises:
        InvalidInputError: The arguments do not fit each other.
    """

    def __init__(
        self,
        experiment: Experiment,
        problem: SpinProblem,
        reps: int,
        *,
        objective: Objective,
        alpha: float,
        shots: int | None,
        precision: float | None,
        options: Any,
        final_shots: int | None,
        final_options: Any,
        implementation: Implementation,
    ) -> None:
        _check(reps, objective, alpha, shots, precision)
        self._experiment = experiment
        self._problem = problem
        self._names = angle_names(reps)
        self._alpha = alpha
        self._shots, self._precision, self._final_shots = shots, precision, final_shots
        self._circuit = qaoa_circuit(problem, reps)
        self._measured = self._circuit.measure_all(inplace=False)
        self._observable = problem.operator()
        self._best: list[BitString] = []
        self._pinned = False
        self._means: Callable[[Points, str], list[Mean]]
        if objective == "estimator":
            estimator = self._make_estimator(options, implementation)
            self._means = partial(self._estimated, estimator)
            self._circuits = [self._circuit, self._measured]
        else:
            sampler = self._make_sampler(shots, options, implementation)
            self._means = partial(self._sample_means, sampler)
            self._circuits = [self._measured]
            final_options = options if final_options is None else final_options
        self._final = self._make_sampler(final_shots, final_options, implementation)

    def evaluate(self, points: Points, before: int = 0) -> list[Mean]:
        """Return the objective at points of shape ``(n, 2p)``.

        Args:
            points: The points.
            before: The number of evaluations before these, for the name that the UI shows.

        Raises:
            NotISAError: The backend has too few qubits; no job was sent.
        """
        self._pin()
        return self._means(points, evaluations_named(before, len(points)))

    def sample(self, point: Point) -> tuple[Samples, BitString]:
        """Sample the circuit at a point of shape ``(2p,)``, with the final shots and options.

        Returns:
            The samples, and the best bit string of these and all earlier samples.
        """
        self._pin()
        request = [(self._measured, self._values(point[np.newaxis]))]
        with shown_as("final sample", self._final_told):
            result = self._final.run(request, shots=self._final_shots).result()
        (samples,) = self._kept(self._samples(result))
        return samples, self._best[0]

    def _estimated(self, estimator: DurableEstimator, points: Points, shown: str) -> list[Mean]:
        pub = (self._circuit, self._observable, self._values(points))
        with shown_as(shown, lambda result: self._told(self._expected(result))):
            return self._expected(estimator.run([pub], precision=self._precision).result())

    def _expected(self, result: PrimitiveResult) -> list[Mean]:
        constant, data = self._problem.terms.constant, result[0].data
        return [
            Mean(constant + float(value), float(error))
            for value, error in zip(data.evs, data.stds, strict=True)
        ]

    def _sample_means(self, sampler: DurableSampler, points: Points, shown: str) -> list[Mean]:
        request = [(self._measured, self._values(points))]
        with shown_as(shown, lambda result: self._told(self._averaged(self._samples(result)))):
            result = sampler.run(request, shots=self._shots).result()
        return self._averaged(self._kept(self._samples(result)))

    def _averaged(self, samples: list[Samples]) -> list[Mean]:
        return [one.mean(self._alpha) for one in samples]

    def _told(self, means: list[Mean]) -> str:
        return values_told("cut" if self._problem.maximised else "energy", means)

    def _final_told(self, result: PrimitiveResult) -> str:
        (samples,) = self._samples(result)
        best = samples.best()
        found = f"{self._told([samples.mean()])}; best {best.value:.6g}: {best.bits}"
        counts = ", ".join(f"{one.bits} ×{one.count}" for one in samples.commonest(_COUNTS_TOLD))
        return f"{found}; of {samples.shots} samples {counts}"

    def _samples(self, result: PrimitiveResult) -> list[Samples]:
        """Return the samples at each point of a request."""
        measured = result[0].data.meas
        return [Samples.of(self._problem, measured[place]) for place in range(measured.shape[0])]

    def _kept(self, sampled: list[Samples]) -> list[Samples]:
        """Note the best bit string of samples, and return them."""
        best = max if self._problem.maximised else min
        found = [*self._best, *(one.best() for one in sampled)]
        self._best = [best(found, key=lambda one: one.value)]
        return sampled

    def _values(self, points: Points) -> dict[tuple[str, ...], Points]:
        return {self._names: points}

    @property
    def _origin(self) -> Points:
        return np.zeros((1, len(self._names)))

    def _make_estimator(self, options: Any, implementation: Implementation) -> DurableEstimator:
        estimator_request(
            [(self._circuit, self._observable, self._values(self._origin))],
            precision=self._precision,
            options=options,
            implementation=implementation,
        )
        return DurableEstimator(self._experiment, options=options, implementation=implementation)

    def _make_sampler(
        self, shots: int | None, options: Any, implementation: Implementation
    ) -> DurableSampler:
        sampler_request(
            [(self._measured, self._values(self._origin))],
            shots=shots,
            options=options,
            implementation=implementation,
        )
        return DurableSampler(self._experiment, options=options, implementation=implementation)

    def _pin(self) -> None:
        """Pin all circuits before the first job, so that they share one calibration."""
        if self._pinned:
            return
        try:
            for circuit in self._circuits:
                self._experiment.transpile(circuit)
        except NotISAError as error:
            raise NotISAError(
                f"{error} Each of the problem's {self._problem.num_nodes} nodes takes a qubit: use "
                "a Block with a larger backend (backend_name or min_num_qubits)."
            ) from error
        self._pinned = True


def _check(
    reps: int, objective: str, alpha: float, shots: int | None, precision: float | None
) -> None:
    if reps < 1:
        raise InvalidInputError(f"QAOA needs at least one layer, not {reps}; change reps.")
    if objective not in ("estimator", "sampler"):
        raise InvalidInputError(f"objective must be 'estimator' or 'sampler', not {objective!r}.")
    if not 0 < alpha <= 1:
        raise InvalidInputError(
            f"alpha is the share of samples that count, above 0 and at most 1, not {alpha}."
        )
    if objective == "estimator" and (alpha < 1 or shots is not None):
        raise InvalidInputError(
            "alpha and shots are for samples, and the Estimator gives none. Use "
            "objective='sampler', or give precision, about 1 / √shots, instead of shots."
        )
    if objective == "sampler" and precision is not None:
        raise InvalidInputError(
            "precision is for the Estimator. Give the Sampler shots, about 1 / precision²."
        )
