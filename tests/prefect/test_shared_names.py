"""A name that several flow runs of one tree open is one experiment; each finds its own requests."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from own_process import NAMED_JOBS, sharing
from prefect import flow, get_client, task
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.runtime import flow_run as this_run
from prefect_helpers import eventually, flipped, flow_process
from pydantic import SecretStr
from support import Platform

from session_block import Experiment, JobRef, QuantumSession, SessionRef
from session_block.blocks.quantum_session import load_block
from session_block.crashpoints import CRASH_AT
from session_block.errors import ExperimentDivergedError, ExperimentSealedError
from session_block.experiments import run_end
from session_block.experiments.experiment import Experiment as Opened
from session_block.records.attempts import RootAttempt, note_attempt, seal_completed
from session_block.records.journal import Journal
from session_block.tasks import fetch_result, open_session, submit_sampler

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server")]

EQUAL = 7
"""The shots of the requests that all flows make alike."""


class _GivenUpError(Exception):
    """The failure of a test's flow."""


@pytest.fixture
def name() -> str:
    """A name that no other test uses: they share the platform, where names are looked up."""
    return f"shared-{uuid4().hex[:8]}"


def _ask(experiment: Opened, shots: int) -> str:
    job: JobRef = experiment.submit_sampler([flipped()], shots=shots)
    experiment.fetch_result(job)
    return job.job_id


@flow
def child(block: str, name: str, shots: int, *, close: bool = True) -> list[str]:
    """Make two equal requests and one of its own, and leave."""
    experiment = load_block(block).experiment(name)
    jobs = [_ask(experiment, one) for one in (EQUAL, EQUAL, shots)]
    if close:
        with experiment:
            pass
    return jobs


def _flat(found: list[list[str]]) -> list[str]:
    return [one for jobs in found for one in jobs]


def test_the_second_subflow_goes_on_where_the_first_left_it(
    platform: Platform,
    block: QuantumSession,
    saved_block: str,
    name: str,
    session_state: Callable[[str], str],
) -> None:
    """Each request is one job, in every attempt; the seal comes with the outermost run's end."""
    found: list[list[str]] = []
    sealed: list[bool] = []

    @flow(retries=2)
    def root() -> None:
        jobs = [*child(saved_block, name, 1), *child(saved_block, name, 2)]
        with load_block(saved_block).experiment(name) as experiment:
            jobs.append(_ask(experiment, EQUAL))
            jobs += child(saved_block, name, 1)
            jobs.append(_ask(experiment, 3))
        sealed.append(experiment.sealed)
        found.append(jobs)
        if len(found) < 3:
            raise _GivenUpError

    root()
    assert len(found[0]) == len(set(found[0])) == 11
    assert found[1] == found[2] == found[0]
    assert platform.jobs_named(name) == 11
    assert sealed == [False] * 3
    view = Experiment.load(name, block.ledger())
    assert view.sealed
    assert view.identity.number == 1
    assert all(session_state(str(one.session_id)) == "closed" for one in view.sessions)

    @flow
    def later() -> list[str]:
        with load_block(saved_block).experiment(name) as experiment:
            with pytest.raises(ExperimentSealedError, match="finished"):
                _ask(experiment, 99)
            return [_ask(experiment, EQUAL)]

    assert set(later()) <= set(found[0])
    assert platform.jobs_named(name) == 11


@pytest.mark.parametrize("root_opens", [True, False])
def test_all_is_sealed_when_the_flow_or_the_process_ends(
    block: QuantumSession,
    saved_block: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    root_opens: bool,
) -> None:
    """A hook and the process's end wait for the thread that has seen the run's end before them."""
    sealing = threading.Event()

    def slowly(*given: Any) -> None:
        sealing.set()
        time.sleep(1)
        seal_completed(*given)

    monkeypatch.setattr(run_end, "seal_completed", slowly)
    monkeypatch.setattr(run_end, "_POLL_SECONDS", 0.05)

    @flow(on_completion=[lambda *_: sealing.wait(1)])
    def root() -> None:
        child(saved_block, name, 1)
        if root_opens:
            with load_block(saved_block).experiment(name) as experiment:
                _ask(experiment, 2)

    root()
    if not root_opens:
        assert sealing.wait(20)
        run_end.RUN_ENDS.at_exit()
    assert Experiment.load(name, block.ledger()).sealed


