"""Async twins: the event loop goes on, and cancelling ends the wait and not the job."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from session_support import bare, block_for, jobs_at, measured, sessions_at
from support import Platform, wait_until

from session_block import (
    DurableEstimator,
    DurableSampler,
    ExperimentView,
    IBMSessionCredentials,
    QuantumSession,
    tasks,
)
from session_block.errors import ExperimentDivergedError, InvalidInputError, JobWaitTimeoutError
from session_block.experiments.experiment import Experiment
from session_block.experiments.job import DurableJob
from session_block.experiments.repetition import REPLAY_WAIT
from session_block.records.views import load_experiment

PROMPT_SECONDS = 0.5
SLOW_SECONDS = 1.5
POLL = "GET /jobs/{job_id}"
METRICS = "GET /jobs/{job_id}/metrics"


async def _eventually(condition: Callable[[], Any], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, seconds=20, what=what)


def _twins_at_work() -> bool:
    return any(one.name == "session-block-twin" for one in threading.enumerate())


async def _cancel(asking: asyncio.Task[Any]) -> float:
    """Cancel a task, and return how many seconds it took to end."""
    began = time.monotonic()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    assert asking.cancelled()
    return time.monotonic() - began


async def _job_is_there(block: QuantumSession, platform: Platform, name: str) -> Experiment:
    """Wait for an experiment's first job, and return the experiment from beside."""
    beside = block.experiment(name)
    await _eventually(lambda: jobs_at(platform.info, beside), "there is a job")
    return beside


def _blocking(cls: type) -> Iterator[str]:
    """Yield the names of a class's public methods that may block, and of their twins.

    Of the properties all but three read the ledger at most.
    """
    asking = {"backend", "mode", "service"}
    at_once = {
        "after_fork",
        "as_copy",
        "as_copy_of",
        "account",
        "begin",
        "job_id",
        "note_attempt",
        "progress",
        "take_over",
        "transpiler",
        "wait",
        "watch",
    }
    for base in cls.__mro__:
        if not base.__module__.startswith("session_block"):
            continue
        for name, member in vars(base).items():
            method = isinstance(member, staticmethod) or inspect.isfunction(member)
            if (
                (method or name in asking)
                and not name.startswith(("_", "model_"))
                and name not in at_once
            ):
                yield name


@pytest.mark.parametrize(
    "cls",
    [
        QuantumSession,
        IBMSessionCredentials,
        Experiment,
        ExperimentView,
        DurableJob,
        DurableSampler,
        DurableEstimator,
    ],
)
def test_every_blocking_method_has_a_twin(cls: type) -> None:
    """Its name begins with an ``a``, and its parameters are the method's."""
    names = set(_blocking(cls))
    twins = {f"a{name}" for name in names if f"a{name}" in names}
    for name in names - twins:
        twin, blocking = getattr(cls, f"a{name}"), getattr(cls, name)  # a twin may be Prefect's
        assert inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin)
        asked = blocking.fget if isinstance(blocking, property) else blocking
        assert list(inspect.signature(twin).parameters) == list(inspect.signature(asked).parameters)


def test_every_task_has_a_twin() -> None:
    """An async task of the same name in Prefect, as little cached and persisted."""
    names = set(tasks.__all__)
    blocking = {name for name in names if f"a{name}" in names}
    assert blocking | {f"a{name}" for name in blocking} == names
    for name in blocking:
        task, twin = getattr(tasks, name), getattr(tasks, f"a{name}")
        assert twin.isasync
        assert not task.isasync
        assert (twin.name, twin.cache_policy, twin.persist_result) == (
            task.name,
            task.cache_policy,
            False,
        )
        assert inspect.signature(twin.fn).parameters == inspect.signature(task.fn).parameters


def test_the_event_loop_goes_on_while_a_job_is_waited_for(slow_block: QuantumSession) -> None:
    """Something else keeps running in the loop, from the opening to the close."""

    async def main() -> list[float]:
        gaps = []

        async def tick() -> None:
            last = time.monotonic()
            while True:
                await asyncio.sleep(0.01)
                now = time.monotonic()
                gaps.append(now - last)
                last = now

        ticking = asyncio.create_task(tick())
        async with await slow_block.aexperiment("ticking") as experiment:
            circuit = await experiment.atranspile(measured())
            await experiment.arun_sampler([circuit], shots=8)
        ticking.cancel()
        return gaps

    gaps = asyncio.run(main())
    assert sum(gaps) > SLOW_SECONDS
    assert max(gaps) < SLOW_SECONDS / 2


