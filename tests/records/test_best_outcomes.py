"""What a report says of its result, and what speaks against it."""

from __future__ import annotations

from typing import Any

import pytest
from session_support import run

from session_block import QuantumSession
from session_block.algorithms.hamiltonians import transverse_field_ising
from session_block.algorithms.vqe import run_vqe
from session_block.records.outcomes import (
    best_of,
    counts_of,
    doubt_of,
    exact_of,
    parameters_of,
)
from session_block.records.overviews import overview


@pytest.mark.parametrize(
    ("report", "best", "exact"),
    [
        (None, None, None),
        ({}, None, None),
        ({"energy": -1.5, "exact": -1.6}, -1.5, -1.6),
        ({"best_value": 10.0, "value": 9.5, "optimum": 12}, 10.0, 12),
        ({"value": 3}, 3, None),
        ({"energy": True, "exact": "-1"}, None, None),
        ({"energy": None, "value": 0.0}, 0.0, None),
    ],
)
def test_the_value_for_which_it_was_made(
    report: dict[str, Any] | None, best: float | None, exact: float | None
) -> None:
    """Of a VQE, of a QAOA, of a program of one's own, or none."""
    assert (best_of(report), exact_of(report)) == (best, exact)


@pytest.mark.parametrize(
    ("report", "parameters", "counts"),
    [
        (None, None, None),
        ({}, None, None),
        ({"parameters": [0.1, 2]}, {"parameters": [0.1, 2]}, None),
        ({"x": [0.1]}, {"x": [0.1]}, None),
        ({"x": ["a"], "parameters": 3}, {"parameters": 3}, None),
        (
            {"gammas": [1.0], "betas": [2.0], "samples": [{"bits": "01", "count": 3}]},
            {"gammas": [1.0], "betas": [2.0]},
            {"01": 3},
        ),
        ({"counts": {"0": 1, "1": 4}}, None, {"1": 4, "0": 1}),
        ({"samples": [1, 2]}, None, None),
    ],
)
def test_where_it_was_found(
    report: dict[str, Any] | None, parameters: dict[str, Any] | None, counts: dict[str, int] | None
) -> None:
    """Parameters and counts, most frequent first; what is neither is none."""
    assert parameters_of(report) == parameters
    found = counts_of(report)
    assert (None if found is None else list(found.items())) == (
        None if counts is None else list(counts.items())
    )


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ({"energy": -1.0, "success": True}, None),
        (
            {"energy": -1.0, "success": False, "message": "Too many steps."},
            "converge: Too many steps",
        ),
        ({"energy": -1.0, "success": False}, "converge: it does not say why"),
        ({"energy": -1.0, "exact": -1.005}, None),
        ({"energy": -1.1, "exact": -1.0}, None),
        ({"energy": -0.9, "exact": -1.0}, "0.1 above the exact value"),
        ({"energy": -0.9, "exact": -1.0, "evaluations": [{"standard_error": 0.05}]}, None),
        ({"energy": -0.9, "exact": -1.0, "evaluations": [{}]}, "above the exact value"),
    ],
)
def test_what_speaks_against_it(report: dict[str, Any], told: str | None) -> None:
    """An optimiser that stopped, and an energy that is far from the exact one."""
    doubt = doubt_of(report)
    assert doubt is told if told is None else told in str(doubt)


def test_a_vqe_that_stops_at_its_limit_is_doubted(block: QuantumSession) -> None:
    """Its exact energy is known, and it says that the optimiser was stopped."""
    with block.experiment("stopped early") as experiment:
        report = run_vqe(
            experiment, transverse_field_ising(2), optimizer_options={"maxiter": 8}, seed=1
        )
    assert report.exact == pytest.approx(-(5**0.5))
    assert not report.success
    about = overview(block.ledger(), experiment.identity)
    assert (about.best, about.exact) == (report.energy, report.exact)
    assert about.doubt is not None
    assert "did not converge" in about.doubt


def test_an_experiment_without_a_report_has_none(block: QuantumSession) -> None:
    """Nothing is doubted, and no value is made up."""
    with block.experiment("plain") as experiment:
        run(experiment, 1)
    about = overview(block.ledger(), experiment.identity)
    assert (about.best, about.exact, about.doubt) == (None, None, None)
