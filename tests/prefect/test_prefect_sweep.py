"""The sweep flow: JSON parameters, retries on the real server, and rows as they come."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ParameterTypeError

from session_block import QuantumSession
from session_block.algorithms.sweep.run import SweepReport, partial_sweep
from session_block.errors import InvalidInputError, JobFailedError
from session_block.flows.sweep import sweep
from session_block.local_platform import Admin

if TYPE_CHECKING:
    from support import Platform

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows")]

PARAMETERS: dict[str, Any] = {
    "circuits": [
        {
            "name": "rabi",
            "circuit": """
                OPENQASM 3.0;
                include "stdgates.inc";
                input float[64] theta; input float[64] phi;
                qubit[1] q;
                rx(theta) q[0]; rz(phi) q[0];
            """,
        }
    ],
    "grid": {
        "axes": [
            {"name": "theta", "values": [0.0, 0.5, 1.0, 1.5]},
            {"name": "phi", "values": [0.0, 0.7]},
        ]
    },
    "observables": [
        {"name": "Z", "observable": [["Z", 1.0]]},
        {"name": "X", "observable": [["X", 1.0]]},
    ],
    "limits": {"max_points": 2},
    "shots": 500,
}
CHUNKS = 4


@pytest.fixture
def faulty(platform: Platform) -> Iterator[Admin]:
    """Faults of the tests' platform, which end with the test."""
    admin = Admin.of(platform.info)
    yield admin
    admin.clear_faults()


def check_values(report: SweepReport) -> None:
    """Check the rows against <Z> = cos(theta) and <X> = sin(theta) sin(phi)."""
    for row in report.rows:
        theta, phi = row.parameters["theta"], row.parameters["phi"]
        expected = {"Z": math.cos(theta), "X": math.sin(theta) * math.sin(phi)}
        # The shots are shared out, not drawn.
        assert row.values == pytest.approx(expected, abs=2 / PARAMETERS["shots"])


def test_a_retry_of_the_flow_run_goes_on_at_the_job_where_it_stopped(
    saved_block: str, platform: Platform, faulty: Admin
) -> None:
    """A refusal that passes ends the first try; the second submits the rest, and each job once.

    Every job that is waited for is a task run named after its chunk.
    """
    faulty.add_fault(kind="status", status=403, method="POST", path="/jobs", effect="before", nth=3)
    state = sweep.with_options(retries=1)(saved_block, **PARAMETERS, return_state=True)
    report: SweepReport = state.result()
    check_values(report)
    assert len(report.rows) == 8
    assert (report.done, report.total) == (CHUNKS, CHUNKS)
    assert platform.jobs_of(report.run.uid) == CHUNKS
    assert report.run.experiment.startswith(f"{state.state_details.flow_run_id}.")
    with get_client(sync_client=True) as client:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        (run,) = client.read_flow_runs(flow_run_filter=chosen)
        tasks = client.read_task_runs(flow_run_filter=chosen)
    assert run.run_count == 2
    names = {f"chunk {chunk.number} of {len(report.chunks)}" for chunk in report.chunks}
    assert names == {one.name for one in tasks}


def test_a_name_finishes_once(saved_block: str, block: QuantumSession, platform: Platform) -> None:
    """A second run of a finished name gets its report, and ``fresh`` a new experiment."""
    named = {**PARAMETERS, "experiment": "sweep-named"}
    first = sweep(saved_block, **named)
    jobs = platform.stats()["jobs"]["total"]
    assert sweep(saved_block, **named) == first
    assert platform.stats()["jobs"]["total"] == jobs
    table = partial_sweep("sweep-named", block.ledger())
    assert (table.rows, table.chunks) == (first.rows, first.chunks)
    again = sweep(saved_block, **named, fresh=True)
    assert again.run.uid != first.run.uid
    assert platform.jobs_of(again.run.uid) == CHUNKS


def test_counts_of_circuits_without_parameters(saved_block: str) -> None:
    """Without observables the circuits are measured, and counts come back as JSON."""
    flipped = "OPENQASM 3.0; include 'stdgates.inc'; bit[1] c; qubit[1] q; x q[0]; c = measure q;"
    report = sweep(
        saved_block,
        circuits=[
            {"name": name, "circuit": text}
            for name, text in [("one", flipped), ("zero", flipped.replace("x q[0]; ", ""))]
        ],
        grid={},
        shots=20,
    )
    assert [row.counts for row in report.rows] == [{"1": 20}, {"0": 20}]
    assert SweepReport.model_validate(json.loads(report.model_dump_json())) == report


def test_a_failed_job_stops_the_flow_or_is_skipped(
    saved_block: str, platform: Platform, faulty: Admin
) -> None:
    """``on_failure`` decides about a job that failed for good; the flow run then completes."""
    ending = {"kind": "end_job", "state": "failed", "reason": "out of tune", "reason_code": 9999}
    named = {**PARAMETERS, "experiment": "sweep-failing"}
    faulty.add_fault(**ending, nth=2)
    with pytest.raises(JobFailedError, match="out of tune"):
        sweep(saved_block, **named)
    report = sweep(saved_block, **named, on_failure="skip")
    assert [chunk.state for chunk in report.chunks] == ["done", "failed", "done", "done"]
    assert len(report.rows) == 6
    assert platform.jobs_of(report.run.uid) == CHUNKS


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"grid": {"points": []}}, ParameterTypeError, "empty"),
        ({"grid": {"axis": []}}, ParameterTypeError, "axis"),
        ({"limits": {"max_executions": 6_000_000}}, ParameterTypeError, "5000000"),
        ({"on_failure": "perhaps"}, ParameterTypeError, "skip"),
        ({"grid": {}}, InvalidInputError, "'theta'"),
        (
            {"circuits": [{"name": "c", "circuit": "OPENQASM 3.0; nonsense"}]},
            InvalidInputError,
            "Circuit 'c'.*OpenQASM",
        ),
        ({"circuits": PARAMETERS["circuits"] * 2}, InvalidInputError, "circuit 'rabi'"),
        ({"observables": PARAMETERS["observables"] * 2}, InvalidInputError, "observable 'Z'"),
        (
            {"observables": [{"name": "Z", "observable": [["A", 1.0]]}]},
            InvalidInputError,
            "Pauli",
        ),
        ({"shots": -1}, ParameterTypeError, "shots.*greater than or equal to 1"),
    ],
)
def test_bad_parameters_cost_nothing(
    saved_block: str,
    platform: Platform,
    wrong: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """What cannot be read fails the flow run before a session is opened."""
    sessions = platform.sessions()
    with pytest.raises(error, match=message):
        sweep(saved_block, **{**PARAMETERS, **wrong})
    assert platform.sessions() == sessions
