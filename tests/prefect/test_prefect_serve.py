"""The shipped flows, served by a script with ``flow.serve()``, and run from their deployment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from prefect import get_client
from prefect.exceptions import ObjectNotFound
from prefect_helpers import api_environment, eventually, flow_run, stop_group
from shipped_flows import FLOWS, RUNS

if TYPE_CHECKING:
    from support import Platform

pytestmark = pytest.mark.rest

SCRIPT = """
from {module} import {name}

if __name__ == "__main__":
    {name}.serve("t-served")
"""


@contextmanager
def _serving(script: Path) -> Iterator[None]:
    """Run a script that serves; none of its processes outlives the block."""
    with script.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, script],
            cwd=script.parent,
            env=api_environment(PREFECT_RUNNER_POLL_FREQUENCY="1"),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            stop_group(process, patience=10)


def _deployment(name: str) -> UUID | None:
    with suppress(ObjectNotFound), get_client(sync_client=True) as client:
        return client.read_deployment_by_name(name).id
    return None


def _ended(run_id: UUID) -> str | None:
    state = flow_run(run_id).state
    return f"{state.name}: {state.message}" if state is not None and state.is_final() else None


@pytest.mark.parametrize(
    "name",
    [
        one if one in {"vqe", "tidy"} else pytest.param(one, marks=pytest.mark.nightly)
        for one in FLOWS
    ],
)
def test_a_served_flow_runs(
    name: str, saved_block: str, platform: Platform, tmp_path: Path
) -> None:
    """Its run is Completed, and sends the jobs that a call of the flow sends."""
    script = tmp_path / "serve_it.py"
    script.write_text(SCRIPT.format(module=FLOWS[name].fn.__module__, name=name))
    with _serving(script):
        deployment = eventually(
            lambda: _deployment(f"{name}/t-served"), seconds=60, what="the flow is served"
        )
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(
                deployment, parameters={"block": saved_block, **RUNS[name].parameters}
            )
        ended = eventually(lambda: _ended(run.id), seconds=120, what="the run ends")
    assert ended.startswith("Completed"), ended
    assert platform.jobs_named(str(run.id)) == RUNS[name].jobs
