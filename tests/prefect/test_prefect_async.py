"""Asynchronous flows: async tasks and handles, their retries, and what people see of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

import httpx
import pytest
from own_process import JOBS
from prefect import flow, task
from prefect.runtime import flow_run as this_run
from prefect_helpers import eventually, flipped, flow_process, in_state, rotated
from support import Platform, tagged

from session_block import QuantumSession, SessionRef
from session_block.blocks.quantum_session import load_block
from session_block.errors import LabelRequiredError
from session_block.tasks import (
    aclose_session,
    afetch_result,
    aopen_session,
    arun_sampler,
    asession_details,
    asubmit_estimator,
    asubmit_sampler,
)

# The engine of Prefect's asynchronous flows does not close the client with which it asks for the
# result storage.
pytestmark = [
    pytest.mark.rest,
    pytest.mark.usefixtures("quick_flows", "collected"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


class _GivenUpError(Exception):
    """The failure of a test's flow."""


class InterruptedByTestError(Exception):
    """The interruption that a test makes."""


def _task_runs(server: str, flow_run_id: str, count: int) -> list[str]:
    """Return the names of a flow run's task runs, once there are so many and they are over."""

    def names() -> list[str]:
        answer = httpx.post(
            f"{server}/task_runs/filter", json={"flow_runs": {"id": {"any_": [flow_run_id]}}}
        )
        runs = answer.raise_for_status().json()
        over = [run["name"] for run in runs if run["state_type"] == "COMPLETED"]
        return over if len(over) >= count else []

    return eventually(names, seconds=30, what=f"{count} task runs are there")


def test_async_tasks_open_submit_fetch_and_close(platform: Platform, saved_block: str) -> None:
    """An asynchronous flow awaits the tasks, some of them at once."""

    @flow
    async def asynchronous() -> tuple[SessionRef, float, dict[str, int]]:
        session = await aopen_session(saved_block)
        estimation, sampling = await asyncio.gather(
            asubmit_estimator(session, [(rotated(0), "Z")]),
            asubmit_sampler(session, [flipped()], shots=50),
        )
        results = await asyncio.gather(afetch_result(estimation), afetch_result(sampling))
        assert (await asession_details(session)).id == session.session_id
        assert await aclose_session(session)
        return session, float(results[0][0].data.evs), results[1][0].data.c.get_counts()

    session, value, counts = asyncio.run(asynchronous())
    assert value == pytest.approx(-1)
    assert counts == {"1": 50}
    assert platform.jobs_of(session.uid) == 2
    state = next(one for one in platform.admin.sessions() if one["id"] == session.session_id)
    assert state["state"] == "closed"


def test_each_wait_is_a_task_run_that_people_see(prefect_server: str, saved_block: str) -> None:
    """The experiment's twins, too, wait in task runs of the flow; its report is the flow's."""
    seen: list[str] = []

    @flow
    async def asynchronous() -> str:
        seen.append(str(this_run.id))
        block = await QuantumSession.aload(saved_block)
        async with await block.aexperiment() as experiment:
            await asyncio.gather(
                *(
                    experiment.arun_sampler([flipped()], shots=8, label=f"number {number}")
                    for number in range(3)
                )
            )
            return experiment.uid

    uid = asyncio.run(asynchronous())
    assert sorted(_task_runs(prefect_server, seen[0], 3)) == [
        f"sampler number {number}" for number in range(3)
    ]
    answer = httpx.post(
        f"{prefect_server}/artifacts/filter",
        json={"artifacts": {"key": {"any_": [f"experiment-{uid}"]}}},
    )
    [artifact] = answer.raise_for_status().json()
    assert artifact["flow_run_id"] == seen[0]
    assert "3 jobs were submitted" in artifact["data"]


def test_a_retried_async_task_submits_nothing_twice(platform: Platform, saved_block: str) -> None:
    """Its requests, by an async task and by the experiment, at once too, are its first try's."""
    tries: list[int] = []

    @task(retries=1)
    async def sample_then_fail_once(session: SessionRef) -> None:
        experiment = await (await QuantumSession.aload(saved_block)).aexperiment()
        results = await asyncio.gather(
            *(arun_sampler(session, [flipped()], shots=50) for _ in range(2)),
            *(experiment.arun_sampler([flipped()], shots=50) for _ in range(2)),
        )
        tries.append(sum(result[0].data.c.num_shots for result in results))
        if len(tries) == 1:
            raise InterruptedByTestError

    @flow
    async def with_flaky_task() -> str:
        session = await aopen_session(saved_block)
        await sample_then_fail_once(session)
        await arun_sampler(session, [flipped()], shots=50)
        await aclose_session(session)
        return session.uid

    uid = asyncio.run(with_flaky_task())
    assert tries == [200, 200]
    assert platform.jobs_of(uid) == 5


def test_an_async_task_two_deep_needs_a_label(platform: Platform, saved_block: str) -> None:
    """Two tasks deep, where Prefect cannot tell a retry from a new call, a label is asked for."""

    @flow
    async def two_deep() -> str:
        session = await aopen_session(saved_block)

        @task
        async def inner() -> None:
            with pytest.raises(LabelRequiredError):
                await arun_sampler(session, [flipped()], shots=50)
            await arun_sampler(session, [flipped()], shots=50, label="the only one")

        @task
        async def outer() -> None:
            await inner()

        await outer()
        await aclose_session(session)
        return session.uid

    assert platform.jobs_of(asyncio.run(two_deep())) == 1