def test_an_attempt_that_was_killed_beside_the_one_that_completes_keeps_nothing_open(
    block: QuantumSession, saved_block: str, name: str
) -> None:
    """Prefect may begin a run again beside a process that lives; then that one completes it."""

    @flow
    def root() -> None:
        with load_block(saved_block).experiment(name) as experiment:
            _ask(experiment, 1)
            journal = Journal(block.ledger(), experiment.uid)
            beside = RootAttempt(str(this_run.id), 2)
            note_attempt(journal, experiment.identity, 0, None, beside)  # and never ended

    root()
    assert Experiment.load(name, block.ledger()).sealed


def test_equal_requests_keep_their_order_after_a_lost_ledger(
    platform: Platform, block: QuantumSession, saved_block: str, name: str, tmp_path: Path
) -> None:
    """What is found again comes before what was asked for since, in every later attempt."""
    found: list[list[str]] = []

    def lose_the_ledger() -> None:
        if len(found) == 1:
            elsewhere = SecretStr(f"sqlite:///{tmp_path / 'elsewhere.db'}")
            lost = block.model_copy(update={"ledger_url": elsewhere})
            lost.save(saved_block, overwrite=True)

    @flow(retries=3)
    def root() -> None:
        jobs: list[str] = []
        found.append(jobs)
        with load_block(saved_block).experiment(name) as experiment:
            for asked in range(3):
                jobs.append(_ask(experiment, EQUAL))
                if len(found) == asked + 1:
                    lose_the_ledger()
                    raise _GivenUpError

    root()
    assert [len(one) for one in found] == [1, 2, 3, 3]
    assert all(one == found[-1][: len(one)] for one in found)
    assert platform.jobs_named(name) == 3


def test_a_session_lasts_while_one_of_the_flows_uses_it(
    platform: Platform, block: QuantumSession, saved_block: str, name: str
) -> None:
    """A subflow that leaves closes nothing under its parent."""

    @flow
    def root() -> None:
        with load_block(saved_block).experiment(name) as experiment:
            for turn in range(3):
                child(saved_block, name, turn + 1)
                _ask(experiment, 3)

    root()
    view = Experiment.load(name, block.ledger())
    assert len(view.sessions) == 1
    assert view.sealed
    assert platform.jobs_named(name) == 12


def test_a_subflows_own_retry_takes_its_own_requests(
    platform: Platform, saved_block: str, name: str
) -> None:
    """Also of a handle, and of a reference, that the parent has opened without a name."""
    tries: list[list[str]] = []

    @flow(retries=1)
    def failing(how: str, passed: SessionRef | None = None) -> None:
        if passed is not None:
            jobs = [submit_sampler(passed, [flipped()], shots=EQUAL).job_id for _ in range(2)]
        else:
            experiment = handles.get(how) or load_block(saved_block).experiment(name)
            jobs = [_ask(experiment, EQUAL) for _ in range(2)]
        tries.append(jobs)
        if len(tries) % 2:
            raise _GivenUpError

    handles: dict[str, Opened] = {}

    @flow
    def root() -> list[str]:
        others = []
        with load_block(saved_block).experiment() as unnamed:
            handles["handle"] = unnamed
            others.append(_ask(unnamed, EQUAL))
            failing("handle")
            others.append(_ask(unnamed, EQUAL))
            failing("reference", unnamed.session_ref)
        with load_block(saved_block).experiment(name) as named:
            others.append(_ask(named, EQUAL))
            failing("name")
            others.append(_ask(named, EQUAL))
        return others

    others = root()
    assert tries[0::2] == tries[1::2]
    assert len({*others, *_flat(tries)}) == 4 + 6
    assert platform.jobs_named(name) == 4


