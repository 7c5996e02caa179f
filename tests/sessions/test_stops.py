"""A person's stop, and the cost limit's, stand until somebody says go on; no other end is a stop.

Each row counts jobs and sessions at the server: after the stop there is none more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from qiskit_ibm_runtime import Session
from session_support import (
    block_for,
    facts_of,
    jobs_at,
    jobs_taking,
    measured,
    run,
    sessions_at,
    submit,
)
from support import BACKEND, wait_until

from session_block import QuantumSession
from session_block.client import Connection
from session_block.errors import (
    ExperimentStoppedError,
    InvalidInputError,
    JobCancelledError,
    SessionError,
)
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform
from session_block.operations.experiments import described_in_full
from session_block.operations.flow_runs import cancel_experiment
from session_block.operations.sessions import SessionOperator
from session_block.records.journal import Journal
from session_block.records.overviews import ExperimentState, overview
from session_block.records.sessions import TIDIED, record_closing
from session_block.records.stops import read_stops, record_stop, resume, stop_for_good
from session_block.references import SessionRef

JOB_SECONDS = 60
MAX_TIME = 600
INTERACTIVE = 120


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose clock moves only when it is advanced."""
    with LocalPlatform(
        time_scale=0, job_seconds=JOB_SECONDS, interactive_seconds=INTERACTIVE
    ) as platform:
        yield platform


@pytest.fixture(autouse=True)
def _idle(platform: LocalPlatform) -> Iterator[None]:
    """Every test begins without rules or limits, and with nothing that still runs."""
    yield
    platform.clear_faults()
    platform.set_usage_limit(str(platform.info.instance), None)
    platform.advance(100 * MAX_TIME)


@pytest.fixture
def block(platform: LocalPlatform, ledger_url: str) -> QuantumSession:
    """An unsaved Block for this module's platform, with short sessions."""
    return block_for(platform.info, ledger_url, max_time=MAX_TIME)


@dataclass
class Scene:
    """An experiment at the moment when it is stopped.

    Attributes:
        used: How many requests it has made.
        workers: Who else works at it.
    """

    platform: LocalPlatform
    block: QuantumSession
    experiment: Experiment
    used: int = 0
    workers: tuple[Experiment, ...] = ()

    @property
    def session_id(self) -> str:
        """The session that is stopped."""
        return str(self.experiment.session_id)

    def bought(self) -> tuple[int, int]:
        """Count the jobs of the experiment and all sessions at the server."""
        jobs = len(jobs_at(self.platform.info, self.experiment))
        return jobs, len(self.platform.sessions())

    def submit(self, count: int = 1) -> None:
        """Submit jobs, and do not wait for them."""
        submit(self.experiment, *range(self.used, self.used + count))
        self.used += count

    def run(self, count: int = 1) -> None:
        """Run jobs to their end."""
        with jobs_taking(self.platform, JOB_SECONDS):
            for number in range(self.used, self.used + count):
                run(self.experiment, number)
        self.used += count


def _queued(scene: Scene) -> None:
    scene.submit(3)


def _running(scene: Scene) -> None:
    scene.submit()
    scene.platform.advance(1)


def _idling(scene: Scene) -> None:
    scene.run()


def _rolling_over(scene: Scene) -> None:
    scene.run()
    scene.platform.advance(MAX_TIME)
    scene.experiment = scene.block.model_copy(update={"on_expiry": "reopen"}).experiment("e")
    with jobs_taking(scene.platform, JOB_SECONDS):
        run(scene.experiment, 0)
    scene.submit()


def _two_workers(scene: Scene) -> None:
    scene.submit()
    scene.workers = (scene.block.attach(scene.experiment.session_ref),)
    scene.workers[0].open_session()


SITUATIONS: dict[str, Callable[[Scene], None]] = {
    "queued": _queued,
    "running": _running,
    "idle": _idling,
    "rollover": _rolling_over,
    "two workers": _two_workers,
}