def test_an_async_task_timeout_ends_the_wait_and_not_the_job(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """The retry of a task whose time was over waits for the same job on, in the same session."""
    slow_block.save("t-async-timeout", overwrite=True)
    tries: list[int] = []

    @task(timeout_seconds=0.7, retries=9)
    async def wait_for(session: SessionRef) -> None:
        tries.append(len(tries))
        await arun_sampler(session, [flipped()], shots=8)

    @flow
    async def impatient() -> SessionRef:
        session = await aopen_session("t-async-timeout")
        await wait_for(session)
        found = {one["id"]: one["state"] for one in slow_platform.admin.sessions()}
        assert found[str(session.session_id)] != "closed"
        return session

    session = asyncio.run(impatient())
    assert len(tries) > 1
    assert slow_platform.jobs_of(session.uid) == 1


def test_a_cancelled_wait_ends_alone(
    slow_block: QuantumSession, slow_platform: Platform, prefect_server: str
) -> None:
    """A flow that stops waiting, and begins to wait again, completes with one job."""
    slow_block.save("t-async-cancelled", overwrite=True)
    seen: list[str] = []

    @flow
    async def impatient() -> str:
        seen.append(str(this_run.id))
        block = await QuantumSession.aload("t-async-cancelled")
        async with await block.aexperiment() as experiment:
            with suppress(TimeoutError):
                await asyncio.wait_for(experiment.arun_sampler([flipped()], shots=8), 0.7)
            await experiment.arun_sampler([flipped()], shots=8)
            return experiment.uid

    uid = asyncio.run(impatient())
    assert slow_platform.jobs_of(uid) == 1
    assert len(_task_runs(prefect_server, seen[0], 1)) == 1
    assert in_state(UUID(seen[0]), "Completed")()


def test_an_async_flow_retry_goes_on_in_the_same_session(
    platform: Platform, saved_block: str
) -> None:
    """A flow that fails after two evaluations and is retried has each job once, in one session."""
    sessions: list[SessionRef] = []
    jobs: list[list[str]] = []

    @flow(retries=1)
    async def fails_after_two() -> None:
        session = await aopen_session(saved_block)
        sessions.append(session)
        jobs.append([])
        for turns in range(4):
            if turns == 2 and len(sessions) == 1:
                raise InterruptedByTestError
            job = await asubmit_estimator(session, [(rotated(turns), "Z")])
            await afetch_result(job)
            jobs[-1].append(job.job_id)
        await aclose_session(session)

    before = platform.sessions()
    asyncio.run(fails_after_two())
    assert platform.sessions() == before + 1
    assert sessions[0].session_id == sessions[1].session_id
    assert jobs[1][:2] == jobs[0]
    assert platform.jobs_of(sessions[0].uid) == 4


@pytest.mark.nightly
def test_a_killed_async_flow_run_goes_on_in_another_process(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """After SIGKILL the same flow run, retried, has the same session, and each job once."""
    slow_block.save("t-async-killed", overwrite=True)
    with flow_process("by_tasks_and_handles", "t-async-killed") as (first, run_id):
        eventually(
            lambda: slow_platform.jobs_named(run_id) >= 4, seconds=60, what="jobs are submitted"
        )
        first.kill()
    assert slow_platform.jobs_named(run_id) < JOBS
    with flow_process("by_tasks_and_handles", "t-async-killed", run_id) as (second, _):
        assert second.wait(60) == 0
    assert slow_platform.jobs_named(run_id) == JOBS
    jobs = [job for job in slow_platform.admin.jobs() if tagged(job, run_id)]
    assert len({job["session_id"] for job in jobs}) == 1
    assert {job["state"] for job in jobs} == {"completed"}
    assert in_state(UUID(run_id), "Completed")()


def test_async_tasks_submitted_to_threads(platform: Platform, saved_block: str) -> None:
    """The default task runner runs async tasks in threads with event loops of their own."""

    @flow
    async def threaded() -> str:
        session = await aopen_session(saved_block)
        futures = [asubmit_sampler.submit(session, [flipped()], shots=8) for _ in range(3)]
        for future in futures:
            await afetch_result(future.result())
        await aclose_session(session)
        return session.uid

    assert platform.jobs_of(asyncio.run(threaded())) == 3


def test_a_block_is_loaded_in_an_event_loop_and_outside_of_one(saved_block: str) -> None:
    """The blocking call waits there too; its twin can be awaited."""

    async def main() -> list[str | None]:
        twin = await QuantumSession.aload(saved_block)
        return [load_block(saved_block).backend_name, twin.backend_name]

    outside = load_block(saved_block).backend_name
    assert outside is not None
    assert asyncio.run(main()) == [outside, outside]


@flow
async def asynchronous_child(block: str, turns: int) -> str:
    """Open an experiment in an async flow."""
    loaded = await QuantumSession.aload(block)
    async with await loaded.aexperiment() as experiment:
        await experiment.arun_sampler([flipped()], shots=turns)
        return experiment.uid


def test_asynchronous_subflows_have_their_own_experiments(
    platform: Platform, saved_block: str
) -> None:
    """Children in ``gather`` find their own again, in whatever order they begin."""
    answers: list[list[str]] = []

    @flow(retries=1)
    async def parent() -> str:
        turns = [3, 1, 2] if not answers else [2, 3, 1]
        uids = await asyncio.gather(*(asynchronous_child(saved_block, one) for one in turns))
        answers.append([uid for _, uid in sorted(zip(turns, uids, strict=True))])
        if len(answers) == 1:
            raise _GivenUpError
        return str(this_run.id)

    root = asyncio.run(parent())
    assert platform.jobs_named(root) == 3
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 3