@pytest.mark.parametrize("lost", [False, True])
def test_a_kept_subflow_keeps_its_requests(
    platform: Platform,
    block: QuantumSession,
    saved_block: str,
    name: str,
    tmp_path: Path,
    *,
    lost: bool,
) -> None:
    """Prefect does not run it again; another subflow does not get its results.

    If the ledger is lost, the jobs' tags tell whose they are.
    """
    found: list[list[str]] = []

    @flow(persist_result=True)
    def kept() -> list[str]:
        with load_block(saved_block).experiment(name) as experiment:
            return [_ask(experiment, EQUAL) for _ in range(2)]

    @flow(retries=1)
    def root() -> None:
        # All in one session: after a loss nobody knows that an earlier one was closed on purpose.
        with load_block(saved_block).experiment(name) as experiment:
            jobs = [*kept(), _ask(experiment, EQUAL)]
            if not found:
                found.append(jobs)
                if lost:
                    elsewhere = SecretStr(f"sqlite:///{tmp_path / 'elsewhere.db'}")
                    changed = block.model_copy(update={"ledger_url": elsewhere})
                    changed.save(saved_block, overwrite=True)
                raise _GivenUpError
            found.append([*jobs, *child(saved_block, name, 5)])

    root()
    assert found[1][:3] == found[0]
    assert len(set(found[1])) == 6 == platform.jobs_named(name)


def test_a_named_subflow_may_get_other_parameters(
    platform: Platform, saved_block: str, name: str
) -> None:
    """A name is there for parameters that change, such as a time."""
    found: list[list[str]] = []

    @flow
    def timed(now: float) -> list[str]:
        with load_block(saved_block).experiment(name) as experiment:
            return [_ask(experiment, one) for one in (EQUAL, EQUAL, int(now > 0))]

    @flow(retries=1)
    def root() -> None:
        found.append([*timed(time.time()), *timed(time.time())])
        if len(found) == 1:
            raise _GivenUpError

    root()
    assert found[0] == found[1]
    assert len(set(found[0])) == 6 == platform.jobs_named(name)


def test_concurrent_subflows_share_nothing_but_the_experiment(
    platform: Platform, block: QuantumSession, saved_block: str, name: str
) -> None:
    """In threads, in each of two attempts."""
    found: list[dict[int, list[str]]] = []

    @flow(retries=1)
    def root() -> None:
        with ThreadPoolExecutor(3) as pool:
            calls = {
                shots: pool.submit(contextvars.copy_context().run, child, saved_block, name, shots)
                for shots in (1, 2, 3)
            }
            found.append({shots: call.result() for shots, call in calls.items()})
        if len(found) == 1:
            raise _GivenUpError

    root()
    assert found[0] == found[1]
    assert len(set(_flat(list(found[0].values())))) == 9 == platform.jobs_named(name)
    # The outermost run does not open it itself, so its end is seen a moment later.
    view = Experiment.load(name, block.ledger())
    eventually(lambda: view.sealed, seconds=10, what="it is finished")


# The engine of Prefect's asynchronous flows leaves a connection open.
@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_gathered_subflows_share_nothing_but_the_experiment(
    platform: Platform, saved_block: str, name: str
) -> None:
    """Async subflows too."""
    found: list[list[list[str]]] = []

    @flow
    async def leaf(shots: int) -> list[str]:
        loaded = await QuantumSession.aload(saved_block)
        async with await loaded.aexperiment(name) as experiment:
            return [
                (await experiment.asubmit_sampler([flipped()], shots=one)).job_id
                for one in (EQUAL, EQUAL, shots)
            ]

    @flow(retries=1)
    async def root() -> None:
        found.append(await asyncio.gather(leaf(1), leaf(2), leaf(3)))
        if len(found) == 1:
            raise _GivenUpError

    asyncio.run(root())
    assert found[0] == found[1]
    assert len(set(_flat(found[0]))) == 9 == platform.jobs_named(name)