def _lend(scene: Scene) -> None:
    theirs = Session(scene.platform.service().backend(BACKEND), MAX_TIME)
    scene.experiment.borrow_session(str(theirs.session_id))


def _end(scene: Scene, by: Any) -> None:
    scene.platform.end_session(scene.session_id, by)


def _tool_closes(scene: Scene, *, killed: bool = False) -> None:
    connection = Connection(scene.block.credentials.account())
    ledger = scene.block.ledger()
    if not killed:
        assert SessionOperator(ledger).close(scene.session_id, connection)
        return
    journal = Journal(ledger, scene.experiment.uid)
    record_stop(journal, "closed", "ada closed its session", session_id=scene.session_id)
    record_closing(journal, scene.experiment.sessions[-1], "closed by an operator")


def _tool_cancels(scene: Scene, *, killed: bool = False) -> None:
    if killed:
        stop_for_good(Journal(scene.block.ledger(), scene.experiment.uid), "ada cancelled it")
    else:
        assert cancel_experiment(scene.block, scene.experiment.identity, "ada cancelled it")


STOPS: dict[str, tuple[Callable[[Scene], None], str]] = {
    "a person closes": (lambda scene: _end(scene, "close"), "IBM's page"),
    "a person cancels": (lambda scene: _end(scene, "cancel"), "IBM's page"),
    "the cost limit": (lambda scene: _end(scene, "cost_limit"), "reached its limit"),
    "the lender closes": (lambda scene: _end(scene, "close"), "lent it"),
    "our tool closes": (_tool_closes, "closed its session"),
    "our tool closes, killed": (lambda scene: _tool_closes(scene, killed=True), "ada closed"),
    "our tool cancels": (_tool_cancels, "ada cancelled it"),
    "our tool cancels, killed": (lambda scene: _tool_cancels(scene, killed=True), "ada cancelled"),
}


BORROWED = "the lender closes"
STOPPED = [
    pytest.param(stop, situation, marks=[] if situation == "queued" else pytest.mark.rest)
    for stop in STOPS
    for situation in SITUATIONS
    if (stop, situation) != (BORROWED, "rollover")  # it is not rolled over by itself
]


@pytest.mark.parametrize(("stop", "situation"), STOPPED)
def test_nothing_is_bought_after_a_stop_until_somebody_says_go_on(
    platform: LocalPlatform, block: QuantumSession, stop: str, situation: str
) -> None:
    """P4: no job and no session, by whoever asks; what died with it is bought once after that."""
    scene = Scene(platform, block, block.experiment("e"))
    if stop == BORROWED:
        _lend(scene)
    SITUATIONS[situation](scene)
    does, told = STOPS[stop]
    does(scene)
    before = scene.bought()
    asking = [scene.experiment, *scene.workers, block.experiment("e"), block.experiment("e")]
    for number, experiment in enumerate(asking):
        platform.advance(JOB_SECONDS)
        label = None if experiment not in scene.workers else f"worker {number}"
        with pytest.raises(ExperimentStoppedError, match=told) as stopped:
            _ask_for_all(scene, experiment, label)
        assert stopped.value.experiment == experiment.uid
        assert scene.bought() == before
    ledger = block.ledger()
    state = overview(ledger, scene.experiment.identity).state
    cancelled = stop.startswith("our tool cancels")
    assert state == (ExperimentState.CANCELLED if cancelled else ExperimentState.STOPPED)

    platform.set_usage_limit(str(platform.info.instance), None)
    resume(Journal(ledger, scene.experiment.uid), scene.experiment.identity, "ada")
    after = block.experiment("e")
    with jobs_taking(platform, JOB_SECONDS):
        for number in range(scene.used + 1):
            run(after, number)
    jobs = [job for job in jobs_at(platform.info, after) if job["state"] == "completed"]
    assert len(jobs) == scene.used + 1
    assert len(facts_of(block, after, "result/")) == scene.used + 1
    assert len(read_stops(Journal(ledger, after.uid))) == 1
    after.close_session()


