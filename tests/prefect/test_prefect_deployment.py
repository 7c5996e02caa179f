"""Deployment, worker, schedule, and a flow run whose process is killed with SIGKILL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import yaml
from prefect import flow, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect_helpers import CHECKOUT, eventually, in_state, prefect_cli, working
from support import Platform, tagged

from session_block import LocalPlatformCredentials, QuantumSession, local_platform
from session_block.flows.vqe import vqe
from session_block.tags import uid_tag

FILE = "deployments/prefect.yaml"
DEPLOYMENT = "vqe/h2-nightly"
BLOCK = "quantum-session"
CANCELLATION_SECONDS = 10.0

SECOND_CRASH_SECONDS = 2.0
"""A worker proposes Crashed once more when the processes that it has for a run are gone, on a busy
machine after more than ten seconds; a retry that is scheduled in between is overwritten."""


@pytest.fixture(scope="module")
def slow_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of this module's own, slowed down."""
    state_dir = tmp_path_factory.mktemp("slow-platform")
    yield Platform(local_platform.start(state_dir, job_seconds=0.15))
    local_platform.stop(state_dir)


@pytest.fixture(scope="module")
def session_block(
    prefect_server: str,  # noqa: ARG001 - where it is saved
    slow_platform: Platform,
    tmp_path_factory: pytest.TempPathFactory,
) -> QuantumSession:
    """The Block that the deployment names, as its flow runs load it."""
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=slow_platform.info.state_dir),
        backend_name="ibm_manila",
        max_time="1h",
        ledger_url=f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}",
    )
    block.save(BLOCK, overwrite=True)
    return block


@pytest.fixture(scope="module")
def deployment(session_block: QuantumSession) -> UUID:  # noqa: ARG001 - its runs need it
    """The deployment of ``deployments/prefect.yaml``, made as its comment says."""
    prefect_cli("work-pool", "create", "quantum", "--type", "process", "--overwrite")
    prefect_cli("--no-prompt", "deploy", "--all", "--prefect-file", FILE)
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name(DEPLOYMENT).id


