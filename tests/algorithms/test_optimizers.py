"""Optimisers that ask for all the points of a step at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from support import Platform

from session_block import QuantumSession
from session_block.algorithms.hamiltonians import (
    exact_ground_energy,
    heisenberg,
    named_hamiltonian,
    transverse_field_ising,
)
from session_block.algorithms.optimizers import (
    DIFFERENTIAL_EVOLUTION,
    SPSA,
    WITH_GRADIENT,
    Evaluate,
    Gradient,
    Optimizer,
)
from session_block.algorithms.vqe import run_vqe
from session_block.errors import InvalidInputError


class Asked:
    """A landscape that notes how many points each request holds."""

    def __init__(self, function: Evaluate) -> None:
        self._function = function
        self.sizes: list[int] = []

    def __call__(self, points: Any) -> Any:
        """Return the values of points."""
        self.sizes.append(len(points))
        return self._function(points)


def _waves(points: Any) -> Any:
    """A sum of cosines, as circuits of single rotations give; its minimum is -2 at (pi, pi)."""
    return np.cos(points).sum(axis=1)


def test_spsa_asks_for_pairs() -> None:
    """Each iteration is one request of two points, and the end is looked at once more."""
    asked = Asked(_waves)
    found = Optimizer(SPSA, {"maxiter": 200, "a": 0.5}, seed=3).minimize(
        asked, np.array([1.0, -1.0])
    )
    assert asked.sizes == [2] * 200 + [1]
    assert found.fun == pytest.approx(-2, abs=1e-2)
    assert found.nfev == 401


def test_spsa_is_repeatable() -> None:
    """The same seed takes the same way, another one another."""
    ends = [
        Optimizer(SPSA, {"maxiter": 5}, seed=seed).minimize(_waves, np.ones(2)).x.tolist()
        for seed in (1, 1, 2)
    ]
    assert ends[0] == ends[1] != ends[2]


def test_spsa_knows_its_options() -> None:
    """An option that it has not is refused, with those that it has."""
    with pytest.raises(InvalidInputError, match=r"no option maxfev.*maxiter"):
        Optimizer(SPSA, {"maxfev": 3})


@pytest.mark.parametrize("gradient", ["parameter-shift", "finite-difference"])
@pytest.mark.parametrize("method", sorted(WITH_GRADIENT))
def test_value_and_gradient_are_one_request(method: str, gradient: Gradient) -> None:
    """Methods with a gradient get it, and the value, from 1 + 2d points at once."""
    asked = Asked(_waves)
    found = Optimizer(method, {}, gradient).minimize(asked, np.array([2.0, 2.5]))
    assert set(asked.sizes) == {5}
    assert found.fun == pytest.approx(-2, abs=1e-4)


def test_a_population_is_one_request() -> None:
    """Each generation of differential evolution is evaluated together."""
    asked = Asked(_waves)
    found = Optimizer(DIFFERENTIAL_EVOLUTION, {"popsize": 5, "maxiter": 15}, seed=1).minimize(
        asked, np.array([2.0, 2.0])
    )
    assert set(asked.sizes) == {10}
    assert 2 <= len(asked.sizes) <= 16
    assert found.fun == pytest.approx(-2, abs=1e-2)


def test_other_methods_ask_for_one_point() -> None:
    """A method without steps of several points is left as it is."""
    asked = Asked(_waves)
    Optimizer("COBYLA", {"maxiter": 12}).minimize(asked, np.array([2.0, 2.0]))
    assert set(asked.sizes) == {1}


@pytest.mark.parametrize(
    ("optimizer", "options", "jobs"),
    [
        ("SPSA", {"maxiter": 5}, 6),
        ("L-BFGS-B", {"maxfun": 4}, 4),
        ("differential-evolution", {"popsize": 1, "maxiter": 2}, 3),
    ],
)
def test_a_step_is_one_job_at_the_platform(
    block: QuantumSession, platform: Platform, optimizer: str, options: dict[str, int], jobs: int
) -> None:
    """All points of a step run in one job, and are replayed from it."""
    for _ in range(2):
        experiment = block.experiment("steps")
        report = run_vqe(experiment, optimizer=optimizer, optimizer_options=options, seed=1)
    experiment.close_session()
    assert platform.jobs_of(experiment.uid) == pytest.approx(jobs, abs=1)
    assert len(report.run.job_ids) == platform.jobs_of(experiment.uid)
    assert len(report.evaluations) > len(report.run.job_ids)


def test_restarts_begin_elsewhere_and_the_best_counts(block: QuantumSession) -> None:
    """Each optimisation has its own drawn beginning; the report is of the best."""
    with block.experiment("restarts") as experiment:
        report = run_vqe(experiment, restarts=3, seed=2, optimizer_options={"maxiter": 8})
    assert len(report.optima) == 3
    assert report.energy == min(optimum.energy for optimum in report.optima)
    begins = [
        next(one.parameters for one in report.evaluations if one.restart == restart)
        for restart in range(3)
    ]
    assert len({tuple(begin) for begin in begins}) == 3


@pytest.mark.parametrize(
    ("hamiltonian", "exact"),
    [
        (transverse_field_ising(4), 1 - 1 / np.sin(np.pi / 18)),
        (heisenberg(4), -3 - 2 * np.sqrt(3)),
        (named_hamiltonian("H2"), -1.85727503),
        (named_hamiltonian("ibm-tutorial"), -0.70293039),
        (named_hamiltonian("ising-4"), -4.7587704831),
        (named_hamiltonian("heisenberg-4"), -6.4641016151),
    ],
)
def test_named_hamiltonians_have_the_published_energies(
    hamiltonian: SparsePauliOp, exact: float
) -> None:
    """Closed forms and published values agree with diagonalisation."""
    assert exact_ground_energy(hamiltonian) == pytest.approx(exact, abs=1e-7)


def test_what_is_no_name_is_none() -> None:
    """Other text is left to whoever reads module:function; a chain needs two sites."""
    assert named_hamiltonian("module:function") is None
    assert named_hamiltonian("ising-many") is None
    with pytest.raises(InvalidInputError, match="two sites"):
        named_hamiltonian("heisenberg-1")


@pytest.mark.nightly
def test_the_ising_chain_is_found_but_for_the_share_of_its_shots(block: QuantumSession) -> None:
    """A gradient, a job for each of its steps, finds the ground state of four spins.

    With 4096 shots the default family's values move in steps, in which the descent ends.
    """
    with block.experiment("ising") as experiment:
        report = run_vqe(
            experiment,
            transverse_field_ising(4),
            real_amplitudes(4, reps=3),
            optimizer="L-BFGS-B",
            optimizer_options={"maxiter": 60},
            seed=7,
        )
    assert report.energy == pytest.approx(-4.7587704831, abs=2e-2)