def _ask_for_all(scene: Scene, experiment: Experiment, label: str | None) -> None:
    """Ask for what was asked for, as a run that is repeated does, and for one more."""
    with jobs_taking(scene.platform, JOB_SECONDS):
        if label is None:
            first = scene.used if experiment is scene.experiment else 0
            for number in range(first, scene.used + 1):
                run(experiment, number)
        else:
            experiment.run_sampler([measured(90)], shots=8, label=label)


@dataclass
class Life:
    """An experiment whose session ends for a reason that is no stop."""

    platform: LocalPlatform
    block: QuantumSession
    ledger_url: str
    experiment: Experiment
    used: int = 0

    def submit(self, count: int = 1) -> None:
        """Submit jobs, and do not wait for them."""
        submit(self.experiment, *range(self.used, self.used + count))
        self.used += count

    def run(self, count: int = 1) -> None:
        """Run jobs to their end."""
        with jobs_taking(self.platform, JOB_SECONDS):
            for number in range(self.used, self.used + count):
                run(self.experiment, number)
        self.used += count

    def again(self, **changed: Any) -> None:
        """Go on as another process would."""
        if "ledger_url" in changed:
            changed["ledger_url"] = SecretStr(changed["ledger_url"])
        self.block = self.block.model_copy(update=changed)
        self.experiment = self.block.experiment("e")
        with jobs_taking(self.platform, JOB_SECONDS):
            for number in range(self.used):
                run(self.experiment, number)

    def other_worker(self) -> Experiment:
        """Return the experiment as another process has joined it."""
        worker = self.block.attach(SessionRef.model_validate(self.experiment.session_ref))
        worker.open_session()
        return worker

    def lose_patch(self, times: int = 4) -> None:
        """Let the next requests to close a session fail before they have an effect."""
        self.platform.add_fault(
            kind="status",
            status=500,
            method="PATCH",
            path="/sessions/{session_id}",
            times=times,
        )


def _max_time(life: Life) -> None:
    life.platform.advance(MAX_TIME)


def _max_time_when_queued(life: Life) -> None:
    life.run()
    life.submit(12)
    life.platform.advance(MAX_TIME)


def _max_time_when_running(life: Life) -> None:
    life.run()
    life.platform.advance(MAX_TIME - JOB_SECONDS - 5)
    life.submit()
    life.platform.advance(JOB_SECONDS)


def _max_time_with_two_workers(life: Life) -> None:
    life.run()
    worker = life.other_worker()
    life.platform.advance(MAX_TIME)
    with jobs_taking(life.platform, JOB_SECONDS):
        worker.run_sampler([measured(80)], shots=8, label="other")


def _idles(life: Life) -> None:
    life.run()
    life.platform.advance(INTERACTIVE + 30)


def _idles_and_ends(life: Life) -> None:
    life.run()
    life.platform.advance(INTERACTIVE + MAX_TIME)


def _is_unused(life: Life) -> None:
    life.experiment.open_session()
    life.platform.advance(31 * 60)


def _other_worker_closes(life: Life) -> None:
    life.run()
    life.other_worker().close_session()


def _other_worker_closes_while_queued(life: Life) -> None:
    life.submit(2)
    life.other_worker().close_session()


def _program_cancels(life: Life) -> None:
    life.run()
    life.experiment.cancel_session()


def _is_tidied(life: Life) -> None:
    life.run()
    connection = Connection(life.block.credentials.account())
    operator = SessionOperator(life.block.ledger())
    assert operator.close(str(life.experiment.session_id), connection, reason=TIDIED)
    life.again()


def _is_tidied_but_the_record_is_cut_off(life: Life) -> None:
    life.run()
    journal = Journal(life.block.ledger(), life.experiment.uid)
    record_closing(journal, life.experiment.sessions[-1], TIDIED)
    life.platform.end_session(str(life.experiment.session_id), "close")
    life.again()


def _closing_is_lost(life: Life) -> None:
    life.run()
    life.lose_patch()
    with pytest.raises(SessionError):
        life.experiment.close_session()
    life.again()