@pytest.fixture(scope="module")
def worker(
    deployment: UUID,  # noqa: ARG001 - it makes the pool
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[psutil.Process]:
    """A real process worker for the deployment's pool."""
    with working(tmp_path_factory.mktemp("worker")) as running:
        yield running


def _runs_of(deployment_id: UUID) -> list[FlowRun]:
    only = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(deployment_filter=only)


def _engine_of(run_id: UUID, worker: psutil.Process) -> psutil.Process:
    """Return the worker's child that executes a flow run."""
    children = worker.children(recursive=True)
    (engine,) = [child for child in children if str(run_id) in child.environ().values()]
    return engine


@pytest.mark.rest
def test_the_file_deploys_a_schedule_that_is_off(deployment: UUID) -> None:
    """``prefect deploy --all`` makes a deployment of one run at a time, its schedule off."""
    with get_client(sync_client=True) as client:
        made = client.read_deployment(deployment)
    assert made.work_pool_name == "quantum"
    assert made.parameters["block"] == BLOCK
    assert made.parameters["experiment"] is None
    assert [schedule.active for schedule in made.schedules] == [False]
    assert made.global_concurrency_limit is not None
    assert made.global_concurrency_limit.limit == 1
    assert _runs_of(deployment) == []


def test_a_killed_run_ends_where_an_uninterrupted_one_does(
    slow_platform: Platform,
    session_block: QuantumSession,
    deployment: UUID,
    worker: psutil.Process,
) -> None:
    """After SIGKILL and a retry: one session, no job more, and the same end bit for bit."""
    parameters: dict[str, Any] = {
        "block": BLOCK,
        "seed": 11,
        "optimizer_options": {"maxiter": 16},
    }
    vqe(**parameters, experiment="uninterrupted")
    reference = session_block.experiment("uninterrupted")
    expected_jobs = slow_platform.jobs_named("uninterrupted")
    sessions_before = slow_platform.stats()["sessions"]["total"]

    run = run_deployment(deployment, parameters=parameters, timeout=0)
    assert isinstance(run, FlowRun)
    name = str(run.id)
    eventually(
        lambda: slow_platform.jobs_named(name) >= expected_jobs // 3,
        seconds=90,
        what="a third of the jobs are submitted",
    )
    _engine_of(run.id, worker).kill()
    killed_at = slow_platform.jobs_named(name)
    assert killed_at < expected_jobs
    eventually(in_state(run.id, "Crashed"), seconds=60, what="the run is Crashed")
    eventually(lambda: not worker.children(), seconds=60, what="the worker is done with it")
    time.sleep(SECOND_CRASH_SECONDS)
    prefect_cli("flow-run", "retry", name)
    eventually(lambda: slow_platform.jobs_named(name) > killed_at, seconds=90, what="it goes on")
    eventually(in_state(run.id, "Completed"), seconds=90, what="the retried run is Completed")

    resumed = session_block.experiment(name)
    stats = slow_platform.stats()
    assert stats["sessions"]["total"] == sessions_before + 1
    assert stats["jobs"]["by_session"][str(resumed.session_id)] == expected_jobs
    assert stats["jobs"]["by_tag"][uid_tag(resumed.uid)] == expected_jobs
    found, expected = resumed.report(), reference.report()
    assert found is not None
    assert expected is not None
    assert found["parameters"] == expected["parameters"]
    assert found["evaluations"] == expected["evaluations"]


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["qaoa/max-cut-nightly", "sweep/rabi-weekly"])
@pytest.mark.usefixtures("deployment", "worker")
def test_the_other_deployments_run_as_they_are(slow_platform: Platform, name: str) -> None:
    """Their parameters are those of their flows, and their jobs run in one session each."""
    with get_client(sync_client=True) as client:
        made = client.read_deployment_by_name(name)
    run = run_deployment(made.id, timeout=0)
    assert isinstance(run, FlowRun)
    eventually(in_state(run.id, "Completed"), seconds=120, what=f"{name} is Completed")
    assert slow_platform.jobs_named(str(run.id)) > 0


@pytest.mark.rest
@pytest.mark.usefixtures("worker")
def test_the_tidy_deployment_closes_what_a_failed_run_has_left(
    slow_platform: Platform, session_block: QuantumSession
) -> None:
    """A run that failed leaves its session open, and the deployed flow closes it afterwards."""
    block = session_block.model_copy(update={"keep_failed": 1})
    with suppress(ZeroDivisionError), block.experiment("given-up") as experiment:
        experiment.open_session()
        raise ZeroDivisionError
    with get_client(sync_client=True) as client:
        made = client.read_deployment_by_name("tidy/left-open-sessions")
    run = run_deployment(made.id, timeout=0)
    assert isinstance(run, FlowRun)
    eventually(in_state(run.id, "Completed"), seconds=90, what="it is tidied up")
    states = {one["id"]: one["state"] for one in slow_platform.admin.sessions()}
    assert states[str(experiment.session_id)] == "closed"


@pytest.fixture
def automations(deployment: UUID) -> Iterator[None]:  # noqa: ARG001 - whose runs they serve
    """The automations of ``deployments/automations.yaml``, made as its comment says."""
    prefect_cli("automation", "create", "--from-file", "deployments/automations.yaml")
    yield
    with get_client(sync_client=True) as client:
        made = client.request("POST", "/automations/filter", json={}).json()
        for automation in made:
            client.request("DELETE", "/automations/{id}", path_params={"id": automation["id"]})