def test_a_failed_run_goes_on_in_another_run(
    platform: Platform, saved_block: str, name: str
) -> None:
    """A name resumes across flow runs, also if the requests have moved into another flow."""
    found: list[list[str]] = []

    @flow
    def first() -> None:
        found.append([*child(saved_block, name, 1), *child(saved_block, name, 2)])
        raise _GivenUpError

    @flow
    def second() -> None:
        with load_block(saved_block).experiment(name) as experiment:
            found.append([_ask(experiment, one) for one in (EQUAL, EQUAL, 1, EQUAL, EQUAL, 2, 3)])

    with pytest.raises(_GivenUpError):
        first()
    second()
    assert found[1][:6] == found[0]
    assert platform.jobs_named(name) == 7


def test_a_subflow_that_differs_stops_before_it_buys(
    platform: Platform, saved_block: str, name: str
) -> None:
    """Divergence is judged for each flow run by itself."""
    tries: list[int] = []

    @flow
    def drifting() -> None:
        with load_block(saved_block).experiment(name) as experiment:
            tries.append(1)
            _ask(experiment, 10 * len(tries))

    @flow(retries=1)
    def root() -> None:
        child(saved_block, name, 1)
        drifting()
        raise _GivenUpError

    with pytest.raises(ExperimentDivergedError, match="recorded 1 requests"):
        root()
    assert platform.jobs_named(name) == 4


def test_many_openings_of_a_name_are_one_attempt(
    platform: Platform, block: QuantumSession, name: str
) -> None:
    """Replays of subflows do not count as attempts in vain."""
    saved = f"t-{name}"
    block.model_copy(update={"max_attempts": 3}).save(saved, overwrite=True)
    runs: list[str] = []

    @flow
    def leaf(number: int) -> str:
        with load_block(saved).experiment(name) as experiment:
            return _ask(experiment, 1 + number)

    @flow(retries=1)
    def root() -> None:
        for number in range(6):
            leaf(number)
        runs.append(str(this_run.id))
        if len(runs) == 1:
            raise _GivenUpError

    root()
    assert platform.jobs_named(name) == 6


def test_a_subflow_hands_its_session_to_its_parent(
    block: QuantumSession,
    saved_block: str,
    session_state: Callable[[str], str],
) -> None:
    """A reference that it returns stays usable, and the parent's end closes the session."""

    @flow
    def opens() -> SessionRef:
        return open_session(saved_block)

    @flow
    def root() -> SessionRef:
        session = opens()
        fetch_result(submit_sampler(session, [flipped()], shots=EQUAL))
        assert session_state(str(session.session_id)) != "closed"
        return session

    session = root()
    assert session_state(str(session.session_id)) == "closed"
    assert len(Experiment.load(session.uid, block.ledger()).sessions) == 1


