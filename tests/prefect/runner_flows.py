"""Flows whose tasks run in other processes, which import them from this file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from distributed import LocalCluster
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner
from prefect_dask import DaskTaskRunner
from prefect_helpers import eventually, flipped, rotated
from pydantic import BaseModel

from session_block import JobRef, SessionRef
from session_block.tasks import (
    close_session,
    fetch_result,
    open_session,
    submit_estimator,
    submit_sampler,
)

PROCESSES = 2


class Across(BaseModel):
    """What a flow saw of its tasks in other processes."""

    process: int
    session: SessionRef
    unlabelled: str
    shared: list[tuple[int, JobRef]]
    counts: list[dict[str, int]]
    values: list[float]


@task
def sample_at_once(session: SessionRef, meeting: Path) -> tuple[int, JobRef]:
    """Ask for the same labelled job as another process does at this moment."""
    (meeting / str(os.getpid())).touch()
    eventually(
        lambda: len(list(meeting.iterdir())) == PROCESSES,
        seconds=120,
        what="each process has one of the two tasks",
    )
    return os.getpid(), submit_sampler(session, [flipped()], shots=20, label="shared")


@flow
def across_processes(block: str, experiment: str, meeting: Path, *, last: bool) -> Across:
    """Open a session here, and use it in the processes of the flow's task runner."""
    session = open_session(block, experiment)
    shared = [sample_at_once.submit(session, meeting) for _ in range(PROCESSES)]
    refused = submit_sampler.submit(session, [flipped()], shots=20)
    points = [
        submit_estimator.submit(session, [(rotated(turns), "Z")], label=f"point {turns}")
        for turns in range(3)
    ]
    results = [fetch_result.submit(job) for job in points]
    found = [one.result() for one in shared]
    across = Across(
        process=os.getpid(),
        session=session,
        unlabelled=type(refused.result(raise_on_failure=False)).__name__,
        shared=found,
        counts=[fetch_result(job)[0].data.c.get_counts() for _, job in found],
        values=[float(one.result()[0].data.evs) for one in results],
    )
    if last:
        close_session(session)
    return across


def run_twice(block: str, directory: str, runners: list[TaskRunner[Any]]) -> None:
    """Run the flow, run it again, and print what each run saw."""
    for number, runner in enumerate(runners):
        meeting = Path(directory) / str(number)
        meeting.mkdir()
        across = across_processes.with_options(task_runner=runner)
        print(across(block, block, meeting, last=number == 1).model_dump_json())  # noqa: T201


def in_process_pools(block: str, directory: str) -> None:
    """Run the flow twice with Prefect's own process pool."""
    run_twice(block, directory, [ProcessPoolTaskRunner(max_workers=PROCESSES) for _ in range(2)])


def in_dask(block: str, directory: str) -> None:
    """Run the flow twice in the processes of one Dask cluster."""
    with LocalCluster(PROCESSES, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        run_twice(block, directory, [DaskTaskRunner(address=address) for _ in range(2)])
