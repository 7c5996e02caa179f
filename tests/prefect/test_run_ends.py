"""A flow run that closes nothing itself leaves no session open when it ends."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow, get_client, task
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelled, Cancelling
from prefect_helpers import CHECKOUT, api_environment, eventually, flipped, in_state, stop_group
from support import Platform, tagged

from session_block import Experiment, QuantumSession, SessionRef
from session_block.blocks.quantum_session import load_block
from session_block.errors import ExperimentStoppedError
from session_block.flows.tidy import tidy
from session_block.records.journal import Journal
from session_block.records.stops import resume
from session_block.tasks import (
    aopen_session,
    asubmit_sampler,
    open_session,
    reattach_session,
    run_sampler,
    submit_sampler,
)

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server")]

SECONDS = 10
"""How soon after its run's end a session must be closed."""


class _GivenUpError(Exception):
    """The failure of a test's flow."""


class _CrashedError(BaseException):
    """What Prefect takes for a crash."""


def _accepts(platform: Platform, session_id: object) -> bool:
    """Whether a session accepts jobs; what it has may still run."""
    (known,) = [one for one in platform.admin.sessions() if one["id"] == session_id]
    return bool(known["accepting_jobs"])


@pytest.fixture
def slow(slow_block: QuantumSession) -> str:
    """A saved Block of the platform on which jobs take a while."""
    name = f"t-ends-{uuid4().hex[:8]}"
    slow_block.save(name)
    return name


def _jobs(platform: Platform, session: SessionRef) -> list[str]:
    jobs = platform.admin.jobs()
    return [one["state"] for one in jobs if one["session_id"] == session.session_id]


OPENED: list[SessionRef] = []


@flow
def by_tasks(block: str, jobs: int = 2) -> None:
    """Submit jobs, wait for none, and close nothing."""
    session = open_session(block)
    for number in range(jobs):
        submit_sampler(session, [flipped()], shots=number + 1)
    OPENED.append(session)


def test_a_completed_run_closes_its_session_and_jobs_finish(
    slow_platform: Platform, slow_block: QuantumSession, slow: str
) -> None:
    """Queued jobs run to their end; the experiment is finished; no hook is left."""
    by_tasks(slow)
    session = OPENED.pop()
    assert not by_tasks.on_completion_hooks + by_tasks.on_failure_hooks
    assert not by_tasks.on_crashed_hooks + by_tasks.on_cancellation_hooks
    assert Experiment.load(session.uid, slow_block.ledger()).sealed
    eventually(
        lambda: _jobs(slow_platform, session) == ["completed"] * 2,
        seconds=20,
        what="both jobs finish",
    )
    assert not _accepts(slow_platform, str(session.session_id))


# The engine of Prefect's asynchronous flows leaves a connection open.
@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_async_run_closes_its_session(slow_platform: Platform, slow: str) -> None:
    """Its hook does not block the event loop."""

    @flow
    async def asynchronous() -> SessionRef:
        session = await aopen_session(slow)
        await asubmit_sampler(session, [flipped()], shots=1)
        return session

    session = asyncio.run(asynchronous())
    assert not _accepts(slow_platform, str(session.session_id))


def test_each_of_several_runs_ends_its_own(slow_platform: Platform, slow: str) -> None:
    """Runs of one flow in one process, at once: the first one's end closes nothing of the other."""
    others_end = threading.Event()
    seen: list[bool] = []

    @flow
    def several(*, last: bool) -> str:
        session = open_session(slow)
        run_sampler(session, [flipped()], shots=1)
        if last:
            others_end.wait(60)
            seen.append(_accepts(slow_platform, session.session_id))
        return str(session.session_id)

    with ThreadPoolExecutor(2) as pool:
        run = contextvars.copy_context().run
        last = pool.submit(run, several, last=True)
        first = pool.submit(contextvars.copy_context().run, several, last=False).result()
        others_end.set()
    assert seen == [True]
    assert not _accepts(slow_platform, first)
    assert not _accepts(slow_platform, last.result())
    assert not several.on_completion_hooks


