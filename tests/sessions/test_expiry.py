"""Sessions that end before their experiment: replaced or not, and what the ledger says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
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
from support import BACKEND

from session_block import QuantumSession
from session_block.errors import SessionClosedError, SessionError
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform

JOB_SECONDS = 60
MAX_TIME = 600
BY_ITSELF = "closed by the platform"
NEAR_ITS_END = "too near its end"


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose clock moves only when it is advanced."""
    with LocalPlatform(
        time_scale=0, job_seconds=JOB_SECONDS, interactive_seconds=MAX_TIME
    ) as platform:
        yield platform


@pytest.fixture(autouse=True)
def _idle(platform: LocalPlatform) -> Iterator[None]:
    """Every test begins without rules, and with nothing that still runs."""
    yield
    platform.clear_faults()
    platform.advance(100 * MAX_TIME)


@pytest.fixture
def block(platform: LocalPlatform, ledger_url: str) -> QuantumSession:
    """An unsaved Block for this module's platform, with short sessions."""
    return block_for(platform.info, ledger_url, max_time=MAX_TIME)


@pytest.fixture
def theirs(platform: LocalPlatform) -> Session:
    """A session that a colleague has opened."""
    return Session(platform.service().backend(BACKEND), MAX_TIME)


def _changed(block: QuantumSession, **fields: Any) -> QuantumSession:
    return block.model_copy(update=fields)


def _run(platform: LocalPlatform, experiment: Experiment, *numbers: int) -> None:
    with jobs_taking(platform, JOB_SECONDS):
        for number in numbers:
            run(experiment, number)


def _places(platform: LocalPlatform, experiment: Experiment) -> list[int]:
    """Return for each job at the server in which of the experiment's sessions it is."""
    order = [record.session_id for record in experiment.sessions]
    return [order.index(job["session_id"]) + 1 for job in jobs_at(platform.info, experiment)]


def _completed(platform: LocalPlatform, experiment: Experiment) -> int:
    jobs = jobs_at(platform.info, experiment)
    return sum(job["state"] == "completed" for job in jobs)


def _ends(experiment: Experiment) -> list[str | None]:
    return [record.end for record in experiment.sessions]


def test_an_ended_session_is_replaced(platform: LocalPlatform, block: QuantumSession) -> None:
    """By default the experiment goes on in a new session, and the ledger tells of both."""
    with block.experiment("e") as experiment:
        _run(platform, experiment, 0)
        platform.advance(MAX_TIME)
        _run(platform, experiment, 1)
    assert _places(platform, experiment) == [1, 2]
    assert [record.kind for record in experiment.sessions] == ["opened"] * 2
    assert _ends(experiment) == [BY_ITSELF, "closed by the experiment"]
    reasons = [one["state_reason"] for one in sessions_at(platform.info, experiment)]
    assert reasons == ["maximum time reached", "session_closed_early"]


def test_an_ended_session_can_end_the_run(platform: LocalPlatform, block: QuantumSession) -> None:
    """With ``on_expiry='fail'`` nothing more is sent, all that is recorded replays, and it ends."""
    failing = _changed(block, on_expiry="fail")
    _run(platform, failing.experiment("e"), 0, 1)
    platform.add_fault(kind="end_session", by="max_time", method="POST", path="/jobs")
    first, again = failing.experiment("e"), failing.experiment("e")
    for experiment in (first, again):
        for number in range(2):
            run(experiment, number)
        with pytest.raises(SessionClosedError, match="What is recorded stays"):
            run(experiment, 2)
    assert _places(platform, again) == [1, 1]
    assert _ends(again) == [BY_ITSELF]
    going_on = _changed(block, on_expiry="reopen").experiment("e")
    _run(platform, going_on, 0, 1, 2)
    assert _places(platform, going_on) == [1, 1, 2]


