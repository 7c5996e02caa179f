"""What people see of an experiment in the Prefect UI."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from prefect import flow
from qiskit import QuantumCircuit
from support import Platform, wait_until

from flows.vqe import vqe
from session_block import QuantumSession
from session_block.block import load_block
from session_block.errors import BudgetExceededError
from session_block.monitor import Monitor
from session_block.notices import Happening, Notice
from session_block.views import ExperimentView

pytestmark = pytest.mark.usefixtures("quick_flows", "prefect_server")


def _artifacts(server: str, uid: str) -> list[dict[str, Any]]:
    answer = httpx.post(
        f"{server}/artifacts/filter",
        json={"artifacts": {"key": {"any_": [f"experiment-{uid}"]}}},
    )
    return list(answer.raise_for_status().json())


def _events(server: str, uid: str) -> list[dict[str, Any]]:
    answer = httpx.post(
        f"{server}/events/filter",
        json={
            "limit": 50,
            "filter": {"resource": {"id": [f"session-block.experiment.{uid}"]}},
        },
    )
    return list(answer.raise_for_status().json()["events"])


def _names(server: str, uid: str) -> list[str]:
    return [event["event"].removeprefix("session-block.") for event in _events(server, uid)]


def test_one_report_tells_of_sessions_jobs_and_convergence(
    prefect_server: str, saved_block: str
) -> None:
    """The report is one artifact of the flow run, updated in place, with a picture."""
    report = vqe(saved_block, optimizer_options={"maxiter": 7}, seed=1)
    [artifact] = _artifacts(prefect_server, report.run.uid)
    text = artifact["data"]
    assert artifact["flow_run_id"] == report.run.experiment
    assert report.session_id in text
    assert all(job_id in text for job_id in report.run.job_ids)
    assert "7 submissions (7 result); 0 results were there before, 7 jobs were submitted" in text
    assert "It is finished." in text
    assert "closed by the experiment" in text
    assert "data:image/svg+xml;base64," in text


def test_events_tell_what_happens(prefect_server: str, saved_block: str) -> None:
    """Sessions and jobs each have their events, which automations can act on."""
    report = vqe(saved_block, optimizer_options={"maxiter": 7}, seed=1)
    uid = report.run.uid
    wait_until(
        lambda: "session.closed" in _names(prefect_server, uid),
        seconds=30,
        what="the session's end is told",
    )
    told = _names(prefect_server, uid)
    assert told.count("session.opened") == 1
    assert told.count("job.submitted") == told.count("job.done") == 7
    closed = next(e for e in _events(prefect_server, uid) if e["event"].endswith("session.closed"))
    assert closed["payload"] == {
        "subject": report.session_id,
        "text": "closed by the experiment",
    }
    roles = {related["prefect.resource.role"] for related in closed["related"]}
    assert {"session", "flow-run"} <= roles


def test_a_failure_and_a_budget_have_their_events(
    prefect_server: str, block: QuantumSession, platform: Platform
) -> None:
    """What an automation should wake somebody for is told as it happens."""
    block.model_copy(update={"max_jobs": 1}).save("t-budget-events", overwrite=True)
    uids: list[str] = []

    @flow
    def spend(name: str) -> None:
        circuit = QuantumCircuit(1, 1)
        circuit.measure(0, 0)
        with load_block(name).experiment() as experiment:
            uids.append(experiment.uid)
            for number in range(2):
                experiment.run_sampler([circuit], shots=8, label=str(number))

    with pytest.raises(BudgetExceededError):
        spend("t-budget-events")
    wait_until(
        lambda: "budget.near" in _names(prefect_server, uids[0]),
        seconds=30,
        what="the budget is told",
    )
    assert platform.jobs_of(uids[0]) == 1


def test_what_cannot_be_told_fails_nothing(
    block: QuantumSession, caplog: pytest.LogCaptureFixture
) -> None:
    """A report that cannot be written is logged, and the run does not notice."""
    experiment = block.experiment("unwatched")

    def broken() -> None:
        raise RuntimeError("as the test wants it")

    with caplog.at_level(logging.ERROR):
        monitor = Monitor(ExperimentView(experiment.identity, block.ledger()), broken)
        monitor.notice(Notice(Happening.JOB_DONE, "a job"))
        monitor.close()
    assert "could not be told" in caplog.text