@pytest.mark.rest
@pytest.mark.usefixtures("automations")
def test_a_killed_run_goes_on_by_itself(
    slow_platform: Platform,
    session_block: QuantumSession,
    deployment: UUID,
    worker: psutil.Process,
) -> None:
    """After SIGKILL nobody does anything, and the run ends in the same session, unattended."""
    parameters = {"block": BLOCK, "seed": 5, "optimizer_options": {"maxiter": 16}}
    run = run_deployment(deployment, parameters=parameters, timeout=0)
    assert isinstance(run, FlowRun)
    name = str(run.id)
    eventually(lambda: slow_platform.jobs_named(name) >= 4, seconds=90, what="jobs are submitted")
    _engine_of(run.id, worker).kill()
    eventually(in_state(run.id, "Completed"), seconds=120, what="the run is Completed")
    experiment = session_block.experiment(name)
    assert len({one.session_id for one in experiment.sessions}) == 1
    assert slow_platform.jobs_named(name) == 16


@pytest.mark.nightly
@pytest.mark.usefixtures("automations", "worker")
def test_a_budget_that_is_nearly_spent_pauses_its_deployment(
    slow_platform: Platform, session_block: QuantumSession, deployment: UUID
) -> None:
    """The run goes on to its limit, and the deployment makes no further one."""
    session_block.model_copy(update={"max_jobs": 8}).save("quantum-tight", overwrite=True)
    parameters = {"block": "quantum-tight", "seed": 4, "optimizer_options": {"maxiter": 16}}
    run = run_deployment(deployment, parameters=parameters, timeout=0)
    assert isinstance(run, FlowRun)
    with get_client(sync_client=True) as client:
        eventually(
            lambda: client.read_deployment(deployment).paused, seconds=90, what="it is paused"
        )
        eventually(in_state(run.id, "Failed"), seconds=60, what="the budget is spent")
        client.resume_deployment(deployment)
    assert slow_platform.jobs_named(str(run.id)) == 8


@pytest.mark.nightly
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
@pytest.mark.usefixtures("automations")
def test_a_run_whose_worker_ends_goes_on_at_another(
    slow_platform: Platform,
    session_block: QuantumSession,
    deployment: UUID,
    tmp_path: Path,
    end: str,
) -> None:
    """Nobody tells of such a run, but its heartbeats stop: a minute and a half later it goes on."""
    parameters = {"block": BLOCK, "seed": 6, "optimizer_options": {"maxiter": 16}}
    directories = [tmp_path / "first", tmp_path / "second"]
    for directory in directories:
        directory.mkdir()
    with working(directories[0]) as first:
        run = run_deployment(deployment, parameters=parameters, timeout=0)
        assert isinstance(run, FlowRun)
        name = str(run.id)
        eventually(lambda: slow_platform.jobs_named(name) >= 4, seconds=90, what="jobs are sent")
        if end == "SIGTERM":
            first.terminate()
            first.wait(90)
        else:
            for process in (first, *first.children(recursive=True)):
                process.kill()
    assert not in_state(run.id, "Completed")()
    jobs = [job for job in slow_platform.admin.jobs() if tagged(job, name)]
    assert {job["state"] for job in jobs} <= {"queued", "running", "completed"}
    sessions = {one["id"]: one["state"] for one in slow_platform.admin.sessions()}
    assert sessions[jobs[0]["session_id"]] != "closed"
    with working(directories[1]):
        eventually(in_state(run.id, "Completed"), seconds=300, what="the run is Completed")
    experiment = session_block.experiment(name)
    assert len({one.session_id for one in experiment.sessions}) == 1
    assert slow_platform.jobs_named(name) == 16


@pytest.mark.rest
@pytest.mark.usefixtures("worker")
def test_a_suspended_run_goes_on_in_its_session(
    slow_platform: Platform, session_block: QuantumSession
) -> None:
    """Its process ends and keeps the session; the one that is resumed has no job sent twice."""
    source = str(Path(__file__).parent)
    entrypoint = "lifecycle_flows.py:suspended_between_two_jobs"
    made = flow.from_source(source, entrypoint).deploy(
        "suspended", work_pool_name="quantum", parameters={"block": BLOCK}, print_next_steps=False
    )
    run = run_deployment(made, timeout=0)
    assert isinstance(run, FlowRun)
    eventually(in_state(run.id, "Suspended"), seconds=120, what="the run is suspended")
    [session_id] = _sessions_of(slow_platform, str(run.id))
    states = {one["id"]: one["state"] for one in slow_platform.admin.sessions()}
    assert states[session_id] != "closed"
    with get_client(sync_client=True) as client:
        client.resume_flow_run(run.id)
    eventually(in_state(run.id, "Completed"), seconds=120, what="the resumed run is Completed")
    assert _sessions_of(slow_platform, str(run.id)) == {session_id}
    assert slow_platform.jobs_named(str(run.id)) == 2
    assert session_block.experiment(str(run.id)).sealed