def test_many_at_once_are_as_many_jobs(block: QuantumSession, platform: Platform) -> None:
    """Fifty equal requests at once are fifty jobs in one session, and so are they resumed."""

    async def main() -> tuple[Experiment, list[str]]:
        experiment = await block.aexperiment("many")
        jobs = await asyncio.gather(
            *(experiment.asubmit_sampler([measured()], shots=8) for _ in range(50))
        )
        results = await asyncio.gather(*(experiment.afetch_result(job) for job in jobs))
        assert [result[0].data.meas.num_shots for result in results] == [8] * 50
        return experiment, [job.job_id for job in jobs]

    first, ids = asyncio.run(main())
    again, same = asyncio.run(main())
    assert len(set(ids)) == 50
    assert set(ids) == set(same)
    assert again.uid == first.uid
    assert len(jobs_at(platform.info, first)) == 50
    assert len(sessions_at(platform.info, first)) == 1
    first.close_session()


def test_a_full_default_executor_starves_no_twin(block: QuantumSession) -> None:
    """Twins have threads of their own: what else the loop's executor does keeps none waiting."""

    async def main() -> bool:
        release = threading.Event()
        others = [asyncio.to_thread(release.wait, 30) for _ in range(64)]
        holding = asyncio.gather(*others)
        await asyncio.sleep(0)
        async with await block.aexperiment("starving") as experiment:
            await experiment.arun_sampler([measured()], shots=8)
        waiting = not holding.done()
        release.set()
        await holding
        return waiting

    assert asyncio.run(main())


def test_a_twin_sends_what_the_blocking_call_sends(
    block: QuantumSession, platform: Platform
) -> None:
    """Beside the looks at a job and at how long it took, which follow time, no request is more."""

    def counted() -> dict[str, int]:
        return {
            route: count
            for route, count in platform.stats()["requests"].items()
            if "_local" not in route and route not in {POLL, METRICS}
        }

    def sync() -> None:
        with block.experiment("sync") as experiment:
            for number in range(3):
                experiment.run_sampler([measured(number)], shots=8)
            experiment.run_estimator([(bare(), "Z")])
            experiment.session_details()

    async def asynchronous() -> None:
        async with await block.aexperiment("async") as experiment:
            for number in range(3):
                await experiment.arun_sampler([measured(number)], shots=8)
            await experiment.arun_estimator([(bare(), "Z")])
            await experiment.asession_details()

    counts = [counted()]
    for run in (sync, lambda: asyncio.run(asynchronous())):
        run()
        counts.append(counted())
    spent = [
        {route: after[route] - before.get(route, 0) for route in after}
        for before, after in pairwise(counts)
    ]
    assert spent[0] == spent[1]
    assert spent[0]["POST /jobs"] == 4