def _closing_is_lost_and_time_ends_it(life: Life) -> None:
    _closing_is_lost(life)
    life.platform.advance(MAX_TIME)
    life.again()


def _rollover_is_lost(life: Life) -> None:
    life.run()
    life.platform.advance(MAX_TIME - 2 * JOB_SECONDS)
    life.lose_patch()
    careful = life.block.model_copy(update={"min_time_left": "5m"}).experiment("e")
    with pytest.raises(SessionError):
        _ask(careful, 0, 70)
    life.platform.advance(MAX_TIME)
    life.again()


def _rolls_over(life: Life) -> None:
    life.run()
    life.platform.advance(MAX_TIME - 2 * JOB_SECONDS)
    life.again(min_time_left="5m")


def _ledger_is_lost(life: Life) -> None:
    life.run()
    _lose_ledger(life)


def _ledger_is_lost_after_the_end(life: Life) -> None:
    life.run()
    life.platform.advance(MAX_TIME)
    _lose_ledger(life)


def _ledger_is_lost_after_a_rollover(life: Life) -> None:
    _rolls_over(life)
    life.run()
    _lose_ledger(life)


def _ledger_is_lost_while_it_ends(life: Life) -> None:
    life.run()
    life.submit(12)
    life.platform.advance(MAX_TIME)
    _lose_ledger(life)


def _finishes_and_is_extended(life: Life) -> None:
    life.run()
    with life.experiment:
        pass
    life.experiment = life.block.experiment("e", extend=True)
    with jobs_taking(life.platform, JOB_SECONDS):
        run(life.experiment, 0)


def _lose_ledger(life: Life) -> None:
    again = Path(life.ledger_url.removeprefix("sqlite:///")).with_name("again.db")
    life.again(ledger_url=f"sqlite:///{again}")


def _ask(experiment: Experiment, *numbers: int) -> None:
    for number in numbers:
        run(experiment, number)


NO_STOPS: dict[str, tuple[Callable[[Life], None], int]] = {
    "maximum time while idle": (_max_time, 1),
    "maximum time while queued": (_max_time_when_queued, 2),
    "maximum time while running": (_max_time_when_running, 2),
    "maximum time with two workers": (_max_time_with_two_workers, 2),
    "idling": (_idles, 1),
    "idling, then maximum time": (_idles_and_ends, 2),
    "unused": (_is_unused, 2),
    "closed by another worker": (_other_worker_closes, 2),
    "closed by another worker while queued": (_other_worker_closes_while_queued, 2),
    "cancelled by its program": (_program_cancels, 2),
    "tidied, then retried": (_is_tidied, 2),
    "tidied, the record cut off": (_is_tidied_but_the_record_is_cut_off, 2),
    "PATCH lost": (_closing_is_lost, 1),
    "PATCH lost, then maximum time": (_closing_is_lost_and_time_ends_it, 2),
    "rollover": (_rolls_over, 2),
    "rollover, PATCH lost": (_rollover_is_lost, 2),
    "ledger lost": (_ledger_is_lost, 1),
    "ledger lost after the end": (_ledger_is_lost_after_the_end, 2),
    "ledger lost after a rollover": (_ledger_is_lost_after_a_rollover, 2),
    "ledger lost while queued jobs die": (_ledger_is_lost_while_it_ends, 2),
    "finished, then extended": (_finishes_and_is_extended, 2),
}


FIRST = {
    "maximum time while queued",
    "idling",
    "closed by another worker",
    "tidied, then retried",
    "PATCH lost",
    "ledger lost",
}
"""What is in the first tier."""


