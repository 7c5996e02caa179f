"""The tasks in real flow runs; effects are counted at the platform."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prefect import State, flow, get_client, get_run_logger, task
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.context import SyncClientContext
from prefect.runtime import task_run
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    temporary_settings,
)
from prefect_helpers import eventually, flipped, rotated, run_python
from qiskit.quantum_info import SparsePauliOp
from support import BACKEND, free_port

from session_block import JobRef, QuantumSession, SessionRef
from session_block.errors import InvalidInputError, LabelRequiredError, SessionClosedError
from session_block.tasks import (
    cancel_session,
    close_session,
    fetch_result,
    open_session,
    reattach_session,
    run_estimator,
    run_sampler,
    session_details,
    submit_estimator,
    submit_sampler,
)
from session_block.tasks.handles import experiment_of

if TYPE_CHECKING:
    from support import Platform

pytestmark = pytest.mark.usefixtures("quick_flows")

Z = SparsePauliOp("Z")
StateOf = Callable[[str], str]
LIVE_RUNS = 20
SCRIPTS_OPENINGS = 20


class InterruptedByTestError(Exception):
    """The interruption that a test makes."""


@pytest.fixture
def name() -> str:
    """A name that no other experiment of these tests has."""
    return f"experiment-{uuid4().hex[:8]}"


def _requests(platform: Platform) -> dict[str, int]:
    counts = platform.stats()["requests"]
    return {route: count for route, count in counts.items() if "_local" not in route}


def _jobs_in(platform: Platform, session_id: str | None) -> int:
    assert session_id is not None
    return int(platform.stats()["jobs"]["by_session"].get(session_id, 0))


def test_open_submit_fetch_close(
    platform: Platform, saved_block: str, session_state: StateOf
) -> None:
    """Tasks open a session, submit to both primitives, fetch the results, and close it."""

    @flow
    def both_primitives() -> tuple[SessionRef, float, dict[str, int]]:
        session = open_session(saved_block)
        estimation = submit_estimator(session, [(rotated(0), Z)])
        sampling = submit_sampler(session, [flipped()], shots=50)
        assert estimation.kind == "estimator"
        assert sampling.kind == "sampler"
        value = float(fetch_result(estimation)[0].data.evs)
        counts = fetch_result(sampling)[0].data.c.get_counts()
        assert session_details(session).id == session.session_id
        assert close_session(session)
        return session, value, counts

    session, value, counts = both_primitives()
    assert value == pytest.approx(-1)
    assert counts == {"1": 50}
    assert platform.jobs_of(session.uid) == 2
    assert _jobs_in(platform, session.session_id) == 2
    assert session_state(str(session.session_id)) == "closed"


def test_a_task_retry_that_calls_a_task_submits_nothing_twice(
    platform: Platform, saved_block: str
) -> None:
    """A user's task that runs a job by ``run_sampler`` and then fails once has one job."""
    tries: list[dict[str, int]] = []

    @task(retries=1)
    def sample_then_fail_once(session: SessionRef) -> None:
        tries.append(run_sampler(session, [flipped()], shots=50)[0].data.c.get_counts())
        if len(tries) == 1:
            raise InterruptedByTestError

    @flow
    def with_flaky_task() -> SessionRef:
        session = open_session(saved_block)
        sample_then_fail_once(session)
        return session

    session = with_flaky_task()
    assert tries == [{"1": 50}] * 2
    assert platform.jobs_of(session.uid) == 1


def test_a_task_in_a_retried_task_in_a_task_needs_a_label(
    platform: Platform, saved_block: str
) -> None:
    """Two tasks deep, where Prefect cannot tell a retry from a new call, a label is asked for."""

    @flow
    def two_deep() -> SessionRef:
        session = open_session(saved_block)
        tries = []

        @task
        def inner(label: str | None) -> None:
            run_sampler(session, [flipped()], shots=50, label=label)

        @task(retries=1)
        def outer() -> None:
            tries.append(None)
            with pytest.raises(LabelRequiredError):
                inner(None)
            inner("the only one")
            if len(tries) == 1:
                raise InterruptedByTestError

        outer()
        return session

    assert platform.jobs_of(two_deep().uid) == 1


def test_a_task_retry_that_uses_the_experiment_submits_nothing_twice(
    platform: Platform, saved_block: str
) -> None:
    """A user's task that runs jobs by the experiment and then fails once has no job twice."""
    tries: list[list[int]] = []

    @flow
    def with_flaky_task() -> str:
        with QuantumSession.load(saved_block).experiment() as experiment:

            @task(retries=1)
            def sample_then_fail_once() -> None:
                results = [experiment.run_sampler([flipped()], shots=50) for _ in range(2)]
                tries.append([result[0].data.c.num_shots for result in results])
                if len(tries) == 1:
                    raise InterruptedByTestError

            sample_then_fail_once()
            experiment.run_sampler([flipped()], shots=50)
        return experiment.uid

    uid = with_flaky_task()
    assert tries == [[50, 50]] * 2
    assert platform.jobs_of(uid) == 3