def _sessions_of(platform: Platform, experiment: str) -> set[str]:
    """Return the sessions in which an experiment's jobs ran."""
    jobs = [job for job in platform.admin.jobs() if tagged(job, experiment)]
    return {job["session_id"] for job in jobs}


@pytest.mark.rest
def test_a_cancelled_run_leaves_no_bill(
    slow_platform: Platform, deployment: UUID, worker: psutil.Process
) -> None:
    """A user's cancellation closes the session within seconds, and cancels what was pending."""
    assert worker.is_running()
    parameters = {"block": BLOCK, "seed": 3, "optimizer_options": {"maxiter": 200}}
    run = run_deployment(deployment, parameters=parameters, timeout=0)
    assert isinstance(run, FlowRun)
    name = str(run.id)
    eventually(lambda: slow_platform.jobs_named(name) >= 3, seconds=90, what="jobs are submitted")
    prefect_cli("flow-run", "cancel", name)

    def session() -> dict[str, Any]:
        jobs = slow_platform.admin.jobs()
        session_id = next(job["session_id"] for job in jobs if tagged(job, name))
        return next(one for one in slow_platform.admin.sessions() if one["id"] == session_id)

    eventually(lambda: session()["state"] == "closed", seconds=60, what="the session is closed")
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(run.id)
    cancelled_at = next(state.timestamp for state in states if state.name == "Cancelling")
    closed_at = datetime.fromisoformat(session()["closed"])
    assert (closed_at - cancelled_at).total_seconds() < CANCELLATION_SECONDS
    eventually(in_state(run.id, "Cancelled"), seconds=60, what="the run is Cancelled")
    jobs = [job for job in slow_platform.admin.jobs() if tagged(job, name)]
    assert {job["state"] for job in jobs} <= {"completed", "cancelled"}


@pytest.fixture
def deployed_to_fire_soon(deployment: UUID, tmp_path: Path) -> Iterator[UUID]:  # noqa: ARG001
    """The same deployment once more, under another name and with a schedule of a few seconds."""
    content = yaml.safe_load((CHECKOUT / FILE).read_text())
    [settings] = [one for one in content["deployments"] if one["name"] == "h2-nightly"]
    content["deployments"] = [settings]
    settings["name"] = "h2-soon"
    settings["schedules"] = [{"slug": "soon", "interval": 15, "active": True}]
    settings["parameters"]["optimizer_options"] = {"maxiter": 6}
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump(content))
    prefect_cli("--no-prompt", "deploy", "--all", "--prefect-file", str(file))
    with get_client(sync_client=True) as client:
        made = client.read_deployment_by_name("vqe/h2-soon").id
        yield made
        client.delete_deployment(made)


@pytest.mark.rest
@pytest.mark.usefixtures("worker")
def test_a_scheduled_run_fires_and_completes(
    slow_platform: Platform, deployed_to_fire_soon: UUID
) -> None:
    """On the pinned versions a schedule fires by itself, and its run ends well."""

    def over() -> list[FlowRun]:
        runs = [run for run in _runs_of(deployed_to_fire_soon) if run.auto_scheduled]
        return [run for run in runs if run.state is not None and run.state.is_final()]

    run = eventually(over, seconds=100, what="a scheduled run is over")[0]
    assert run.state is not None
    assert run.state.is_completed(), run.state
    assert slow_platform.jobs_named(str(run.id)) == 6