@pytest.mark.parametrize(
    "end", [pytest.param(end, marks=[] if end in FIRST else pytest.mark.rest) for end in NO_STOPS]
)
def test_no_other_end_of_a_session_is_a_stop(
    platform: LocalPlatform, block: QuantumSession, ledger_url: str, end: str
) -> None:
    """The experiment goes on by itself, each request once, in as many sessions as are needed."""
    life = Life(platform, block, ledger_url, block.experiment("e"))
    happens, sessions = NO_STOPS[end]
    happens(life)
    life.run()
    life.again()
    assert read_stops(Journal(life.block.ledger(), life.experiment.uid)) == []
    completed = [
        job for job in jobs_at(platform.info, life.experiment) if job["state"] == "completed"
    ]
    others = end == "maximum time with two workers"
    assert len(completed) == life.used + others
    used = {job["session_id"] for job in completed}
    assert (
        len(used | {one["id"] for one in sessions_at(platform.info, life.experiment)}) == sessions
    )
    life.experiment.close_session()


def test_a_stop_is_lifted_once(platform: LocalPlatform, block: QuantumSession) -> None:
    """The next stop stands again, and what is not stopped cannot be resumed."""
    scene = Scene(platform, block, block.experiment("e"))
    journal = Journal(block.ledger(), scene.experiment.uid)
    with pytest.raises(InvalidInputError, match="not stopped"):
        resume(journal, scene.experiment.identity, "ada")
    for number in (1, 2):
        scene.run()
        _end(scene, "close")
        with pytest.raises(ExperimentStoppedError, match="experiments resume"):
            run(scene.experiment, 90)
        assert len(read_stops(journal)) == number
        resume(journal, scene.experiment.identity, "ada")
    scene.run()
    assert len(sessions_at(platform.info, scene.experiment)) == 3
    assert [one.by for _, one in read_stops(journal) if one is not None] == ["ada", "ada"]