def test_a_session_that_ends_under_queued_jobs_loses_none(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """What still runs stays, what died with the session moves to the next, each exactly once."""
    experiment = block.experiment("e")
    platform.add_fault(kind="end_session", by="max_time", method="POST", path="/jobs", nth=4)
    submit(experiment, *range(4))
    again = block.experiment("e")
    _run(platform, again, *range(4))
    jobs = jobs_at(platform.info, again)
    assert _places(platform, again) == [1, 1, 1, 2, 2, 2]
    completed = [job["state"] == "completed" for job in jobs]
    assert completed == [True, False, False, True, True, True]
    results = facts_of(block, again, "result/")
    stored = {fact.body["job_id"] for fact in results}
    assert len(results) == 4
    assert stored == {job["id"] for job in jobs if job["state"] == "completed"}
    assert _ends(again) == [BY_ITSELF, None]


def test_a_session_near_its_end_is_replaced_before_a_submission(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """With too little time left it is closed, its running job finishes, the next goes elsewhere."""
    experiment = _changed(block, min_time_left="5m").experiment("e")
    _run(platform, experiment, 0)
    platform.advance(290 - JOB_SECONDS)
    (running,) = submit(experiment, 1)
    platform.advance(20)
    (next_one,) = submit(experiment, 2)
    assert _places(platform, experiment) == [1, 1, 2]
    ending, opened = sessions_at(platform.info, experiment)
    assert (ending["accepting_jobs"], opened["accepting_jobs"]) == (False, True)
    platform.advance(2 * JOB_SECONDS)
    for job in (running, next_one):
        assert experiment.fetch_result(job)[0].data.meas.num_shots == 8
    ending, _ = sessions_at(platform.info, experiment)
    assert (ending["state"], ending["state_reason"]) == ("closed", "session_closed_early")
    assert _ends(experiment) == [NEAR_ITS_END, None]
    assert _completed(platform, experiment) == 3


def test_a_session_near_its_end_is_not_reattached_to(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """A new process looks at the time left before its first submission, too."""
    careful = _changed(block, min_time_left="5m")
    _run(platform, careful.experiment("e"), 0)
    platform.advance(400)
    again = careful.experiment("e")
    _run(platform, again, 0, 1)
    assert _places(platform, again) == [1, 2]
    assert _ends(again) == [NEAR_ITS_END, None]


def test_more_time_left_than_a_session_has_is_refused(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """A Block that would open a session for each job, since none has so much time, is refused."""
    with pytest.raises(ValidationError, match="min_time_left"):
        block_for(platform.info, ledger_url, max_time="4m", min_time_left="5m")


def test_the_number_of_sessions_is_limited(platform: LocalPlatform, block: QuantumSession) -> None:
    """At the limit nothing is opened or sent; the error names it, and raising it goes on."""
    limited = _changed(block, max_sessions=2)
    experiment = limited.experiment("e")
    for number in range(2):
        _run(platform, experiment, number)
        platform.advance(MAX_TIME)
    for opening in (experiment, limited.experiment("e")):
        with pytest.raises(SessionError, match=r"opened 2 sessions.*max_sessions"):
            opening.run_sampler([measured(2)], shots=8, label="third")
    assert len(sessions_at(platform.info, experiment)) == 2
    more = _changed(block, max_sessions=3).experiment("e")
    _run(platform, more, 0, 1)
    _run(platform, more, 2)
    assert _places(platform, more) == [1, 2, 3]


def _borrowing(block: QuantumSession, session: Session) -> Experiment:
    experiment = block.experiment("e")
    experiment.borrow_session(str(session.session_id))
    return experiment


def test_a_borrowed_session_that_expires_ends_the_run(
    platform: LocalPlatform, block: QuantumSession, theirs: Session
) -> None:
    """By default nothing is opened in its place; what is recorded is still answered."""
    first = _borrowing(block, theirs)
    _run(platform, first, 0)
    platform.advance(MAX_TIME)
    again = _borrowing(block, theirs)
    run(again, 0)
    for experiment in (first, again):
        with pytest.raises(SessionClosedError, match=r"borrowed.*on_expiry='reopen'"):
            run(experiment, 1)
    assert [record.kind for record in again.sessions] == ["borrowed"]
    assert _places(platform, again) == [1]


def test_a_borrowed_session_that_expires_can_be_replaced(
    platform: LocalPlatform, block: QuantumSession, theirs: Session
) -> None:
    """With ``on_expiry='reopen'`` it goes on in a session of its own, and closes it at the end."""
    with _borrowing(_changed(block, on_expiry="reopen"), theirs) as experiment:
        _run(platform, experiment, 0)
        platform.advance(MAX_TIME)
        _run(platform, experiment, 1)
    assert [record.kind for record in experiment.sessions] == ["borrowed", "opened"]
    assert _places(platform, experiment) == [1, 2]
    reasons = [one["state_reason"] for one in sessions_at(platform.info, experiment)]
    assert reasons == ["maximum time reached", "session_closed_early"]


def test_a_borrowed_session_near_its_end_is_left_open(
    platform: LocalPlatform, block: QuantumSession, theirs: Session
) -> None:
    """The experiment goes on in a session of its own, and its colleague in the borrowed one."""
    careful = _changed(block, min_time_left="5m", on_expiry="reopen")
    experiment = _borrowing(careful, theirs)
    _run(platform, experiment, 0)
    platform.advance(400)
    submit(experiment, 1)
    assert _places(platform, experiment) == [1, 2]
    assert _ends(experiment) == [NEAR_ITS_END, None]
    assert [one["accepting_jobs"] for one in sessions_at(platform.info, experiment)] == [True] * 2


def test_processes_share_the_session_that_replaces_an_ended_one(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """One that learns late of the end takes the other's new session, and does so every time."""
    early = block.experiment("e")
    ended = str(early.open_session())
    late = block.attach(early.session_ref)
    late.open_session()
    platform.end_session(ended, "max_time")
    assert early._sessions.replace(ended).session_id != ended
    assert late._sessions.replace(ended).session_id == early.session_id
    platform.add_fault(kind="end_session", by="max_time", method="POST", path="/jobs")
    submit(early, 0)
    late.submit_sampler([measured(1)], shots=8, label="late")
    assert _places(platform, early) == [3, 3]


def test_what_a_cancelled_session_refused_runs_when_it_is_asked_for_again(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """The error of a user's own cancellation says to ask again, and that is good advice."""
    experiment = block.experiment("e")
    experiment.open_session()
    assert block.experiment("e").cancel_session() is True
    with pytest.raises(SessionClosedError, match="Ask again"):
        submit(experiment, 0)
    _run(platform, experiment, 0)
    assert _places(platform, experiment) == [2]


def test_details_survive_a_refused_opening(platform: LocalPlatform, block: QuantumSession) -> None:
    """After an opening that failed, the details are still those of the latest session."""
    experiment = block.experiment("e")
    _run(platform, experiment, 0)
    platform.advance(MAX_TIME)
    platform.add_fault(kind="status", status=400, method="POST", path="/sessions")
    with pytest.raises(Exception, match="open a session"):
        run(experiment, 1)
    assert [record.kind for record in experiment.sessions] == ["opened", "refused"]
    assert experiment.session_details().id == experiment.session_id
    assert experiment.session_status() == "Closed"
