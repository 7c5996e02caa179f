"""Task runners with other processes: Prefect's own pool, and Dask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prefect_helpers import CHECKOUT, api_environment
from runner_flows import PROCESSES, Across

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    from support import Platform

FLOWS = f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'tests'}{os.pathsep}{CHECKOUT / 'tests' / 'prefect'}"


@pytest.mark.nightly
@pytest.mark.parametrize("where", ["in_process_pools", "in_dask"])
def test_the_processes_of_a_runner_share_one_session(
    where: str, saved_block: str, platform: Platform, tmp_path: Path
) -> None:
    """References pass, labels are asked for, equal ones are one job, and a second run adds none.

    The first run's session is closed as that completes; the second run's has no job.
    """
    opened = platform.sessions()
    ran = subprocess.run(
        [
            sys.executable,
            *("-c", f"import sys, runner_flows; runner_flows.{where}(*sys.argv[1:])"),
            *(saved_block, str(tmp_path)),
        ],
        env=api_environment(PYTHONPATH=FLOWS),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    first, again = (Across.model_validate_json(line) for line in lines)

    for run in (first, again):
        assert len({run.process, *(process for process, _ in run.shared)}) == 1 + PROCESSES
        assert run.unlabelled == "LabelRequiredError"
    shared = {job.job_id for run in (first, again) for _, job in run.shared}
    assert len(shared) == 1
    assert first.counts == [{"1": 20}] * PROCESSES
    assert (again.counts, again.values) == (first.counts, first.values)
    assert again.session.session_id != first.session.session_id
    assert platform.sessions() == opened + 2
    assert platform.jobs_of(first.session.uid) == 4
    in_session = platform.stats()["jobs"]["by_session"]
    assert in_session[str(first.session.session_id)] == 4
    assert str(again.session.session_id) not in in_session
