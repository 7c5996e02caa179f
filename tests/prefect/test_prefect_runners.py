"""Task runners with other processes: Prefect's own pool, and Dask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner
from prefect_dask import DaskTaskRunner
from runner_flows import PROCESSES, Across, across_processes

if TYPE_CHECKING:
    from support import Platform

pytestmark = pytest.mark.usefixtures("quick_flows")


def _process_pool() -> TaskRunner[Any]:
    return ProcessPoolTaskRunner(max_workers=PROCESSES)


def _dask() -> TaskRunner[Any]:
    cluster = {"n_workers": PROCESSES, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


@pytest.mark.parametrize("runner", [_process_pool, _dask])
def test_the_processes_of_a_runner_share_one_session(
    runner: Any, saved_block: str, platform: Platform, tmp_path: Path
) -> None:
    """References pass, labels are asked for, equal ones are one job, and a second run adds none."""
    runs: list[Across] = []
    opened = platform.sessions()
    for number in range(2):
        meeting = tmp_path / str(number)
        meeting.mkdir()
        run = across_processes.with_options(task_runner=runner())
        runs.append(run(saved_block, saved_block, meeting, last=number == 1))
        assert platform.jobs_of(runs[0].session.uid) == 4

    first, again = runs
    for run in runs:
        processes = {process for process, _ in run.shared}
        assert len(processes | {os.getpid()}) == PROCESSES + 1
        assert run.unlabelled == "LabelRequiredError"
    assert {job.job_id for run in runs for _, job in run.shared} == {first.shared[0][1].job_id}
    assert first.counts == [{"1": 20}] * 2
    assert (again.counts, again.values) == (first.counts, first.values)
    assert again.session.session_id == first.session.session_id
    assert platform.sessions() == opened + 1
    in_session = platform.stats()["jobs"]["by_session"]
    assert in_session[str(first.session.session_id)] == 4
