"""What people see of an experiment in the Prefect UI."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow, runtime
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect_helpers import eventually, flipped
from qiskit import QuantumCircuit
from support import BACKEND, Platform, free_port, wait_until

from session_block import (
    DurableSampler,
    LocalPlatformCredentials,
    QuantumSession,
    local_platform,
    prefect_context,
)
from session_block.blocks.quantum_session import load_block
from session_block.errors import BudgetExceededError, JobWaitTimeoutError
from session_block.events import Progress
from session_block.flows.vqe import vqe
from session_block.local_platform import LocalPlatform
from session_block.records.views import ExperimentView
from session_block.reporting.prefect_reporter import REPORT_SECONDS, PrefectReporter
from session_block.reporting.watched import Watched
from session_block.tasks import close_session, fetch_result, open_session, submit_sampler

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server")]


@pytest.fixture
def slow_queue(tmp_path: Path, block: QuantumSession) -> Iterator[QuantumSession]:
    """A Block for a platform on which a job waits for others' jobs, and then takes its time."""
    state_dir = tmp_path / "slow-queue"
    local_platform.start(state_dir, job_seconds=4.0, other_jobs=2, other_job_seconds=3.0)
    credentials = LocalPlatformCredentials(state_dir=state_dir)
    yield block.model_copy(update={"credentials": credentials, "mode": "job"})
    local_platform.stop(state_dir)