def test_a_flow_retry_goes_on_in_the_same_session(platform: Platform, saved_block: str) -> None:
    """A flow that fails after two evaluations and is retried has each job once, in one session."""
    sessions: list[SessionRef] = []
    jobs: list[list[str]] = []

    @flow(retries=1)
    def fails_after_two() -> None:
        session = open_session(saved_block)
        sessions.append(session)
        jobs.append([])
        for turns in range(4):
            if turns == 2 and len(sessions) == 1:
                raise InterruptedByTestError
            job = submit_estimator(session, [(rotated(turns), Z)])
            fetch_result(job)
            jobs[-1].append(job.job_id)
        close_session(session)

    before = platform.sessions()
    fails_after_two()
    assert platform.sessions() == before + 1
    assert sessions[0].session_id == sessions[1].session_id
    assert sessions[0].uid == sessions[1].uid
    assert jobs[1][:2] == jobs[0]
    assert platform.jobs_of(sessions[0].uid) == 4


def test_equal_requests_are_jobs_of_their_own(platform: Platform, saved_block: str) -> None:
    """Three equal requests in one flow are three jobs, by whichever task they are made."""

    @flow
    def thrice() -> tuple[SessionRef, set[str]]:
        session = open_session(saved_block)
        jobs = [submit_sampler(session, [flipped()], shots=20) for _ in range(2)]
        run_sampler(session, [flipped()], shots=20)
        return session, {job.job_id for job in jobs}

    session, jobs = thrice()
    assert len(jobs) == 2
    assert platform.jobs_of(session.uid) == 3


def test_opened_twice_in_one_flow_run_it_is_one_opening(
    platform: Platform, saved_block: str
) -> None:
    """Steps that each open the experiment count equal requests together."""

    @flow
    def two_steps() -> tuple[SessionRef, list[str]]:
        ids = []
        for _ in range(2):
            session = open_session(saved_block)
            ids.append(submit_estimator(session, [(rotated(0), Z)]).job_id)
        cancel_session(session)
        return session, ids

    session, ids = two_steps()
    assert len(set(ids)) == 2
    assert platform.jobs_of(session.uid) == 2


def test_two_flow_runs_are_two_experiments(platform: Platform, saved_block: str) -> None:
    """Without a name, each run of a flow is an experiment with a session and jobs of its own."""

    @flow
    def unnamed() -> SessionRef:
        session = open_session(saved_block)
        run_estimator(session, [(rotated(1), Z)])
        return session

    first, second = unnamed(), unnamed()
    assert first.uid != second.uid
    assert first.session_id != second.session_id
    assert platform.jobs_of(first.uid) == platform.jobs_of(second.uid) == 1


def test_a_name_resumes_in_another_flow_run(
    platform: Platform, saved_block: str, name: str
) -> None:
    """A second flow run of the same name goes on with what the first one left unfinished."""
    seen: list[SessionRef] = []

    @flow
    def named(evaluations: int) -> None:
        session = open_session(saved_block, name)
        seen.append(session)
        for turns in range(evaluations):
            run_estimator(session, [(rotated(turns), Z)])
        if len(seen) == 1:
            raise InterruptedByTestError

    with pytest.raises(InterruptedByTestError):
        named(2)
    named(3)
    assert seen[0].uid == seen[1].uid
    assert seen[0].session_id == seen[1].session_id
    assert platform.jobs_of(seen[0].uid) == 3


def test_fresh_starts_one_experiment_for_a_run_and_its_retries(
    platform: Platform, saved_block: str, name: str
) -> None:
    """``fresh=True`` starts the next experiment of a name; the flow's own retry goes on with it."""
    seen: list[SessionRef] = []

    @flow(retries=1)
    def fresh_every_night(*, fail_once: bool) -> None:
        session = open_session(saved_block, name, fresh=True)
        seen.append(session)
        run_estimator(session, [(rotated(1), Z)])
        if fail_once and len(seen) == 2:
            raise InterruptedByTestError
        close_session(session)

    fresh_every_night(fail_once=False)
    fresh_every_night(fail_once=True)
    assert [session.number for session in seen] == [1, 2, 2]
    assert seen[0].uid != seen[1].uid == seen[2].uid
    assert platform.jobs_of(seen[0].uid) == platform.jobs_of(seen[1].uid) == 1


