"""Optimisers that evaluate all points of a step together, so that a step costs one job.

The platform limits jobs per minute, and a session is billed for the time between two jobs. So
SPSA's pair, a gradient's shifted points and a population are each evaluated in one job.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, differential_evolution, minimize

from session_block.errors import InvalidInputError

Points = NDArray[np.float64]
Evaluate = Callable[[Points], Points]
"""Takes points of shape ``(n, d)`` and returns their values, of shape ``(n,)``."""

Gradient = Literal["parameter-shift", "finite-difference"]

WITH_GRADIENT = frozenset({"BFGS", "CG", "L-BFGS-B", "Newton-CG", "SLSQP", "TNC"})
"""The methods of ``scipy.optimize.minimize`` that get a gradient."""

SPSA = "SPSA"
DIFFERENTIAL_EVOLUTION = "differential-evolution"
_SPSA_OPTIONS = {"maxiter", "a", "c", "stability", "alpha", "gamma"}
_STEP = 0.1


@dataclass(frozen=True)
class Optimizer:
    """An optimisation method, its options, and how gradients are computed.

    Args:
        method: ``SPSA``, ``differential-evolution``, or a method of
            :func:`scipy.optimize.minimize`.
        options: The method's own options; for SPSA ``maxiter`` (100), ``a`` (0.2), ``c`` (0.1),
            ``stability`` (0), ``alpha`` (0.602) and ``gamma`` (0.101), named as in Spall's paper
            (IEEE Trans. Aerosp. Electron. Syst. 34, 817, 1998).
        gradient: ``parameter-shift``, which is exact if each parameter is the full angle of one
            Pauli rotation, or ``finite-difference`` (central, step 0.1; a smaller one would drown
            in shot noise).
        seed: Seed for the random numbers of SPSA and differential evolution.

    Raises:
        InvalidInputError: SPSA has no such option.
    """

    method: str
    options: Mapping[str, Any]
    gradient: Gradient = "parameter-shift"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method != SPSA:
            return
        if unknown := set(self.options) - _SPSA_OPTIONS:
            raise InvalidInputError(
                f"SPSA has no option {', '.join(sorted(unknown))}; it has "
                f"{', '.join(sorted(_SPSA_OPTIONS))}."
            )

    def minimize(self, evaluate: Evaluate, start: Points) -> OptimizeResult:
        """Minimise from a point of shape ``(d,)``.

        Differential evolution searches within ±π of it, and has it in its first population.
        """
        if self.method == SPSA:
            return _spsa(evaluate, start, self.options, self.seed)
        if self.method == DIFFERENTIAL_EVOLUTION:
            bounds = [(value - math.pi, value + math.pi) for value in start]
            return differential_evolution(
                # SciPy passes the points as columns.
                lambda points: evaluate(np.atleast_2d(points.T)),
                bounds,
                x0=start,
                vectorized=True,
                updating="deferred",
                polish=False,
                rng=self.seed,
                **self.options,
            )
        options = dict(self.options)
        if self.method not in WITH_GRADIENT:
            return minimize(
                lambda point: float(evaluate(point[np.newaxis])[0]),
                start,
                method=self.method,
                options=options,
            )
        return minimize(
            lambda point: self._value_and_gradient(evaluate, point),
            start,
            method=self.method,
            jac=True,
            options=options,
        )

    def _value_and_gradient(self, evaluate: Evaluate, point: Points) -> tuple[float, Points]:
        step = math.pi / 2 if self.gradient == "parameter-shift" else _STEP
        shifts = step * np.eye(point.size)
        values = evaluate(np.concatenate([point[np.newaxis], point + shifts, point - shifts]))
        plus, minus = values[1 : point.size + 1], values[point.size + 1 :]
        slope = 2.0 if self.gradient == "parameter-shift" else 2 * step
        return float(values[0]), (plus - minus) / slope


def _spsa(
    evaluate: Evaluate, start: Points, options: Mapping[str, Any], seed: int
) -> OptimizeResult:
    """Minimise by simultaneous perturbation (SPSA): two points, one job, per iteration."""
    maxiter = int(options.get("maxiter", 100))
    stability = float(options.get("stability", 0.0))
    random = np.random.default_rng(seed)
    point = np.array(start, dtype=float)
    for iteration in range(1, maxiter + 1):
        rate = options.get("a", 0.2) / (iteration + stability) ** options.get("alpha", 0.602)
        reach = options.get("c", 0.1) / iteration ** options.get("gamma", 0.101)
        direction = random.choice([-1.0, 1.0], size=point.size)
        plus, minus = evaluate(np.stack([point + reach * direction, point - reach * direction]))
        point = point - rate * (plus - minus) / (2 * reach) * direction
    return OptimizeResult(
        x=point,
        fun=float(evaluate(point[np.newaxis])[0]),
        success=True,
        message=f"SPSA completed {maxiter} iterations.",
        nit=maxiter,
        nfev=2 * maxiter + 1,
    )