def _artifacts(server: str, uid: str, what: str = "experiment") -> list[dict[str, Any]]:
    answer = httpx.post(
        f"{server}/artifacts/filter",
        json={"artifacts": {"key": {"any_": [f"{what}-{uid}"]}}},
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


def _ended(server: str, flow_run_id: str, count: int) -> list[dict[str, Any]]:
    """Return a flow run's task runs, once so many have ended."""
    answer = httpx.post(
        f"{server}/task_runs/filter", json={"flow_runs": {"id": {"any_": [flow_run_id]}}}
    )
    ended = [run for run in answer.raise_for_status().json() if run["end_time"] is not None]
    return ended if len(ended) == count else []


def _task_runs(server: str, flow_run_id: str) -> list[str]:
    answer = httpx.post(
        f"{server}/task_runs/filter", json={"flow_runs": {"id": {"any_": [flow_run_id]}}}
    )
    return [run["id"] for run in answer.raise_for_status().json()]


def _states(server: str, task_run_id: str) -> list[str]:
    answer = httpx.get(f"{server}/task_run_states/", params={"task_run_id": task_run_id})
    states = sorted(answer.raise_for_status().json(), key=lambda state: state["timestamp"])
    return [state["name"] for state in states]


def _log(server: str, flow_run_id: str, until: str) -> list[str]:
    """Return the lines of a flow run's log, once the result after a text is in it."""
    answer = httpx.post(
        f"{server}/logs/filter",
        json={"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "TIMESTAMP_ASC"},
    )
    lines = [line["message"] for line in answer.raise_for_status().json()]
    over = any(until in line for line in lines) and any("Finished in" in line for line in lines)
    return lines if over else []


def _names(server: str, uid: str) -> list[str]:
    return [event["event"].removeprefix("session-block.") for event in _events(server, uid)]


def test_one_report_tells_of_sessions_jobs_and_convergence(
    prefect_server: str, saved_block: str, platform: Platform
) -> None:
    """The report is one artifact of the flow run, updated in place, with a picture."""
    report = vqe(saved_block, optimizer_options={"maxiter": 7}, seed=1)
    [artifact] = _artifacts(prefect_server, report.run.uid)
    text = artifact["data"]
    assert artifact["flow_run_id"] == report.run.experiment.partition(".")[0]
    assert report.session_id in text
    assert all(job_id in text for job_id in report.run.job_ids)
    assert "7 submissions (7 result); 0 results were there before, 7 jobs were submitted" in text
    assert "It is finished." in text
    assert "closed by the experiment" in text
    assert "data:image/svg+xml;base64," in text
    assert text.startswith("# vqe, run ")
    assert f"[{report.session_id}]({platform.info.origin}/#{report.session_id})" in text
    assert all(
        f"[{job_id}]({platform.info.origin}/#{job_id})" in text for job_id in report.run.job_ids
    )
    assert "|  |" not in text


def test_evaluations_are_told_by_number_and_value(
    prefect_server: str, saved_block: str, platform: Platform
) -> None:
    """Names and final states of their task runs, and the table; a name is no part of a request."""
    called = "h2-told"
    report = vqe(saved_block, optimizer_options={"maxiter": 7}, seed=1, experiment=called)
    uid = report.run.uid
    [table] = _artifacts(prefect_server, uid, "results")
    runs = eventually(
        lambda: _ended(prefect_server, table["flow_run_id"], 7), seconds=30, what="all have ended"
    )
    assert {run["name"]: run["state"]["message"] for run in runs} == {
        f"evaluation {number}": f"energy {one.energy:.6f} ± {one.standard_error:.6f}"
        for number, one in enumerate(report.evaluations, 1)
    }
    first, best, *others = json.loads(table["data"])
    assert first["evaluation"] == "result"
    assert first["value"] == pytest.approx(report.energy, abs=1e-6)
    assert first["exact"] == pytest.approx(report.exact, abs=1e-6)
    assert best["evaluation"].endswith(", best")
    assert best["value"] == pytest.approx(min(one.energy for one in report.evaluations), abs=1e-6)
    assert best["parameters"].split(", ")[0].startswith("-" if report.parameters[0] < 0 else "")
    assert len(others) == 6
    assert "result" not in {one["evaluation"] for one in others}

    jobs = platform.jobs_of(uid)
    more = vqe(
        saved_block, optimizer_options={"maxiter": 8}, seed=1, experiment=called, extend=True
    )
    assert more.evaluations[:7] == report.evaluations
    assert platform.jobs_of(uid) == jobs + 1


def test_a_request_does_not_depend_on_what_it_is_called(
    prefect_server: str, saved_block: str, platform: Platform
) -> None:
    """A retry whose task run has another name gets the recorded result."""

    @flow
    def called(name: str) -> str:
        with load_block(saved_block).experiment("told-otherwise", extend=True) as experiment:
            sampler = DurableSampler(experiment)
            for _ in range(2):  # the second is another one, called as before
                with prefect_context.shown_as(name, lambda result: f"{len(result)} PUB"):
                    sampler.run([flipped()], shots=8).result()
            sampler.run([flipped()], shots=9).result()
        return experiment.uid

    uid = called("one")
    assert called("another") == uid
    assert platform.jobs_of(uid) == 3
    [table, *_] = _artifacts(prefect_server, uid, "results")
    assert [row["counts"] for row in json.loads(table["data"])] == ["1 ×9", "1 ×8", "1 ×8"]
    runs = eventually(
        lambda: _ended(prefect_server, table["flow_run_id"], 3), seconds=30, what="all have ended"
    )
    told = [(run["name"], run["state"]["message"]) for run in runs]
    assert told.count(("one", "1 PUB")) == 2
    assert len(told) == 3


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


def test_the_report_tells_how_far_the_work_is(prefect_server: str, block: QuantumSession) -> None:
    """What the code says of its progress, what the budget leaves, and how each job fared."""
    block.model_copy(update={"max_jobs": 9}).save("t-progress", overwrite=True)

    @flow
    def half_way() -> str:
        with load_block("t-progress").experiment() as experiment:
            experiment.progress(of=4)
            for turns in (1, 2):
                value = experiment.run_sampler([flipped()], shots=turns)[0].data.c.num_shots
                experiment.progress(value, 0.1)
        return experiment.uid

    [artifact] = _artifacts(prefect_server, half_way())
    text = artifact["data"]
    assert "`██████████░░░░░░░░░░` 2 of 4 results (50%)" in text
    assert "Budget: 7 jobs left." in text
    assert "![convergence](" in text
    rows = [line.split("|") for line in text.splitlines() if "| sampler |" in line]
    assert len(rows) == 2
    assert all(cell.strip().endswith(" s") for row in rows for cell in row[5:8])


def test_a_job_that_waits_has_a_state_of_its_own(
    prefect_server: str, slow_queue: QuantumSession
) -> None:
    """The waiting task run says that its job is queued and where, and then that it runs."""
    slow_queue.save("t-queue", overwrite=True)

    @flow
    def wait_in_line() -> str:
        with load_block("t-queue").experiment() as experiment:
            experiment.run_sampler([flipped()], shots=8)
            return experiment.uid

    uid = wait_in_line()
    [artifact] = _artifacts(prefect_server, uid)
    flow_run_id = artifact["flow_run_id"]
    [run] = _task_runs(prefect_server, flow_run_id)
    wait_until(lambda: "Completed" in _states(prefect_server, run), seconds=30, what="its end")
    states = _states(prefect_server, run)
    assert [name for name in states if name.startswith("Queued at place ")]
    assert states.index("Running on QPU") > 1
    assert states[-1] == "Completed"


def test_a_wait_that_is_over_leaves_its_state_alone(
    prefect_server: str, slow_queue: QuantumSession
) -> None:
    """The task run of a wait whose time was over stays failed while its job is queued on."""
    slow_queue.save("t-given-up", overwrite=True)

    @flow
    def give_up_waiting() -> str:
        experiment = load_block("t-given-up").experiment()
        sampler = DurableSampler(experiment)
        with suppress(JobWaitTimeoutError):
            sampler.run([flipped()], shots=8).result(timeout=3)
        time.sleep(2.5 * REPORT_SECONDS)  # until states would have been named again
        with suppress(JobWaitTimeoutError):
            sampler.run([flipped()], shots=8).result(timeout=0)
        return str(runtime.flow_run.id)

    runs = _task_runs(prefect_server, give_up_waiting())
    wait_until(
        lambda: all("TimedOut" in _states(prefect_server, run) for run in runs),
        seconds=30,
        what="the ends of the waits",
    )
    states = [_states(prefect_server, run) for run in runs]
    assert len(states) == 2
    assert any(name.startswith("Queued at place ") for names in states for name in names)
    assert [names[-1] for names in states] == ["TimedOut", "TimedOut"]


def test_a_flow_of_tasks_has_its_last_report_too(prefect_server: str, saved_block: str) -> None:
    """The task that closes the session finishes the report."""

    @flow
    def by_tasks() -> str:
        session = open_session(saved_block)
        fetch_result(submit_sampler(session, [flipped()], shots=8))
        close_session(session)
        return session.uid

    [artifact] = _artifacts(prefect_server, by_tasks())
    assert "It is finished." in artifact["data"]
    assert "closed by the experiment" in artifact["data"]


def test_a_platform_that_does_not_answer_costs_no_report(
    prefect_server: str, tmp_path: Path, block: QuantumSession
) -> None:
    """What the ledger knows is reported without it."""
    with LocalPlatform(state_dir=tmp_path / "dies") as dies:
        credentials = LocalPlatformCredentials(state_dir=dies.info.state_dir)
        block.model_copy(update={"credentials": credentials}).save("t-dies", overwrite=True)

        @flow
        def outlive() -> str:
            experiment = load_block("t-dies").experiment()
            experiment.run_sampler([flipped()], shots=8)
            dies.kill()
            experiment.seal({"found": 1})
            experiment.release()
            return experiment.uid

        [artifact] = _artifacts(prefect_server, outlive())
    assert "1 submissions (1 result)" in artifact["data"]
    assert "It is finished." in artifact["data"]


def test_the_log_names_session_and_job_before_the_wait(
    prefect_server: str, saved_block: str, platform: Platform
) -> None:
    """IDs of session and job, and where to look at the job, are in the flow run's log."""
    report = vqe(saved_block, optimizer_options={"maxiter": 7}, seed=1)
    [job, *_] = report.run.job_ids
    run_id, _, _ = report.run.experiment.partition(".")
    lines = eventually(lambda: _log(prefect_server, run_id, job), seconds=30, what="the log")
    assert f"Session {report.session_id} is opened (on {BACKEND})." in lines
    assert (
        f"Job {job} is submitted (in session {report.session_id}, "
        f"{platform.info.origin}/#{job})." in lines
    )
    submitted, evaluated = (
        next(number for number, line in enumerate(lines) if text in line)
        for text in (f"Job {job} is submitted", "Evaluation 1:")
    )
    assert submitted < evaluated


def test_what_cannot_be_told_fails_nothing(
    block: QuantumSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a Prefect server there is no report; that is logged, and the run does not notice."""
    experiment = block.experiment("unwatched")
    watched = Watched(
        ExperimentView(experiment.identity, block.ledger()),
        Progress(),
        experiment._sessions,
        experiment._parts.budget,
    )
    nobody = f"http://127.0.0.1:{free_port()}/api"
    with (
        temporary_settings({PREFECT_API_URL: nobody, PREFECT_CLIENT_MAX_RETRIES: 0}),
        caplog.at_level(logging.ERROR),
    ):
        monitor = PrefectReporter(watched)
        monitor.close()
    assert "could not be told" in caplog.text