def test_the_block_lifts_one_stop_of_the_platforms(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """``on_stop='reopen'`` goes on once; the second stop stands, and a cancellation always."""
    reopening = block.model_copy(update={"on_stop": "reopen"})
    scene = Scene(platform, reopening, reopening.experiment("e"))
    scene.run()
    _end(scene, "cancel")
    scene.run()
    assert len(sessions_at(platform.info, scene.experiment)) == 2
    _end(scene, "close")
    before = scene.bought()
    with pytest.raises(ExperimentStoppedError, match="closed its session"):
        scene.run()
    assert scene.bought() == before

    cancelled = reopening.experiment("cancelled")
    with jobs_taking(platform, JOB_SECONDS):
        run(cancelled, 0)
    cancel_experiment(reopening, cancelled.identity, "ada cancelled it")
    with pytest.raises(ExperimentStoppedError, match="ada cancelled it"):
        run(cancelled, 1)


def test_a_stop_says_all_that_a_person_asks(platform: LocalPlatform, block: QuantumSession) -> None:
    """Who or what, which session, which jobs, what it has cost, how to go on; also as JSON."""
    scene = Scene(platform, block, block.experiment("e"))
    scene.run()
    scene.submit(2)
    dead = [job["id"] for job in jobs_at(platform.info, scene.experiment)][1:]
    session_id = scene.session_id
    _end(scene, "cancel")
    platform.advance(JOB_SECONDS)
    again = block.experiment("e")
    with (
        jobs_taking(platform, JOB_SECONDS),
        pytest.raises(ExperimentStoppedError) as stopped,
    ):
        _ask(again, 0, 1, 2, 3)
    told = str(stopped.value)
    assert stopped.value.session_id == session_id
    assert "session_closed_early" in told
    assert f"experiments resume {again.uid}" in told
    assert any(job in told for job in dead)
    (stop,) = described_in_full(block.ledger(), again.identity)["stops"]
    assert stop["charged_seconds"] >= JOB_SECONDS
    assert f"{stop['charged_seconds']:g} s" in told
    assert set(stop["jobs"]) <= set(dead)
    assert (stop["cause"], stop["resumed_by"]) == ("ended early", None)


def test_a_cancellation_before_the_first_job_is_a_stop(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """Nothing had been bought, and nothing is."""
    experiment = block.experiment("e")
    sessions = len(platform.sessions())
    cancel_experiment(block, experiment.identity, "ada cancelled it")
    with pytest.raises(ExperimentStoppedError, match="ada cancelled it"):
        run(block.experiment("e"), 0)
    assert len(platform.sessions()) == sessions
    assert jobs_at(platform.info, experiment) == []


def test_job_mode_is_stopped_too(platform: LocalPlatform, ledger_url: str) -> None:
    """A cancelled experiment without a session buys nothing; resumed, it buys what died, once."""
    block = block_for(platform.info, ledger_url, mode="job")
    experiment = block.experiment("e")
    submit(experiment, 0, 1, 2)
    cancel_experiment(block, experiment.identity, "ada cancelled it")
    again = block.experiment("e")
    with (
        jobs_taking(platform, JOB_SECONDS),
        pytest.raises(ExperimentStoppedError, match="ada cancelled it"),
    ):
        _ask(again, 0, 1, 2, 3)
    assert len(jobs_at(platform.info, experiment)) == 3
    resume(Journal(block.ledger(), again.uid), again.identity, "ada")
    with jobs_taking(platform, JOB_SECONDS):
        _ask(block.experiment("e"), 0, 1, 2, 3)
    completed = [job for job in jobs_at(platform.info, again) if job["state"] == "completed"]
    assert len(completed) == 4


def test_recorded_results_are_answered_after_a_stop(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """A stop stops purchases, not answers, and the platform is not asked for them."""
    scene = Scene(platform, block, block.experiment("e"))
    scene.run(2)
    _end(scene, "close")
    with pytest.raises(ExperimentStoppedError):
        scene.run()
    asked = platform.stats()["requests"]
    _ask(block.experiment("e"), 0, 1)
    assert {**platform.stats()["requests"], "GET /_local/stats": 0} == {
        **asked,
        "GET /_local/stats": 0,
    }


def test_a_person_who_closes_what_was_closed_on_ibms_page(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The end that our tool finds is judged as everywhere: it is a stop."""
    scene = Scene(platform, block, block.experiment("e"))
    scene.run()
    _end(scene, "close")
    connection = Connection(block.credentials.account())
    assert not SessionOperator(block.ledger()).close(scene.session_id, connection)
    with pytest.raises(ExperimentStoppedError, match="IBM's page"):
        _ask(block.experiment("e"), 0, 5)


def test_a_rollover_does_not_hide_a_stop(platform: LocalPlatform, block: QuantumSession) -> None:
    """The session that is given up near its end had been closed by a person before."""
    careful = block.model_copy(update={"min_time_left": "5m"})
    scene = Scene(platform, careful, careful.experiment("e"))
    scene.run()
    _end(scene, "close")
    platform.advance(MAX_TIME - 3 * JOB_SECONDS)
    before = scene.bought()
    with pytest.raises(ExperimentStoppedError, match="IBM's page"):
        scene.run()
    assert scene.bought() == before


@pytest.mark.parametrize("deed", ["close_session", "cancel_session"])
def test_our_own_close_does_not_hide_a_stop(
    platform: LocalPlatform, block: QuantumSession, deed: str
) -> None:
    """A program that closes what a person has closed goes on only when it is resumed."""
    scene = Scene(platform, block, block.experiment("e"))
    scene.run()
    _end(scene, "close")
    getattr(scene.experiment, deed)()
    before = scene.bought()
    with pytest.raises(ExperimentStoppedError, match="IBM's page"):
        scene.run()
    assert scene.bought() == before


def test_jobs_that_a_person_cancels_in_an_earlier_session_are_not_bought_again(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The session was given up near its end, and its jobs were to finish."""
    careful = block.model_copy(update={"min_time_left": "5m"})
    scene = Scene(platform, careful, careful.experiment("e"))
    scene.run()
    first = scene.session_id
    platform.advance(MAX_TIME - 5 * 60 - 2 * JOB_SECONDS)
    scene.submit(3)
    platform.advance(JOB_SECONDS + 10)
    submit(scene.experiment, 50)  # in the next session
    assert scene.session_id != first
    platform.end_session(first, "cancel")
    before = scene.bought()
    again = careful.experiment("e")
    with (
        jobs_taking(platform, JOB_SECONDS),
        pytest.raises(ExperimentStoppedError, match="cancelled what still ran"),
    ):
        _ask(again, *range(scene.used), 50)
    assert scene.bought() == before


def test_a_job_that_is_cancelled_after_a_stop_was_lifted_did_not_end_with_it(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """Neither it nor a session is bought again: the session of that stop still takes jobs."""
    scene = Scene(platform, block, block.experiment("e"))
    scene.run()
    journal = Journal(block.ledger(), scene.experiment.uid)
    stop_for_good(journal, "its flow run was cancelled in Prefect")
    resume(journal, scene.experiment.identity, "ada")
    again = block.experiment("e")
    run(again, 0)
    (job,) = submit(again, 1)
    before = scene.bought()
    again.service.job(job.job_id).cancel()
    for _ in range(2):
        with pytest.raises(JobCancelledError, match=job.job_id):
            block.experiment("e").fetch_result(job)
    assert scene.bought() == before
    assert [one.usable for one in again.sessions] == [True]


def test_borrowing_another_session_does_not_hide_a_stop(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The session that it would follow is judged first."""
    scene = Scene(platform, block, block.experiment("e"))
    scene.run()
    _end(scene, "close")
    theirs = Session(platform.service().backend(BACKEND), MAX_TIME)
    again = block.experiment("e")
    with pytest.raises(ExperimentStoppedError, match="IBM's page"):
        again.borrow_session(str(theirs.session_id))
    assert len(jobs_at(platform.info, again)) == 1


@pytest.mark.rest
def test_lost_sessions_are_restored_in_the_order_of_their_jobs(
    platform: LocalPlatform, block: QuantumSession, ledger_url: str
) -> None:
    """The latest one is the one to go on in, although an early request ran in it last."""
    life = Life(platform, block, ledger_url, block.experiment("e"))
    life.submit(12)
    platform.advance(MAX_TIME)
    with jobs_taking(platform, JOB_SECONDS):
        run_last = block.experiment("e")
        for number in reversed(range(12)):
            run_last.run_sampler([measured(number)], shots=8, label=f"again {number}")
        platform.advance(MAX_TIME)
        run_last.run_sampler([measured(40)], shots=8, label="again 40")
    latest = run_last.session_id
    again = Path(ledger_url.removeprefix("sqlite:///")).with_name("lost.db")
    life.block = block.model_copy(update={"ledger_url": SecretStr(f"sqlite:///{again}")})
    restored = life.block.experiment("e")
    with jobs_taking(platform, JOB_SECONDS):
        restored.run_sampler([measured(60)], shots=8, label="new")
    assert restored.session_id == latest
    restored.close_session()


def test_a_session_that_opens_during_a_cancellation_is_closed(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The stop came while the request to open it was on its way."""
    experiment = block.experiment("e")
    platform.add_fault(kind="delay", seconds=1.5, method="POST", path="/sessions")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run(experiment, 0)
        except ExperimentStoppedError as error:
            errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(
        lambda: any(rule["used"] for rule in platform.faults()), seconds=30, what="it is opened"
    )
    cancel_experiment(block, experiment.identity, "ada cancelled it")
    worker.join()
    assert len(errors) == 1
    assert [one["state"] for one in sessions_at(platform.info, experiment)] == ["closed"]
    assert jobs_at(platform.info, experiment) == []


def test_a_session_that_we_close_during_a_look_was_not_closed_by_a_person(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The look is newer than what the process had read: it reads again before it judges."""
    experiment = block.experiment("e")
    with jobs_taking(platform, JOB_SECONDS):
        run(experiment, 0)
    again = block.experiment("e")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            again.submit_sampler([measured(1)], shots=8, label="second")
        except ExperimentStoppedError as error:
            errors.append(error)

    fault = platform.add_fault(kind="delay", seconds=2.0, method="GET", path="/sessions/*", times=1)
    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: any(rule["used"] for rule in platform.faults()), seconds=30, what="it looks")
    experiment.close_session()
    worker.join()
    platform.clear_faults(fault)
    assert errors == []
    states = [one["state"] for one in sessions_at(platform.info, experiment)]
    assert states == ["closed", "active"]


def _cancel_by_hand(experiment: Experiment, block: QuantumSession) -> None:
    cancel_experiment(block, experiment.identity, "somebody cancelled it", by_hand=True)


def test_a_cancellation_on_top_of_a_stop_is_no_ordinary_stop(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """What lifts the stop before it, as ``on_stop`` does, does not lift the cancellation."""
    block = block.model_copy(update={"on_stop": "reopen"})
    with jobs_taking(platform, JOB_SECONDS):
        experiment = block.experiment("e")
        run(experiment, 0)
        SessionOperator(block.ledger()).close(
            str(experiment.session_id), Connection(block.credentials.account())
        )
        _cancel_by_hand(experiment, block)
        bought = len(jobs_at(platform.info, experiment)), len(platform.sessions())
        again = block.experiment("e")
        run(again, 0)
        with pytest.raises(ExperimentStoppedError, match="somebody cancelled it"):
            run(again, 1)
        assert (len(jobs_at(platform.info, experiment)), len(platform.sessions())) == bought
        journal = Journal(block.ledger(), experiment.uid)
        assert [stop.cause for stop, _ in read_stops(journal)] == ["closed", "cancelled"]
        resume(journal, experiment.identity, "a person")
        assert all(lifted is not None for _, lifted in read_stops(journal))
        run(again, 1)


def test_who_cancels_again_after_telling_prefect_to_go_on_is_heard(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """A second cancellation by a person is a fact of its own; Prefect's own repeats are not."""
    experiment = block.experiment("e")
    with jobs_taking(platform, JOB_SECONDS):
        run(experiment, 0)
    journal = Journal(block.ledger(), experiment.uid)
    for by_hand in (True, False, True):
        cancel_experiment(block, experiment.identity, "it was cancelled", by_hand=by_hand)
    assert len(read_stops(journal)) == 2


@pytest.mark.parametrize("fetched", [True, False])
def test_a_program_that_catches_its_stop_is_not_finished(
    platform: LocalPlatform, block: QuantumSession, fetched: bool
) -> None:
    """``resume`` and another run, as the message says, then buy what was refused or lost."""

    def attempt(first: bool) -> None:
        with block.experiment("e") as experiment:
            with jobs_taking(platform, JOB_SECONDS):
                run(experiment, 0)
            if first and not fetched:
                submit(experiment, 1, 2)  # they wait, for the clock stands still
            if first:
                platform.end_session(str(experiment.session_id), "cancel")
            with jobs_taking(platform, JOB_SECONDS):
                for number in (1, 2) if fetched or not first else ():
                    with suppress(ExperimentStoppedError):
                        run(experiment, number)

    attempt(first=True)
    experiment = block.experiment("e")
    assert not experiment.sealed
    with jobs_taking(platform, JOB_SECONDS):
        run(experiment, 0)
        with suppress(ExperimentStoppedError):
            run(experiment, 1)
        with pytest.raises(ExperimentStoppedError):
            run(experiment, 2)
    assert overview(block.ledger(), experiment.identity).state is ExperimentState.STOPPED
    resume(Journal(block.ledger(), experiment.uid), experiment.identity, "a person")
    attempt(first=False)
    assert block.experiment("e").sealed
    assert block.experiment("e").recorded_results == 3


def test_a_stop_that_comes_when_all_is_done_cuts_nothing_short(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The program never notices, and its experiment is finished."""
    with block.experiment("e") as experiment, jobs_taking(platform, JOB_SECONDS):
        run(experiment, 0)
        _cancel_by_hand(experiment, block)
    assert block.experiment("e").sealed
