"""The QAOA flow: JSON parameters, retries in the same session."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from support import Platform

from session_block import QuantumSession
from session_block.errors import InvalidInputError
from session_block.flows.qaoa import MaxCut, QAOAReport, qaoa
from session_block.local_platform.process.admin import Admin

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server")]

PARAMETERS: dict[str, Any] = {
    "problem": {"edges": [[0, 1], [1, 2, 2.5], [2, 3], [3, 0]]},
    "reps": 2,
    "objective": "sampler",
    "alpha": 0.5,
    "optimizer": "Nelder-Mead",
    "optimizer_options": {"maxfev": 5},
    "initial_point": [0.2, 0.4, 0.5, 0.3],
    "shots": 400,
    "final_shots": 1000,
    "options": {"twirling": {"enable_measure": True}},
}
JOBS = 5 + 1


def test_the_defaults_solve_the_tutorials_problem(saved_block: str) -> None:
    """With nothing but a Block, the flow finds the best cut of the tutorial's graph."""
    report: QAOAReport = qaoa(saved_block, optimizer_options={"maxiter": 10})
    assert report.best_value == report.optimum == 5
    assert len(report.evaluations) == 10


def test_a_name_finishes_once(saved_block: str, platform: Platform) -> None:
    """A second run of a finished name gets its report, and ``fresh`` a new experiment."""
    named = {**PARAMETERS, "experiment": "qaoa-named"}
    first = qaoa(saved_block, **named)
    assert first.problem == MaxCut(edges=[(0, 1), (1, 2, 2.5), (2, 3), (3, 0)])
    assert first.optimum == 5.5
    assert first.shots == 1024  # twirled: the client rounds up to whole randomisations
    jobs = platform.stats()["jobs"]["total"]
    assert qaoa(saved_block, **named) == first
    assert platform.stats()["jobs"]["total"] == jobs
    again = qaoa(saved_block, **named, fresh=True)
    assert again.run.number == 2
    assert again.run.session_ids != first.run.session_ids
    assert platform.stats()["jobs"]["total"] == jobs + JOBS


def test_a_retry_goes_on_in_the_same_session(saved_block: str, platform: Platform) -> None:
    """A flow run whose fourth job is refused, and which is retried, has each job once."""
    expected = qaoa(saved_block, **PARAMETERS)
    before = platform.stats()
    admin = Admin.of(platform.info)
    fault = admin.add_fault(
        kind="status", method="POST", path="/jobs", status=403, code=1200, nth=4
    )
    try:
        report = qaoa.with_options(retries=1)(saved_block, **PARAMETERS)
        (rule,) = [one for one in admin.faults() if one["id"] == fault]
        assert rule["used"] == 1
    finally:
        admin.clear_faults(fault)
    after = platform.stats()
    assert after["jobs"]["total"] == before["jobs"]["total"] + JOBS
    assert after["sessions"]["total"] == before["sessions"]["total"] + 1
    assert report.evaluations == expected.evaluations
    assert report.samples == expected.samples
    assert len(report.run.session_ids) == 1


def test_an_ising_problem_of_fields(saved_block: str) -> None:
    """The other kind of problem is told by its own fields, and its energy becomes small."""
    problem = {"couplings": [[0, 1, 1.0]], "fields": [[0, 0.5]], "offset": 1}
    report = qaoa(saved_block, problem=problem, optimizer_options={"maxiter": 8})
    assert report.best_bitstring == "01"
    assert report.best_value == report.optimum == -0.5


def test_the_form_describes_each_parameter() -> None:
    """What Prefect shows as a form is plain JSON, with a description for everything."""
    schema = json.loads(json.dumps(qaoa.parameters.model_dump()))
    assert schema["required"] == ["block"]
    assert all("description" in about for about in schema["properties"].values())
    assert schema["properties"]["problem"]["default"]["edges"][0] == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"problem": {"edges": [[0, 0]]}}, ParameterTypeError, r"MaxCut.*Edge \[0, 0\]"),
        ({"problem": {"edges": []}}, ParameterTypeError, "nothing to optimise"),
        ({"problem": {"couplings": [[0, 1]]}}, ParameterTypeError, "Ising.couplings.0.2"),
        ({"problem": {"fields": [[1000, 1.0]]}}, ParameterTypeError, "1001 nodes are too many"),
        ({"objective": "sampling"}, ParameterTypeError, "objective"),
        ({"reps": 3}, InvalidInputError, "6 finite angles"),
        ({"options": {"no_such_option": 1}}, InvalidInputError, "options"),
        ({"precision": 0.1}, InvalidInputError, "precision is for the Estimator"),
        ({"final_shots": 0}, ParameterTypeError, "final_shots.*greater than or equal to 1"),
    ],
)
def test_bad_parameters_cost_nothing(
    saved_block: str,
    block: QuantumSession,
    platform: Platform,
    wrong: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """What does not fit fails the flow run before the platform hears of it.

    With an empty ledger it would be asked whether the run's experiment was lost.
    """
    block.experiment("an earlier one")
    before = platform.stats()["requests"]
    with pytest.raises(error, match=message):
        qaoa(saved_block, **{**PARAMETERS, **wrong})
    after = platform.stats()["requests"]
    assert {**after, "GET /_local/stats": 0} == {**before, "GET /_local/stats": 0}