def test_a_session_reattached_by_id_is_borrowed(
    platform: Platform, saved_block: str, name: str, session_state: StateOf
) -> None:
    """Jobs of a borrower run in the owner's session, which the borrower never closes."""
    owner = QuantumSession.load(saved_block).experiment(name)
    session_id = str(owner.open_session())

    @flow
    def borrows() -> tuple[SessionRef, bool]:
        session = reattach_session(saved_block, session_id)
        run_estimator(session, [(rotated(1), Z)])
        return session, close_session(session)

    before = platform.sessions()
    session, closed = borrows()
    assert session.borrowed
    assert not closed
    assert session.uid != owner.uid
    assert platform.jobs_of(session.uid) == 1
    assert _jobs_in(platform, session_id) == 1
    assert platform.sessions() == before
    assert session_state(session_id) != "closed"
    assert owner.close_session()


def test_a_closed_session_cannot_be_borrowed(saved_block: str, name: str) -> None:
    """Reattaching to a session that is closed is an error that names it."""
    owner = QuantumSession.load(saved_block).experiment(name)
    session_id = str(owner.open_session())
    owner.close_session()

    @flow
    def borrows() -> None:
        reattach_session(saved_block, session_id)

    with pytest.raises(SessionClosedError, match=session_id):
        borrows()


def test_a_finished_experiment_is_replayed_without_a_request(
    platform: Platform, saved_block: str, name: str
) -> None:
    """A flow over a finished experiment gets the recorded results and makes no request."""

    @flow
    def nightly() -> tuple[SessionRef, list[float]]:
        session = open_session(saved_block, name)
        results = [run_estimator(session, [(rotated(turns), Z)]) for turns in range(2)]
        job = submit_estimator(session, [(rotated(2), Z)])
        results.append(fetch_result(job))
        close_session(session)
        return session, [float(result[0].data.evs) for result in results]

    first, values = nightly()
    before = _requests(platform)
    again, replayed = nightly()
    assert _requests(platform) == before
    assert not first.sealed
    assert again.sealed
    assert replayed == values
    assert platform.jobs_of(first.uid) == 3


@pytest.fixture
def elsewhere(saved_block: str) -> tuple[SessionRef, JobRef, dict[str, Any]]:
    """What a process that did not open the experiment gets: by fetching, and by submitting."""
    script = Path(__file__).with_name("another_process.py").read_text()

    @flow
    def hands_out() -> tuple[JobRef, str]:
        job = submit_sampler(open_session(saved_block), [flipped()], shots=30)
        return job, run_python(script, stdin=job.model_dump_json())

    job, said = hands_out()
    return job.session, job, json.loads(said.splitlines()[-1])


def test_another_process(
    platform: Platform, elsewhere: tuple[SessionRef, JobRef, dict[str, Any]]
) -> None:
    """Another process fetches by reference; it submits with a label, and only with one, once."""
    session, job, got = elsewhere
    assert got["counts"] == {"1": 30}
    assert got["unlabelled"] == "LabelRequiredError"
    labelled = JobRef.model_validate(got["labelled"])
    assert labelled.job_id != job.job_id
    assert labelled.session.session_id == session.session_id
    assert got["again"] == labelled.job_id
    assert platform.jobs_of(session.uid) == 2


def test_the_server_learns_no_token(platform: Platform, saved_block: str) -> None:
    """Neither a flow run's parameters, nor its logs, states and task runs hold the API key."""

    @task
    def complains(session: SessionRef) -> None:
        get_run_logger().info("The session is %r", session)
        block = QuantumSession.load(saved_block)
        raise RuntimeError(f"{block!r} {block.credentials.account()!r}")

    @flow(log_prints=True)
    def talks(block: str, session: dict[str, Any] | None = None) -> None:
        opened = open_session(block)
        run_sampler(opened, [flipped()], shots=10)
        print(opened, session)  # noqa: T201 - that Prefect logs it is the point
        with pytest.raises(RuntimeError):
            complains(opened)
        get_run_logger().info("the last word")

    state: State[None] = talks(saved_block, return_state=True)
    assert state.is_completed(), state
    run_id = state.state_details.flow_run_id
    assert run_id is not None

    with get_client(sync_client=True) as client:
        logs_of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))

        def all_logs() -> str:
            logs = client.read_logs(log_filter=logs_of_run)
            text = "\n".join(log.message for log in logs)
            return text if "the last word" in text else ""

        logs = eventually(all_logs, seconds=30, what="the flow run's logs are at the server")
        run = client.read_flow_run(run_id)
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        task_runs = eventually(
            lambda: client.read_task_runs(flow_run_filter=of_run),
            seconds=30,
            what="the flow run's task runs are at the server",
        )
    assert "The session is" in logs
    stored = [run.model_dump_json(), logs, *(each.model_dump_json() for each in task_runs)]
    assert not [text for text in stored if platform.info.token in text]


