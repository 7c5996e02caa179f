"""What algorithms return becomes an experiment's report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from scipy.optimize import OptimizeResult, minimize

from session_block import DurableEstimator, QuantumSession
from session_block.errors import InvalidInputError
from session_block.experiments.report import plain


class Found(BaseModel):
    """A report of somebody's own."""

    cuts: int


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ({"x": np.array([1.0, 2.0]), "n": np.int64(3)}, {"x": [1.0, 2.0], "n": 3}),
        (Found(cuts=5), {"cuts": 5}),
        (1.5, {"outcome": 1.5}),
        ([1, "a", None, True], {"outcome": [1, "a", None, True]}),
        (OptimizeResult(fun=1.0, hess_inv=object(), nit=np.int32(2)), {"fun": 1.0, "nit": 2}),
    ],
)
def test_outcomes_become_json(outcome: Any, expected: dict[str, Any]) -> None:
    """Arrays, models and SciPy's results are plain values afterwards."""
    assert plain(outcome) == expected


@pytest.mark.parametrize("outcome", [object(), {"x": float("nan")}, [1j]])
def test_what_has_no_json_value_is_refused(outcome: Any) -> None:
    """The error names what cannot be kept."""
    with pytest.raises(InvalidInputError, match="kept as JSON"):
        plain(outcome)


def test_a_report_finishes_an_experiment_and_says_of_which_run_it_is(block: QuantumSession) -> None:
    """The outcome stands in the report with sessions and jobs; a second one changes nothing."""
    with block.experiment("e") as experiment:
        estimator = DurableEstimator(experiment)
        circuit = real_amplitudes(2, reps=1)

        def energy(point: Any) -> float:
            pub = (circuit, SparsePauliOp("ZZ"), point)
            return float(estimator.run([pub]).result()[0].data.evs)

        assert experiment.report() is None
        found = minimize(energy, [0.1] * 4, method="COBYLA", options={"maxiter": 7})
        report = experiment.report(found)
    assert report is not None
    assert report["fun"] == found.fun
    assert report["run"]["session_ids"] == [experiment.session_id]
    assert len(report["run"]["job_ids"]) == 7
    assert block.experiment("e").report({"fun": 0}) == report