# Of eleven jobs: in the first subflow, in the parent, and in the last subflow.
@pytest.mark.parametrize(
    "at",
    [
        pytest.param("record intent, after:2", marks=pytest.mark.nightly),
        "submit, after:4",
        pytest.param("record outcome, after:10", marks=pytest.mark.nightly),
    ],
)
def test_a_killed_run_goes_on_with_its_name_in_another_process(
    platform: Platform, block: QuantumSession, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Each flow run finds its own again, and the end seals the experiment."""
    saved = f"t-killed-{uuid4().hex[:8]}"
    block.save(saved)
    monkeypatch.setenv(CRASH_AT, at)
    with flow_process("named_tree", saved) as (first, run_id):
        assert first.wait(120) == -signal.SIGKILL
    monkeypatch.delenv(CRASH_AT)
    with flow_process("named_tree", saved, run_id) as (second, _):
        assert second.wait(120) == 0
    assert platform.jobs_named(f"{saved}-named") == NAMED_JOBS
    view = Experiment.load(f"{saved}-named", block.ledger())
    assert view.sealed
    assert len(view.job_ids) == NAMED_JOBS - 2  # the results of two were not fetched


@pytest.mark.nightly
def test_flows_in_several_processes_share_a_name_at_once(
    platform: Platform, block: QuantumSession, saved_block: str, name: str
) -> None:
    """Runs of a deployment, and their caller, ask for equal things, and get a job each."""
    with get_client(sync_client=True) as client:
        client.create_deployment(flow_id=client.create_flow(sharing), name="sharing")
    found: list[list[str]] = []

    def run_sharing(shots: int) -> str:
        called = run_deployment(
            "sharing/sharing",
            parameters={"block": saved_block, "shots": shots, "name": name},
            timeout=0,
        )
        assert isinstance(called, FlowRun)
        return str(called.id)

    @flow(retries=1)
    def root() -> None:
        with load_block(saved_block).experiment(name) as experiment, ExitStack() as stack:
            runs = [run_sharing(shots) for shots in (2, 3, 4)]
            started = [
                stack.enter_context(flow_process("sharing", saved_block, one)) for one in runs
            ]
            found.append([_ask(experiment, 1) for _ in range(3)])
            assert [process.wait(120) for process, _ in started] == [0] * 3
        if len(found) == 1:
            raise _GivenUpError

    root()
    assert found[0] == found[1]
    assert platform.jobs_named(name) == 3 + 3 * 3
    assert Experiment.load(name, block.ledger()).sealed


@task
def _asks(block: str, name: str) -> str:
    with load_block(block).experiment(name) as experiment:
        return _ask(experiment, EQUAL)


@pytest.mark.nightly
def test_a_child_that_its_caller_does_not_wait_for_is_not_stopped(
    platform: Platform, block: QuantumSession, saved_block: str, name: str
) -> None:
    """The caller completes while it runs: it goes on, and its end finishes the experiment."""
    with get_client(sync_client=True) as client:
        client.create_deployment(flow_id=client.create_flow(sharing), name="alone")
    with ExitStack() as stack:

        @flow
        def root() -> Any:
            with load_block(saved_block).experiment(name) as experiment:
                _ask(experiment, 1)
                called = run_deployment(
                    "sharing/alone",
                    parameters={"block": saved_block, "shots": 2, "name": name},
                    timeout=0,
                )
                assert isinstance(called, FlowRun)
                run = flow_process("sharing", saved_block, str(called.id))
                process, _ = stack.enter_context(run)
                # It is inside when it has sent its first job.
                eventually(lambda: platform.jobs_named(name) > 1, seconds=60, what="it asks")
                return process

        process = root()
        assert process.wait(120) == 0
    assert Experiment.load(name, block.ledger()).sealed
    assert platform.jobs_named(name) == 4


@pytest.mark.parametrize("named", [False, True])
def test_a_task_that_leaves_ends_nothing_of_its_flow(
    platform: Platform, block: QuantumSession, saved_block: str, name: str, *, named: bool
) -> None:
    """A ``with`` block inside of another one, of the same experiment."""
    uids: list[str] = []

    @task(retries=1)
    def inside(turn: int) -> None:
        with load_block(saved_block).experiment(name if named else None) as experiment:
            _ask(experiment, EQUAL)
            uids.append(experiment.uid)
            if len(uids) == 1:
                raise _GivenUpError(turn)

    @flow
    def root() -> None:
        with load_block(saved_block).experiment(name if named else None) as experiment:
            _ask(experiment, EQUAL)
            for turn in range(2):
                inside(turn)
            if named:
                child(saved_block, name, 3)
            _ask(experiment, EQUAL)

    root()
    view = Experiment.load(uids[0], block.ledger())
    assert len(view.sessions) == 1
    assert view.sealed
    assert platform.jobs_of(uids[0]) == 4 + 3 * named


def test_tasks_of_one_flow_share_a_name(platform: Platform, saved_block: str, name: str) -> None:
    """Two tasks that open it one after another make two requests."""

    @flow
    def root() -> list[str]:
        return [_asks(saved_block, name), _asks(saved_block, name)]

    assert len(set(root())) == 2 == platform.jobs_named(name)
