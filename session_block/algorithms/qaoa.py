"""The quantum approximate optimisation algorithm inside one durable experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.optimize import OptimizeResult

from session_block.algorithms.ising import Ising, MaxCut, SpinProblem
from session_block.algorithms.optimizers import Optimizer
from session_block.algorithms.qaoa_objective import (
    Landscape,
    Objective,
    Point,
    Points,
    linear_ramp,
    random_point,
    units,
)
from session_block.algorithms.samples import BitString
from session_block.display.frames import numbered
from session_block.errors import InvalidInputError
from session_block.experiments.experiment import Experiment
from session_block.experiments.report import RunFacts
from session_block.records.notebook import report_page
from session_block.references import Implementation

if TYPE_CHECKING:
    import pandas as pd

InitialPoint = Sequence[float] | Literal["ramp", "random"]

_REPORTED_STRINGS = 20
_LARGEST_SEED = 2**31


class QAOAEvaluation(BaseModel):
    """One evaluation of the objective.

    Attributes:
        gammas: The angles γ_1 to γ_p.
        betas: The angles β_1 to β_p.
        value: The expected cut or energy at these angles, or the mean of the best samples.
        standard_error: The value's standard error.

    Examples:
        >>> with block.experiment("cut") as experiment:
        ...     report = run_qaoa(experiment, MaxCut(edges=[(0, 1), (1, 2)]), optimizer=None)
        >>> [only] = report.evaluations
        >>> [round(angle, 2) for angle in (*only.gammas, *only.betas)]
        [...]
    """

    model_config = ConfigDict(frozen=True)

    gammas: list[float]
    betas: list[float]
    value: float
    standard_error: float


class QAOAReport(BaseModel):
    """What QAOA found, and how it got there.

    Attributes:
        problem: The problem.
        reps: The number p of layers.
        objective: ``estimator`` or ``sampler``.
        alpha: The share of best samples over which the objective is the mean.
        gammas: The best γ, as the optimiser reports them.
        betas: The best β, as the optimiser reports them.
        value: The objective at these angles, as the optimiser reports it.
        optimizer: The method; ``None`` if only the initial point was evaluated.
        success: Whether the optimiser reports convergence.
        message: The optimiser's message at its end.
        best_bitstring: The best bit string of all samples; node 0 is rightmost.
        best_nodes: The nodes whose bit is 1 in it: one side of the cut, or the spins of −1.
        best_value: Its cut or energy.
        mean: Mean cut or energy of the final samples.
        standard_error: The mean's standard error.
        shots: The number of final samples.
        samples: The 20 most frequent bit strings of the final samples.
        optimum: The exact optimum; ``None`` with more than 20 nodes.
        approximation_ratio: Where the mean lies between the worst possible value (0) and the
            optimum (1); for a cut with positive weights, the mean over the optimum. ``None`` if
            ``optimum`` is ``None``.
        evaluations: Every evaluation of the objective, in order. Points of one step share a job.
        run: Experiment, sessions, jobs and usage.

    Examples:
        >>> with block.experiment("cut") as experiment:
        ...     report = run_qaoa(experiment, MaxCut(edges=[(0, 1), (1, 2)]), optimizer=None)
        >>> report.best_bitstring in {"010", "101"}, report.best_value, report.optimum
        (True, 2.0, 2.0)
        >>> 0.5 < report.approximation_ratio <= 1
        True
    """

    model_config = ConfigDict(frozen=True)

    problem: MaxCut | Ising
    reps: int
    objective: Objective
    alpha: float
    gammas: list[float]
    betas: list[float]
    value: float
    optimizer: str | None
    success: bool
    message: str
    best_bitstring: str
    best_nodes: list[int]
    best_value: float
    mean: float
    standard_error: float
    shots: int
    samples: list[BitString]
    optimum: float | None
    approximation_ratio: float | None
    evaluations: list[QAOAEvaluation]
    run: RunFacts

    def to_dataframe(self) -> pd.DataFrame:
        """Return a data frame with a row for each evaluation; needs the extra ``analysis``.

        The columns are ``value`` and ``standard_error`` in the problem's unit, ``optimum`` (NaN if
        it is not known), and ``gammas.0``, …, ``betas.0``, … in radians. The index counts from 1.

        Raises:
            InvalidInputError: pandas is not installed.

        Examples:
            >>> with block.experiment("cut") as experiment:
            ...     report = run_qaoa(experiment, MaxCut(edges=[(0, 1), (1, 2)]), optimizer=None)
            >>> frame = report.to_dataframe()
            >>> list(frame.columns)
            ['value', 'standard_error', 'optimum', 'gammas.0', 'betas.0']
            >>> axes = frame.plot(y=["value", "optimum"])
        """
        rows = [
            {
                "value": one.value,
                "standard_error": one.standard_error,
                "optimum": math.nan if self.optimum is None else self.optimum,
                **{f"gammas.{place}": value for place, value in enumerate(one.gammas)},
                **{f"betas.{place}": value for place, value in enumerate(one.betas)},
            }
            for one in self.evaluations
        ]
        return numbered(rows, "evaluation")

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return report_page(f"QAOA {self.run.experiment!r}", self.model_dump(mode="json"))


def run_qaoa(
    experiment: Experiment,
    problem: MaxCut | Ising,
    *,
    reps: int = 1,
    objective: Objective = "estimator",
    alpha: float = 1.0,
    optimizer: str | None = "COBYLA",
    optimizer_options: Mapping[str, Any] | None = None,
    initial_point: InitialPoint = "ramp",
    seed: int | None = None,
    shots: int | None = None,
    precision: float | None = None,
    options: Any = None,
    final_shots: int | None = None,
    final_options: Any = None,
    implementation: Implementation | None = None,
    on_evaluation: Callable[[int, QAOAEvaluation], None] | None = None,
) -> QAOAReport:
    """Optimise QAOA's angles for a problem, then sample the circuit with the best ones.

    Circuit, angles and their order are those of :mod:`session_block.algorithms.qaoa_objective`: the
    convention of Farhi et al., where C is the cut or minus the energy. Node i is qubit i.

    The transpiled circuits, the initial point and each evaluation are recorded. A resumed run
    replays the recorded evaluations into the same deterministic optimiser, without network. At the
    end the experiment is sealed with the report; a sealed experiment returns its report at once.

    Args:
        experiment: Submits and records the jobs.
        problem: Max-Cut or Ising; at most as many nodes as the backend has qubits.
        reps: The number p of layers; there are 2p angles.
        objective: ``estimator`` for the expectation value; ``sampler`` for a mean over samples.
            With ``sampler`` these samples are candidates for the best bit string too.
        alpha: With the Sampler, take the mean over this share of best samples, above 0 and at
            most 1: the conditional value at risk (Barkoutsos et al., arXiv:1907.04769).
        optimizer: ``SPSA``, ``differential-evolution``, or a method of
            :func:`scipy.optimize.minimize`, with gradients by finite differences. All points of a
            step are one job. ``None`` only evaluates the initial point, once.
        optimizer_options: Its ``options``, such as ``{"maxiter": 100, "rhobeg": 0.2}``. The
            optimiser sees γ in units of 1 / ``problem.strength`` and the objective in units of
            ``problem.spread``, so that steps and tolerances mean the same for all weights.
        initial_point: ``ramp`` for the linear ramp, ``random`` for a point drawn once and recorded,
            or the 2p angles ``[γ_1, …, γ_p, β_1, …, β_p]`` in radians.
        seed: Seed for the random initial point and the optimiser.
        shots: Shots for each evaluation by the Sampler; ``None`` for the options' default.
        precision: Target standard error of the Estimator; ``None`` for the options' default.
        options: The client's own options for the objective's primitive.
        final_shots: Shots of the final sampling; ``None`` for the options' default.
        final_options: The Sampler's options for the final sampling; ``None`` for ``options`` with a
            Sampler objective, otherwise for the client's defaults.
        implementation: ``v2`` or ``executor``, the client's two families of primitives; ``None``
            for the experiment's own.
        on_evaluation: Called after each evaluation with its number, counted from 1.

    Raises:
        InvalidInputError: Settings do not fit each other or the backend; no job was sent. Or the
            experiment is finished, and its report is of something else.
        SubmissionError: A job went wrong; the next run continues at that evaluation.

    Examples:
        >>> square = MaxCut(edges=[(0, 1), (1, 2), (2, 3), (0, 3)])
        >>> with block.experiment("square") as experiment:
        ...     report = run_qaoa(experiment, square, optimizer_options={"maxiter": 5})
        >>> report.best_value, report.optimum
        (4.0, 4.0)
    """
    if (sealed := experiment.report()) is not None:
        return _finished(experiment, sealed, problem)
    experiment.require_problem({"problem": [type(problem).__name__, problem.model_dump()]})
    landscape = Landscape(
        experiment,
        problem,
        reps,
        objective=objective,
        alpha=alpha,
        shots=shots,
        precision=precision,
        options=options,
        final_shots=final_shots,
        final_options=final_options,
        implementation=implementation or experiment.implementation,
    )
    unit = units(problem, reps)
    start, optimizer_seed = _beginning(experiment, reps, initial_point, seed, unit)
    extremes = problem.extremes()
    experiment.progress(exact=_optimum(problem, extremes), maximised=problem.maximised)
    evaluations: list[QAOAEvaluation] = []

    def evaluate(points: Points) -> Points:
        means = landscape.evaluate(points, len(evaluations))
        for point, mean in zip(points, means, strict=True):
            evaluations.append(
                QAOAEvaluation(
                    **_angles(point, reps), value=mean.value, standard_error=mean.standard_error
                )
            )
            experiment.progress(mean.value, mean.standard_error, at=point)
            if on_evaluation is not None:
                on_evaluation(len(evaluations), evaluations[-1])
        return np.array([mean.value for mean in means])

    if optimizer is None:
        found = OptimizeResult(
            x=start,
            fun=evaluate(start[np.newaxis])[0],
            success=True,
            message="Only the initial point was evaluated.",
        )
    else:
        scale = problem.spread * (-1 if problem.maximised else 1)
        method = Optimizer(optimizer, optimizer_options or {}, "finite-difference", optimizer_seed)
        found = method.minimize(lambda points: evaluate(points * unit) / scale, start / unit)
        found.x, found.fun = found.x * unit, found.fun * scale
    final, best = landscape.sample(found.x)
    mean = final.mean()
    optimum = _optimum(problem, extremes)
    report = QAOAReport(
        problem=problem,
        reps=reps,
        objective=objective,
        alpha=alpha,
        **_angles(found.x, reps),
        value=float(found.fun),
        optimizer=optimizer,
        success=bool(found.success),
        message=str(found.message),
        best_bitstring=best.bits,
        best_nodes=[node for node, bit in enumerate(reversed(best.bits)) if bit == "1"],
        best_value=best.value,
        mean=mean.value,
        standard_error=mean.standard_error,
        shots=final.shots,
        samples=final.commonest(_REPORTED_STRINGS),
        optimum=optimum,
        approximation_ratio=_ratio(problem, extremes, mean.value),
        evaluations=evaluations,
        run=experiment.run_facts(),
    )
    return QAOAReport.model_validate(experiment.seal(report.model_dump(mode="json")))


def _finished(
    experiment: Experiment, sealed: Mapping[str, Any], problem: SpinProblem
) -> QAOAReport:
    try:
        report = QAOAReport.model_validate(sealed)
    except ValidationError as error:
        raise InvalidInputError(
            f"Experiment {experiment.identity} is finished, and its report is not one of QAOA. "
            "Nothing was submitted. Use another name, or start a new one with fresh=True."
        ) from error
    if report.problem != problem:
        raise InvalidInputError(
            f"Experiment {experiment.identity} is finished, and optimised another problem. "
            "Nothing was submitted. Use another name, or start a new one with fresh=True."
        )
    return report


def _beginning(
    experiment: Experiment, reps: int, initial_point: InitialPoint, seed: int | None, unit: Point
) -> tuple[Point, int]:
    """Return the initial point and the optimiser's seed."""
    random = np.random.default_rng(seed)
    # Draw both always, so that the seed does not depend on initial_point; once() keeps the first.
    drawn, drawn_seed = random_point(reps, random), int(random.integers(_LARGEST_SEED))
    if not isinstance(initial_point, str):
        point = _given(initial_point, reps)
    elif initial_point == "ramp":
        point = linear_ramp(reps) * unit
    elif initial_point == "random":
        point = np.array(experiment.once(f"qaoa/random-point/{reps}", lambda: drawn)) * unit
    else:
        raise InvalidInputError(
            f"initial_point must be 'ramp', 'random' or a list of angles, not {initial_point!r}."
        )
    return point, experiment.once("qaoa/seed", lambda: drawn_seed)


def _given(initial_point: Sequence[float], reps: int) -> Point:
    point = np.asarray(initial_point, dtype=float)
    if point.shape != (2 * reps,) or not np.isfinite(point).all():
        raise InvalidInputError(
            f"With {reps} layers the initial point has {2 * reps} finite angles, first {reps} γ "
            f"and then {reps} β; this one is {point.tolist()}."
        )
    return point


Extremes = tuple[float, float] | None
"""The lowest and the highest value that there is; ``None`` if they are unknown."""


def _optimum(problem: SpinProblem, extremes: Extremes) -> float | None:
    return None if extremes is None else extremes[1 if problem.maximised else 0]


def _ratio(problem: SpinProblem, extremes: Extremes, mean: float) -> float | None:
    """Return the approximation ratio; ``None`` if it is unknown."""
    if extremes is None:
        return None
    worst, optimum = extremes if problem.maximised else extremes[::-1]
    return (mean - worst) / (optimum - worst)


def _angles(point: Point, reps: int) -> dict[str, list[float]]:
    return {"gammas": point[:reps].tolist(), "betas": point[reps:].tolist()}
