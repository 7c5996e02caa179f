"""``session-block deployment``: a run is started, and what it finds is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from uuid import uuid4

import pytest
from click.testing import Result
from prefect import flow, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Crashed
from prefect_helpers import eventually, flipped
from typer.testing import CliRunner

from session_block.blocks.quantum_session import load_block
from session_block.cli import app
from session_block.cli.deployment import _hints
from session_block.flows.vqe import vqe
from session_block.operations.deployment_runs import look_at_run

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("prefect_server")]

DEPLOYMENT = "vqe/of-the-command"


def _cli(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["deployment", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def deployment(saved_block: str) -> Iterator[str]:
    """A deployment of the VQE without a work pool, whose runs this process takes."""
    given = {"block": saved_block, "seed": 1, "optimizer_options": {"maxiter": 7}}
    with get_client(sync_client=True) as client:
        made = client.create_deployment(
            flow_id=client.create_flow(vqe),
            name=DEPLOYMENT.partition("/")[2],
            parameters=given,
            enforce_parameter_schema=True,
            parameter_openapi_schema=vqe.parameters.model_dump(),
        )
        yield DEPLOYMENT
        client.delete_deployment(made)


def _runs(deployment: str) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        made = client.read_deployment_by_name(deployment).id
        return [run for run in client.read_flow_runs() if run.deployment_id == made]


def _take(deployment: str) -> None:
    """Do what a worker does: run what is scheduled, and tell if that cannot be."""
    [run] = eventually(lambda: _runs(deployment), seconds=60, what="a run is scheduled")
    try:
        run_flow(vqe, flow_run=run, parameters=run.parameters)
    except Exception:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Crashed(), force=True)
        raise


def test_what_a_run_finds_is_shown_until_it_ends(deployment: str) -> None:
    """The best value and the exact one, and the parameters; in JSON the whole table."""
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(copy_context().run, _take, deployment)
        shown = _cli("run", deployment, "-p", "experiment=of-the-command", "--watch")
        worker.result()
    assert shown.exit_code == 0, shown.output
    assert "Results of of-the-command" in shown.output
    [run] = _runs(deployment)
    assert run.parameters["experiment"] == "of-the-command"
    assert run.parameters["seed"] == 1
    answer = json.loads(_cli("watch", str(run.id), "--json").stdout)
    assert answer["state"] == "Completed"
    [found] = answer["experiments"]
    best = found["best"]
    assert best["evaluation"] == "result"
    assert f"best        {best['value']:.6f}" in shown.output
    assert f"exact       {best['exact']:.6f}" in shown.output
    assert f"parameters  {best['parameters']}" in shown.output
    assert found["latest"]["evaluation"].startswith("7")
    assert f"session-block experiments show {found['uid']}" in shown.output


def test_a_run_that_fails_is_no_success(saved_block: str) -> None:
    """Exit code 1, with what had been found: here counts."""
    runs: list[str] = []

    @flow
    def fails() -> None:
        from prefect.runtime import flow_run

        runs.append(str(flow_run.id))
        with load_block(saved_block).experiment() as experiment:
            experiment.run_sampler([flipped()], shots=8)
            raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError):
        fails()
    told = _cli("watch", runs[0])
    assert told.exit_code == 1
    assert "is Failed: Flow run encountered an exception: ZeroDivisionError" in told.output
    assert "counts  1 ×8" in told.output


def test_without_watch_it_says_how_to(deployment: str) -> None:
    """The run is left to a worker; nobody waits."""
    told = _cli("run", deployment, "-p", 'optimizer_options={"maxiter": 3}')
    [run] = _runs(deployment)
    assert told.exit_code == 0, told.output
    assert f"session-block deployment watch {run.id}" in told.output
    assert run.parameters["optimizer_options"] == {"maxiter": 3}
    seen = look_at_run(str(run.id))
    assert not seen.has_begun
    assert _hints(seen, 1.0) == []
    assert "No worker" in _hints(seen, 60.0)[0]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "vqe/of-nobody"], 1, "no deployment 'vqe/of-nobody'"),
        (["run", "no-slash"], 1, "FLOW/DEPLOYMENT"),
        (["run", DEPLOYMENT, "-p", "seed"], 2, "NAME=VALUE"),
        (["run", DEPLOYMENT, "-p", "restarts=none"], 1, "does not take these parameters"),
        (["watch", "not-an-id"], 1, "'not-an-id' is no ID"),
        (["watch", str(uuid4())], 1, "knows no flow run"),
    ],
)
@pytest.mark.usefixtures("deployment")
def test_what_is_wrong_is_said(arguments: list[str], code: int, told: str) -> None:
    """And nothing is started."""
    refused = _cli(*arguments)
    assert refused.exit_code == code, refused.output
    assert told in refused.output
    assert _runs(DEPLOYMENT) == []