@pytest.mark.parametrize("error", [_GivenUpError, _CrashedError])
def test_a_failed_or_crashed_run_keeps_its_session(
    slow_platform: Platform, slow: str, error: type[BaseException]
) -> None:
    """The next attempt goes on in it; a failure is recorded, so that it is tidied up later."""
    sessions: list[SessionRef] = []

    @flow
    def failing() -> None:
        sessions.append(open_session(slow))
        raise error

    with pytest.raises(error):
        failing()
    assert _accepts(slow_platform, str(sessions[0].session_id))
    assert not failing.on_failure_hooks + failing.on_crashed_hooks


def test_a_failed_run_may_close_its_session_at_once(
    slow_platform: Platform, slow_block: QuantumSession
) -> None:
    """With ``keep_failed=0``, tasks do as a ``with`` block does."""
    name = f"t-ends-{uuid4().hex[:8]}"
    slow_block.model_copy(update={"keep_failed": 0}).save(name)
    sessions: list[SessionRef] = []

    @flow
    def failing() -> None:
        sessions.append(open_session(name))
        raise _GivenUpError

    with pytest.raises(_GivenUpError):
        failing()
    assert not _accepts(slow_platform, str(sessions[0].session_id))


def test_a_retried_run_goes_on_in_its_session(slow_platform: Platform, slow: str) -> None:
    """An attempt that Prefect retries is not the run's end."""
    sessions: list[str] = []

    @flow(retries=2)
    def retried() -> None:
        session = open_session(slow)
        sessions.append(str(session.session_id))
        run_sampler(session, [flipped()], shots=1)
        if len(sessions) < 3:
            raise _GivenUpError

    retried()
    assert len(sessions) == 3
    assert len(set(sessions)) == 1
    assert not _accepts(slow_platform, sessions[0])


def test_a_borrowed_session_is_never_closed(slow_platform: Platform, slow: str) -> None:
    """Neither when the borrowing run completes."""
    experiment = load_block(slow).experiment(f"owner-{uuid4().hex[:8]}")
    session_id = experiment.open_session()

    @flow
    def borrows() -> None:
        run_sampler(reattach_session(slow, str(session_id)), [flipped()], shots=1)

    borrows()
    assert _accepts(slow_platform, str(session_id))
    experiment.close_session()


def test_subflows_end_their_own(slow_platform: Platform, slow: str) -> None:
    """A subflow's session is closed at the subflow's end, not at its parent's."""
    seen: list[list[Any]] = []

    @flow
    def child(number: int) -> None:
        session = open_session(slow)
        run_sampler(session, [flipped()], shots=number)
        seen.append([str(session.session_id)])

    @flow
    def parent() -> None:
        for number in (1, 2):
            child(number)
            seen[-1].append(_accepts(slow_platform, seen[-1][0]))

    parent()
    assert [accepts for _, accepts in seen] == [False] * 2


@pytest.mark.parametrize("named", [False, True])
def test_a_reference_that_is_returned_and_not_used_is_closed(
    slow_platform: Platform, slow_block: QuantumSession, slow: str, *, named: bool
) -> None:
    """The caller's end closes what a subflow handed over, also two levels up."""
    name = f"t-returned-{uuid4().hex[:8]}" if named else None

    @flow
    def child() -> SessionRef:
        session = open_session(slow, name)
        run_sampler(session, [flipped()], shots=1)
        return session

    sessions: list[SessionRef] = []

    @flow
    def middle() -> list[SessionRef]:
        return [child()]

    @flow
    def parent() -> None:
        sessions.extend(middle())
        assert _accepts(slow_platform, sessions[0].session_id)

    parent()
    (session,) = sessions
    view = Experiment.load(session.uid, slow_block.ledger())
    eventually(lambda: view.sealed, seconds=SECONDS, what="it is finished")
    assert not _accepts(slow_platform, session.session_id)
    assert not parent.on_completion_hooks + middle.on_completion_hooks + child.on_completion_hooks