def test_threads_that_prefect_does_not_know_need_labels(
    platform: Platform, saved_block: str
) -> None:
    """A task's retry could not recognise a bare thread's requests; labelled ones it can."""

    @task(retries=1)
    def in_threads(session: SessionRef) -> None:
        experiment = experiment_of(session)

        def sample(label: str | None) -> None:
            experiment.run_sampler([flipped()], shots=20, label=label)

        with ThreadPoolExecutor(2) as pool:
            with pytest.raises(LabelRequiredError, match="thread"):
                pool.submit(sample, None).result()
            list(pool.map(sample, ["point {a}", "point {b}"]))
        if task_run.run_count == 1:
            raise InterruptedByTestError

    @flow
    def with_threads() -> SessionRef:
        session = open_session(saved_block)
        in_threads(session)
        close_session(session)
        return session

    assert platform.jobs_of(with_threads().uid) == 2


def test_a_label_may_hold_braces(platform: Platform, saved_block: str) -> None:
    """A label becomes the task run's name as it is; Prefect does not take it for a template."""

    @flow
    def labelled() -> SessionRef:
        session = open_session(saved_block)
        experiment_of(session).run_sampler([flipped()], shots=20, label="point {a}")
        close_session(session)
        return session

    assert platform.jobs_of(labelled().uid) == 1


def test_a_wrong_reference_is_told_before_anything_is_sent(
    platform: Platform, saved_block: str, name: str
) -> None:
    """Swapped arguments, a name, nothing; a reference that went through JSON is one."""
    before = _requests(platform)

    @flow
    def wrong() -> None:
        for given in (saved_block, [flipped()], None, {"experiment": name}):
            with pytest.raises(InvalidInputError, match="SessionRef"):
                run_sampler(given, [flipped()])
        with pytest.raises(InvalidInputError, match="JobRef"):
            fetch_result(None)  # type: ignore[arg-type]

    wrong()
    assert _requests(platform) == before

    @flow
    def through_json() -> dict[str, int]:
        session = json.loads(open_session(saved_block, name).model_dump_json())
        job = submit_sampler(session, [flipped()], shots=20)
        counts = fetch_result(json.loads(job.model_dump_json()))[0].data.c.get_counts()
        close_session(session)
        return counts

    assert through_json() == {"1": 20}


@pytest.mark.rest
def test_live_runs_are_never_dropped(
    platform: Platform, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Many runs have experiments open while Prefect does not answer: all go on counting.

    After the outage each asks for what it asked for before, which is a second job of its own, and
    not the first one's result.
    """
    block = QuantumSession(credentials=platform.credentials(), backend_name=BACKEND, mode="job")
    asked, outage_is_over = threading.Semaphore(0), threading.Event()
    outage = {
        PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api",
        PREFECT_CLIENT_MAX_RETRIES: 0,
        PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False,
    }

    @flow
    def live() -> str:
        block.experiment().run_sampler([flipped()], shots=10)
        asked.release()
        assert outage_is_over.wait(300)
        experiment = block.experiment()
        experiment.run_sampler([flipped()], shots=10)
        experiment.finish()
        return experiment.uid

    @flow
    def newcomer() -> None:
        # The engine's own client keeps Prefect's address; ours is made anew and finds nobody.
        with (
            temporary_settings(outage),
            SyncClientContext(httpx_settings={"timeout": 5}),
        ):
            block.experiment(name)

    with ThreadPoolExecutor(LIVE_RUNS) as pool:
        runs = []
        try:
            # One after another: many flows that begin at once wait long for Prefect's database.
            for _ in range(LIVE_RUNS):
                runs.append(pool.submit(copy_context().run, live))
                assert asked.acquire(timeout=60)
            with caplog.at_level(logging.WARNING):
                newcomer()
        finally:
            outage_is_over.set()
        assert "Could not ask Prefect whether earlier runs have ended" in caplog.text
        uids = [run.result(120) for run in runs]
    assert len(set(uids)) == LIVE_RUNS
    assert [platform.jobs_of(uid) for uid in uids] == [2] * LIVE_RUNS


@pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs'")
def test_what_is_opened_outside_a_run_stays_while_it_is_used(
    platform: Platform, saved_block: str, name: str
) -> None:
    """A script opens many experiments by tasks, and then goes on with the first one."""
    first = open_session(saved_block, name)
    for number in range(SCRIPTS_OPENINGS):
        close_session(open_session(saved_block, f"{name}-{number}"))
    job = submit_sampler(first, [flipped()], shots=10)
    assert fetch_result(job)[0].data.c.get_counts() == {"1": 10}
    close_session(first)
    assert platform.jobs_of(first.uid) == 1
