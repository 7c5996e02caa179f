"""What QAOA's optimiser sees: the value of a problem at given angles, by Estimator or Sampler."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from session_block.errors import InvalidInputError, NotISAError
from session_block.experiment import Experiment
from session_block.ising import SpinProblem
from session_block.primitives import DurableEstimator, DurableSampler
from session_block.qaoa_circuit import Point, angle_names, qaoa_circuit
from session_block.references import Implementation
from session_block.request import estimator_request, sampler_request
from session_block.samples import BitString, Mean, Samples

Objective = Literal["estimator", "sampler"]
Points = NDArray[np.float64]


class Landscape:
    """Evaluates a problem at points of angles; all points that are asked for at once are one job.

    Its arguments are those of :func:`session_block.qaoa.run_qaoa`. Nothing is sent before the
    first evaluation.

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
        self._means: Callable[[Points], list[Mean]]
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

    def evaluate(self, points: Points) -> list[Mean]:
        """Return the objective at points of shape ``(n, 2p)``.

        Raises:
            NotISAError: The backend has too few qubits; no job was sent.
        """
        self._pin()
        return self._means(points)

    def sample(self, point: Point) -> tuple[Samples, BitString]:
        """Sample the circuit at one point of shape ``(2p,)``, with the final shots and options.

        Returns:
            The samples, and the best bit string of these and all that were sampled before.
        """
        self._pin()
        (samples,) = self._sampled(self._final, point[np.newaxis], self._final_shots)
        return samples, self._best[0]

    def _estimated(self, estimator: DurableEstimator, points: Points) -> list[Mean]:
        pub = (self._circuit, self._observable, self._values(points))
        data = estimator.run([pub], precision=self._precision).result()[0].data
        constant = self._problem.terms.constant
        return [
            Mean(constant + float(value), float(error))
            for value, error in zip(data.evs, data.stds, strict=True)
        ]

    def _sample_means(self, sampler: DurableSampler, points: Points) -> list[Mean]:
        return [one.mean(self._alpha) for one in self._sampled(sampler, points, self._shots)]

    def _sampled(self, sampler: DurableSampler, points: Points, shots: int | None) -> list[Samples]:
        result = sampler.run([(self._measured, self._values(points))], shots=shots).result()
        measured = result[0].data.meas
        sampled = [Samples.of(self._problem, measured[place]) for place in range(len(points))]
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
        """Pin all circuits before the first job, and so for one calibration."""
        if self._pinned:
            return
        try:
            for circuit in self._circuits:
                self._experiment.transpile(circuit)
        except NotISAError as error:
            raise NotISAError(
                f"{error} Each of the problem's {self._problem.num_nodes} nodes takes a qubit: use "
                "a Block whose backend has so many (backend_name, or min_num_qubits)."
            ) from error
        self._pinned = True


def _check(
    reps: int, objective: str, alpha: float, shots: int | None, precision: float | None
) -> None:
    if reps < 1:
        raise InvalidInputError(f"QAOA has one layer at least, not {reps}; give another reps.")
    if objective not in ("estimator", "sampler"):
        raise InvalidInputError(f"objective must be 'estimator' or 'sampler', not {objective!r}.")
    if not 0 < alpha <= 1:
        raise InvalidInputError(
            f"alpha is the share of samples that count, above 0 and at most 1, not {alpha}."
        )
    if objective == "estimator" and (alpha < 1 or shots is not None):
        raise InvalidInputError(
            "alpha and shots are for samples, and the Estimator gives none: use "
            "objective='sampler', or give precision, about 1 / √shots, in the place of shots."
        )
    if objective == "sampler" and precision is not None:
        raise InvalidInputError(
            "precision is for the Estimator: give shots, about 1 / precision², to the Sampler."
        )