def test_a_swallowed_failure_keeps_no_session_once_the_caller_completes(
    slow_platform: Platform, slow_block: QuantumSession, slow: str
) -> None:
    """The experiment stays unfinished."""
    sessions: list[SessionRef] = []

    @flow
    def child() -> None:
        sessions.append(open_session(slow))
        raise _GivenUpError

    @flow
    def parent() -> None:
        with suppress(_GivenUpError):
            child()
        assert _accepts(slow_platform, sessions[0].session_id)

    parent()
    eventually(
        lambda: not _accepts(slow_platform, sessions[0].session_id),
        seconds=SECONDS,
        what="its session is closed",
    )
    assert not Experiment.load(sessions[0].uid, slow_block.ledger()).sealed


def test_another_run_may_go_on_with_a_returned_reference(
    slow_platform: Platform, slow: str
) -> None:
    """A run that returns one has closed its session; the next run opens another one."""

    @flow
    def opens() -> SessionRef:
        session = open_session(slow)
        run_sampler(session, [flipped()], shots=1)
        return session

    @flow
    def goes_on(session: SessionRef) -> None:
        run_sampler(session, [flipped()], shots=1)

    session = opens()
    assert not _accepts(slow_platform, session.session_id)
    goes_on(session)
    assert slow_platform.jobs_of(session.uid) == 2
    assert all(not one["accepting_jobs"] for one in slow_platform.admin.sessions()[:2])