def test_cancelling_ends_the_wait_and_not_the_job(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """The coroutine ends at once; the job runs on, and the session stays open for the next."""

    async def main() -> Experiment:
        experiment = await slow_block.aexperiment("cancelled")

        async def run() -> None:
            async with experiment:
                await experiment.arun_sampler([measured()], shots=8)

        asking = asyncio.create_task(run())
        await _job_is_there(slow_block, slow_platform, "cancelled")
        assert await _cancel(asking) < PROMPT_SECONDS
        await _eventually(lambda: not _twins_at_work(), "the thread has ended")
        assert not experiment.sealed
        await experiment.arun_sampler([measured()], shots=8)
        return experiment

    experiment = asyncio.run(main())
    assert [job["state"] for job in jobs_at(slow_platform.info, experiment)] == ["completed"]
    assert [session["state"] for session in sessions_at(slow_platform.info, experiment)] != [
        "closed"
    ]
    experiment.close_session()


def test_an_equal_request_takes_the_place_of_a_cancelled_one(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """A wait that times out and is begun again is one job; a third request is another one."""

    async def main() -> Experiment:
        experiment = await slow_block.aexperiment("timed out")
        for _ in range(3):
            with suppress(TimeoutError):
                await asyncio.wait_for(experiment.arun_sampler([measured()], shots=8), 0.3)
        results = await asyncio.gather(
            *(experiment.arun_sampler([measured()], shots=8) for _ in range(2))
        )
        assert len(results) == 2
        return experiment

    experiment = asyncio.run(main())
    assert len(jobs_at(slow_platform.info, experiment)) == 2
    experiment.close_session()


def test_what_was_being_sent_is_recorded(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """Cancelled in the middle of the submission, the job is there once, and taken up."""

    async def main() -> Experiment:
        experiment = await slow_block.aexperiment("being sent")
        await experiment.aopen_session()
        slow_platform.admin.add_fault(method="POST", path="/jobs", kind="delay", seconds=1.0)
        asking = asyncio.create_task(experiment.arun_sampler([measured()], shots=8))
        await _eventually(
            lambda: slow_platform.admin.faults()[-1]["used"], "the submission has begun"
        )
        assert await _cancel(asking) < PROMPT_SECONDS
        # At once, while the cancelled one is still being sent.
        await experiment.arun_sampler([measured()], shots=8)
        return experiment

    experiment = asyncio.run(main())
    assert len(jobs_at(slow_platform.info, experiment)) == 1
    experiment.close_session()


def test_an_abandoned_call_buys_nothing(slow_platform: Platform, ledger_url: str) -> None:
    """Cancelled while it waits to be let through, a submission is never made."""
    block = block_for(slow_platform.info, ledger_url, submissions_per_minute=1)

    async def main() -> Experiment:
        experiment = await block.aexperiment("paced")
        await experiment.asubmit_sampler([measured(1)], shots=8)
        asking = asyncio.create_task(experiment.arun_sampler([measured(2)], shots=8))
        await asyncio.sleep(0.5)
        assert not asking.done()
        assert await _cancel(asking) < PROMPT_SECONDS
        await _eventually(lambda: not _twins_at_work(), "the thread has ended")
        return experiment

    experiment = asyncio.run(main())
    assert len(jobs_at(slow_platform.info, experiment)) == 1
    assert len(load_experiment("paced", block.ledger()).submissions()) == 1
    experiment.cancel_session()


def test_a_cancelled_wait_of_a_job_can_be_begun_again(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """A primitive's job is waited for in parts, by cancelling or by its own timeout."""

    async def main() -> Experiment:
        experiment = await slow_block.aexperiment("in parts")
        job = await DurableSampler(experiment).arun([measured()], shots=8)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job.aresult(), 0.3)
        with pytest.raises(JobWaitTimeoutError):
            await job.aresult(timeout=0.1)
        assert not await job.adone()
        assert (await job.aresult())[0].data.meas.num_shots == 8
        assert await job.astatus() == "DONE"
        # It has its result: an equal request is another one.
        other = await DurableSampler(experiment).arun([measured()], shots=8)
        assert other.job_id() != job.job_id()
        await other.acancel()
        return experiment

    experiment = asyncio.run(main())
    assert len(jobs_at(slow_platform.info, experiment)) == 2
    experiment.close_session()


def test_leaving_the_block_normally_closes_and_seals(
    block: QuantumSession, platform: Platform
) -> None:
    """``async with`` is ``with``: success closes and seals, an error keeps all as it is."""

    async def main() -> tuple[Experiment, Experiment]:
        async with await block.aexperiment("succeeds") as good:
            await good.arun_sampler([measured()], shots=8)
        bad = await block.aexperiment("fails")
        with suppress(ZeroDivisionError):
            async with bad:
                await bad.aopen_session()
                raise ZeroDivisionError
        return good, bad

    good, bad = asyncio.run(main())
    assert good.sealed
    assert not bad.sealed
    assert [one["state"] for one in sessions_at(platform.info, good)] == ["closed"]
    assert [one["state"] for one in sessions_at(platform.info, bad)] != ["closed"]
    bad.close_session()


def test_a_resumed_run_that_asks_out_of_turn_has_diverged(
    block: QuantumSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after another is told from all at once, though each twin has a thread of its own."""
    monkeypatch.setenv(REPLAY_WAIT, "2")

    async def one_after_another(name: str, *numbers: int) -> Experiment:
        experiment = await block.aexperiment(name)
        for number in numbers:
            await experiment.arun_sampler([measured(number)], shots=8)
        return experiment

    async def at_once(name: str, *numbers: int) -> Experiment:
        experiment = await block.aexperiment(name)
        await asyncio.gather(
            *(experiment.arun_sampler([measured(number)], shots=8) for number in numbers)
        )
        return experiment

    asyncio.run(one_after_another("in turn", 1, 2)).close_session()
    began = time.monotonic()
    with pytest.raises(ExperimentDivergedError):
        asyncio.run(one_after_another("in turn", 3))
    assert time.monotonic() - began < 2
    asyncio.run(at_once("together", 1, 2)).close_session()
    began = time.monotonic()
    with pytest.raises(ExperimentDivergedError):
        asyncio.run(at_once("together", 3))
    assert time.monotonic() - began > 2


def test_cells_one_after_another_are_no_concurrent_requests(block: QuantumSession) -> None:
    """A notebook awaits each cell as an asyncio task of its own, and goes on with the next."""

    async def cells(*numbers: int) -> None:
        experiment = await asyncio.create_task(block.aexperiment("cells"))
        for number in numbers:
            await asyncio.create_task(experiment.arun_sampler([measured(number)], shots=8))

    asyncio.run(cells(1, 2))
    with pytest.raises(ExperimentDivergedError):
        asyncio.run(cells(3))
    block.experiment("cells").close_session()


def test_a_draw_may_be_asynchronous(block: QuantumSession) -> None:
    """``aonce`` awaits what an asynchronous factory gives, once for all."""
    drawn = []

    async def draw() -> list[int]:
        await asyncio.sleep(0)
        drawn.append("asynchronously")
        return [1, 2]

    def draw_blocking() -> list[int]:
        drawn.append("blocking")
        return [3]

    async def main() -> list[Any]:
        experiment = await block.aexperiment("draws")
        return [
            await experiment.aonce("a", draw),
            await experiment.aonce("a", draw_blocking),
            await experiment.aonce("c", partial(draw)),
            await experiment.aonce("b", draw_blocking),
            await experiment.aonce("b", draw),
            experiment.once("a", draw_blocking),
        ]

    assert asyncio.run(main()) == [[1, 2], [1, 2], [1, 2], [3], [3], [1, 2]]
    assert drawn == ["asynchronously", "asynchronously", "blocking"]


def test_a_draw_that_has_no_more_is_an_error_and_no_hang(block: QuantumSession) -> None:
    """A coroutine cannot raise StopIteration, and would wait for ever."""

    async def main() -> None:
        experiment = await block.aexperiment("exhausted")
        await asyncio.wait_for(experiment.aonce("x", lambda: next(iter(()))), 10)

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(main())


def test_errors_are_those_of_the_blocking_call(block: QuantumSession) -> None:
    """What the call raises is raised where it is awaited."""

    async def main() -> None:
        experiment = await block.aexperiment("wrong")
        await experiment.arun_sampler(["no circuit"])

    with pytest.raises(InvalidInputError):
        asyncio.run(main())


def test_costs_sessions_and_views(block: QuantumSession) -> None:
    """What is read of an experiment can be awaited, too."""

    async def main() -> None:
        experiment = await block.aexperiment("read")
        estimate = (await experiment.aestimate_estimator([(bare(), "Z")])).times(2)
        assert estimate.jobs == 2
        job = await DurableEstimator(experiment).arun([(bare(), "Z")])
        await job.aresult()
        assert (await experiment.abackend()).name == block.backend_name
        assert (await experiment.aservice()).active_account() is not None
        assert await experiment.amode() == "session"
        assert (await experiment.asession_details()).id == experiment.session_id
        assert await experiment.aclose_session()
        assert (await experiment.ausage()).seconds == await experiment.ausage_seconds()
        await experiment.areport({"energy": -1.0})
        view = await Experiment.aload("read", await block.aledger())
        assert [one.job_id async for one in view.aresults()] == [job.job_id()]
        assert len(await view.asubmissions()) == 1
        report = await view.areport()
        assert report is not None
        assert report["energy"] == -1

    asyncio.run(main())


def test_sessions_of_others_are_borrowed(block: QuantumSession, platform: Platform) -> None:
    """``aborrow_session`` and ``aattach`` join what somebody else has opened."""

    async def main() -> Experiment:
        owner = await block.aexperiment("owner")
        session_id = await owner.aopen_session()
        assert session_id is not None
        guest = await block.aexperiment("guest")
        assert await guest.aborrow_session(session_id) == session_id
        beside = await block.aattach(guest.session_ref)
        await beside.arun_sampler([measured()], shots=8, label="from beside")
        assert not await guest.aclose_session()
        assert await owner.acancel_session()
        return guest

    guest = asyncio.run(main())
    assert len(jobs_at(platform.info, guest)) == 1