@pytest.mark.filterwarnings("ignore:Logger:UserWarning")  # Prefect's, of a task outside a flow
def test_a_session_that_nobody_will_close_is_told_of(
    slow: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bare task has no flow run whose end could close it; with ``with`` nothing is said."""

    @task
    def bare(*, entered: bool) -> None:
        experiment = load_block(slow).experiment(f"bare-{uuid4().hex[:8]}")
        if entered:
            with experiment:
                experiment.open_session()
        else:
            experiment.open_session()
            seen.append(experiment)

    seen: list[Any] = []
    with caplog.at_level(logging.WARNING):
        bare(entered=True)
        assert "no flow run's end closes it" not in caplog.text
        bare(entered=False)
    assert "no flow run's end closes it" in caplog.text
    seen[0].close_session()


SCRIPT = """
import sys, time
from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect_helpers import flipped
from session_block.tasks import open_session, submit_sampler

@flow
def cancelled_while_it_waits(block: str) -> None:
    session = open_session(block)
    for number in range(8):
        submit_sampler(session, [flipped()], shots=number + 1)
    print("submitted", flush=True)
    for _ in range(seconds * 10):
        time.sleep(0.1)

if __name__ == "__main__":
    block, how, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if how == "serve":
        seconds = 600
        cancelled_while_it_waits.serve(block, parameters={"block": block})
    else:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            cancelled_while_it_waits(block)
else:
    seconds = 600
"""


@contextmanager
def _script(path: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    path.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(path), *arguments],
        env=api_environment(
            PYTHONPATH=f"{CHECKOUT}:{CHECKOUT / 'tests'}", PREFECT_RUNNER_POLL_FREQUENCY="1"
        ),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        stop_group(process, patience=10)


def _deployment(name: str) -> UUID | None:
    with suppress(ObjectNotFound), get_client(sync_client=True) as client:
        return client.read_deployment_by_name(name).id
    return None


def _tagged(platform: Platform, run_id: UUID) -> list[dict[str, Any]]:
    return [one for one in platform.admin.jobs() if tagged(one, str(run_id))]


def _set(run_id: UUID, state: Any) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, state, force=True)


def test_a_cancelled_run_of_a_deployment_is_cancelled_at_the_platform(
    slow_platform: Platform, slow: str, tmp_path: Path
) -> None:
    """Within ten seconds, without a hook in the flow: its process asks Prefect as it ends."""
    with _script(tmp_path / "served.py", slow, "serve", "600"):
        deployment = eventually(
            lambda: _deployment(f"cancelled-while-it-waits/{slow}"), seconds=60, what="it serves"
        )
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(deployment)
        eventually(lambda: len(_tagged(slow_platform, run.id)) == 8, seconds=60, what="it submits")
        _set(run.id, Cancelling())
        session_id = _tagged(slow_platform, run.id)[0]["session_id"]
        eventually(
            lambda: not _accepts(slow_platform, session_id),
            seconds=SECONDS,
            what="its session is closed",
        )
        eventually(in_state(run.id, "Cancelled"), seconds=60, what="the run is Cancelled")
    assert "cancelled" in {one["state"] for one in _tagged(slow_platform, run.id)}


@pytest.mark.nightly
def test_a_cancelled_run_of_a_script_is_cancelled_as_the_script_ends(
    slow_platform: Platform, slow: str, tmp_path: Path
) -> None:
    """Nobody interrupts a script whose run is cancelled in the UI."""
    with _script(tmp_path / "script.py", slow, "run", "4") as process:
        run_id = eventually(lambda: _run_with(slow), seconds=60, what="it runs")
        eventually(lambda: len(_tagged(slow_platform, run_id)) == 8, seconds=60, what="it submits")
        _set(run_id, Cancelled())
        process.wait(60)
    jobs = _tagged(slow_platform, run_id)
    assert not _accepts(slow_platform, jobs[0]["session_id"])
    assert "cancelled" in {one["state"] for one in jobs}


@pytest.mark.nightly
def test_a_killed_and_cancelled_run_is_tidied_up(
    slow_platform: Platform, slow: str, tmp_path: Path
) -> None:
    """If its process is killed, the flow ``tidy`` is what sees that it was cancelled."""
    with _script(tmp_path / "killed.py", slow, "run", "600") as process:
        run_id = eventually(lambda: _run_with(slow), seconds=60, what="it runs")
        eventually(lambda: len(_tagged(slow_platform, run_id)) == 8, seconds=60, what="it submits")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    session_id = _tagged(slow_platform, run_id)[0]["session_id"]
    assert tidy(slow) == []
    assert _accepts(slow_platform, session_id)
    _set(run_id, Cancelled())
    assert tidy(slow) == [session_id]
    assert not _accepts(slow_platform, session_id)
    assert tidy(slow) == []


def test_tidying_leaves_alone_who_goes_on_with_the_name_of_an_ended_run(
    slow_platform: Platform, slow: str
) -> None:
    """A script that opens the name of a cancelled run, once that is resumed, keeps its session."""
    name = f"t-tidied-{uuid4().hex[:8]}"
    runs: list[UUID] = []

    @flow
    def cancelled() -> None:
        runs.append(UUID(str(this_run.id)))
        run_sampler(open_session(slow, name), [flipped()], shots=1)
        raise _GivenUpError

    with pytest.raises(_GivenUpError):
        cancelled()
    _set(runs[0], Cancelled())
    with load_block(slow).experiment(name) as experiment:
        with pytest.raises(ExperimentStoppedError, match="cancelled in Prefect"):
            experiment.open_session()
        ledger = load_block(slow).ledger()
        resume(Journal(ledger, experiment.uid), experiment.identity, "a person")
        session_id = experiment.open_session()
        assert tidy(slow) == []
        assert _accepts(slow_platform, session_id)
    assert not _accepts(slow_platform, session_id)


def _run_with(block: str) -> UUID | None:
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(limit=20, sort=FlowRunSort.START_TIME_DESC):
            if run.parameters == {"block": block} and run.state and run.state.is_running():
                return run.id
    return None


def test_a_run_that_borrows_a_handle_ends_nothing_of_its_giver(
    slow_platform: Platform, slow: str
) -> None:
    """A script's own experiment is used in two flows, and stays the script's."""
    runs: list[str] = []
    with load_block(slow).experiment(f"script-{uuid4().hex[:8]}") as experiment:

        @flow
        def uses() -> None:
            runs.append(str(this_run.id))
            experiment.run_sampler([flipped()], shots=1)

        uses()
        uses()
        assert slow_platform.jobs_of(experiment.uid) == 2
        assert _accepts(slow_platform, str(experiment.session_id))
    assert not _accepts(slow_platform, str(experiment.session_id))
