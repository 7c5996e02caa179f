"""Execution modes session, batch and job behind the same calls, and all that a Session offers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Session
from qiskit_ibm_runtime.exceptions import IBMError
from session_support import bare, block_for, facts_of, jobs_at, measured, run, sessions_at, submit
from support import Platform, wait_until

from session_block import QuantumSession, SessionDetails, tasks
from session_block.doctor.check import Verdict
from session_block.doctor.platform import check_platform
from session_block.errors import (
    JobCancelledError,
    SessionError,
    SessionsNotAllowedError,
)
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform
from session_block.references import ExecutionMode, Implementation

MODES = get_args(ExecutionMode)
ON_THE_WIRE = {"session": "dedicated", "batch": "batch"}
JOB_SECONDS = 10
PENDING_SECONDS = 30
OPEN_PLAN = "local-platform-open"

WAYS: dict[str, tuple[str, str]] = {
    "backend": ("backend", "session_details"),
    "cancel": ("cancel_session", "cancel_session"),
    "close": ("close_session", "close_session"),
    "details": ("session_details", "session_details"),
    "from_id": ("borrow_session", "reattach_session"),
    "service": ("service", "open_session"),
    "session_id": ("session_id", "open_session"),
    "status": ("session_status", "session_status"),
    "usage": ("session_usage", "session_usage"),
}
"""For each public member of the client's Session: the Experiment's member and the task for it."""

FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "backend_name": str,
    "interactive_timeout": int,
    "max_time": int,
    "active_timeout": int,
    "state": str,
    "accepting_jobs": bool,
    "last_job_started": datetime,
    "last_job_completed": datetime,
    "started_at": datetime,
    "closed_at": datetime,
    "activated_at": datetime,
    "mode": str,
    "usage_time": float,
    "timestamps": list,
}


@pytest.fixture(scope="module")
def still() -> Iterator[LocalPlatform]:
    """A platform whose clock moves only when it is advanced, and whose sessions end slowly."""
    with LocalPlatform(
        time_scale=0, job_seconds=JOB_SECONDS, pending_seconds=PENDING_SECONDS
    ) as platform:
        yield platform


def _in_mode(block: QuantumSession, mode: str) -> QuantumSession:
    return block.model_copy(update={"mode": mode})


def _requests(platform: Platform, route: str = "") -> int:
    """Return how many requests to the quantum API the server has seen."""
    counts = platform.stats()["requests"]
    return sum(n for one, n in counts.items() if "_local" not in one and one.startswith(route))


@pytest.mark.parametrize("implementation", get_args(Implementation))
@pytest.mark.parametrize("mode", MODES)
def test_the_same_calls_serve_every_mode(
    block: QuantumSession, platform: Platform, mode: str, implementation: Implementation
) -> None:
    """Running, submitting and fetching make the same jobs in each mode; success closes it."""
    before = platform.sessions()
    with _in_mode(block, mode).experiment("modes") as experiment:
        experiment.run_sampler([measured()], shots=8, implementation=implementation)
        experiment.run_estimator(
            [(bare(), SparsePauliOp("Z"))], precision=0.1, implementation=implementation
        )
        job = experiment.submit_sampler([measured(1)], shots=16, implementation=implementation)
        assert experiment.fetch_result(job)[0].data.meas.num_shots == 16
        assert experiment.mode == mode
    jobs = jobs_at(platform.info, experiment)
    assert [one["state"] for one in jobs] == ["completed"] * 3
    assert {one["session_id"] for one in jobs} == {experiment.session_id}
    at_server = [(one["mode"], one["state"]) for one in sessions_at(platform.info, experiment)]
    assert at_server == ([] if mode == "job" else [(ON_THE_WIRE[mode], "closed")])
    assert platform.sessions() == before + len(at_server)


@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_run_goes_on_in_the_same_place(
    block: QuantumSession, platform: Platform, mode: str
) -> None:
    """A second opening replays what is done and submits the rest to the same batch or session."""
    run(_in_mode(block, mode).experiment("resumed"), 0)
    before = platform.sessions()
    with _in_mode(block, mode).experiment("resumed") as again:
        for number in range(2):
            run(again, number)
    jobs = jobs_at(platform.info, again)
    assert len(jobs) == 2
    assert {one["session_id"] for one in jobs} == {again.session_id}
    assert platform.sessions() == before


def test_cancelling_in_job_mode_cancels_the_own_jobs(still: LocalPlatform, ledger_url: str) -> None:
    """Without a session the experiment's pending jobs are cancelled, and nobody else's."""
    block = block_for(still.info, ledger_url, mode="job")
    mine, theirs = block.experiment("mine"), block.experiment("theirs")
    jobs = submit(mine, 0, 1)
    submit(theirs, 0)
    assert mine.cancel_session() is False
    assert [one["state"] for one in jobs_at(still.info, mine)] == ["cancelled"] * 2
    still.advance(JOB_SECONDS)
    assert [one["state"] for one in jobs_at(still.info, theirs)] == ["completed"]
    with pytest.raises(JobCancelledError, match=jobs[0].job_id):
        mine.fetch_result(jobs[0])


def test_job_mode_has_no_session_to_look_at(block: QuantumSession) -> None:
    """Details and session ID say that jobs run in job mode; opening and closing do nothing."""
    experiment = _in_mode(block, "job").experiment("alone")
    assert experiment.open_session() is None
    assert experiment.session_id is None
    assert experiment.close_session() is False
    assert experiment.session_status() is experiment.session_usage() is None
    with pytest.raises(SessionError, match="runs in job mode"):
        experiment.session_details()


def test_status_has_the_words_of_the_client_in_every_state(
    still: LocalPlatform, ledger_url: str
) -> None:
    """In each state that a session passes through, the client's own ``status()`` says the same."""
    experiment = block_for(still.info, ledger_url).experiment("states")
    experiment.open_session()
    client = Session.from_id(str(experiment.session_id), experiment.service)
    seen: dict[tuple[str, bool | None], str] = {}

    def look() -> None:
        details = experiment.session_details()
        assert details.status == experiment.session_status() == client.status()
        seen[details.state, details.accepting_jobs] = details.status

    look()
    submit(experiment, 0)
    wait_until(
        lambda: experiment.session_details().state == "active",
        seconds=30,
        what="the session's first job",
    )
    for seconds in (JOB_SECONDS, 60, PENDING_SECONDS):
        look()
        still.advance(seconds)
    look()
    submit(experiment, 1)
    client.close()
    for seconds in (JOB_SECONDS, PENDING_SECONDS):
        look()
        still.advance(seconds)
    look()
    accepting, ending = (f"In progress, {no}accepting new jobs" for no in ("", "not "))
    assert seen == {
        ("open", True): "Pending",
        ("active", True): accepting,
        ("pending_inactive", True): accepting,
        ("inactive", True): "Pending",
        ("active", False): ending,
        ("pending_closed", False): ending,
        ("closed", False): "Closed",
    }


def test_details_are_the_clients_own_and_typed(block: QuantumSession) -> None:
    """Every field of the client's ``details()`` is there, with its value and of its type."""
    experiment = block.experiment("details")
    run(experiment, 0)
    experiment.close_session()
    details = experiment.session_details()
    client = Session.from_id(details.id, experiment.service)
    told = client.details()
    assert told is not None
    # Version 0.50 of the client leaves them out; they come from the answer itself then.
    told.setdefault("timestamps", details.timestamps)
    assert set(told) == set(FIELDS)
    assert set(SessionDetails.model_fields) == {*FIELDS, "state_reason", "created_at"}
    assert details.created_at is not None
    assert details.state_reason
    for name, expected in FIELDS.items():
        value = getattr(details, name)
        assert isinstance(value, expected), name
        is_time = expected is datetime
        assert value == (datetime.fromisoformat(told[name]) if is_time else told[name]), name
    assert [entry["status"] for entry in details.timestamps] == ["open", "active", "closed"]
    assert details.usage_time == experiment.session_usage() == client.usage()


def test_every_member_of_the_clients_session_has_a_way() -> None:
    """Each has its way through Experiment and tasks; what a later client adds is noticed here."""
    members = {name for name in dir(Session) if not name.startswith("_")}
    assert members == set(WAYS)
    for member, task in WAYS.values():
        assert hasattr(Experiment, member)
        assert task in tasks.__all__


def test_an_experiment_gives_what_a_session_gives(
    block: QuantumSession, platform: Platform
) -> None:
    """Service, backend, ID and mode are the client's; opening is done once, and closing too."""
    experiment = block.experiment("members")
    assert experiment.service.active_instance() == platform.info.instance
    assert experiment.backend.name == block.backend_name
    assert experiment.mode == "session"
    session_id = experiment.open_session()
    assert experiment.open_session() == experiment.session_id == session_id
    assert experiment.session_details().id == session_id
    assert experiment.close_session() is True
    assert experiment.close_session() is False
    assert experiment.open_session() != session_id
    assert experiment.cancel_session() is True
    assert [one["state"] for one in sessions_at(platform.info, experiment)] == ["closed"] * 2


@pytest.mark.parametrize("max_time", [0, -1, "2x", "9h", 28_801])
def test_a_bad_max_time_never_leaves_the_block(
    platform: Platform, ledger_url: str, max_time: int | str
) -> None:
    """What makes no sense is refused before any request; the client would open one with 0."""
    before = _requests(platform)
    with pytest.raises(ValidationError, match="max_time"):
        block_for(platform.info, ledger_url, max_time=max_time)
    assert _requests(platform) == before


@pytest.mark.parametrize("max_time", [-1, "2x", "9h", 28_801])
def test_the_client_or_the_platform_refuses_it_too(
    platform: Platform, block: QuantumSession, max_time: int | str
) -> None:
    """The Block is no stricter than the client and the platform are together."""
    before = platform.sessions()
    with pytest.raises(IBMError, match=r"max_time|max_ttl"):
        Session(block.experiment("refused").backend, max_time)
    assert platform.sessions() == before


@pytest.mark.parametrize("max_time", [90, "1m 30s", "90s"])
def test_max_time_is_seconds_or_text(
    platform: Platform, ledger_url: str, max_time: int | str
) -> None:
    """The server gets the same number of seconds, however they are written."""
    with block_for(platform.info, ledger_url, max_time=max_time).experiment("short") as experiment:
        experiment.open_session()
    assert [one["max_ttl"] for one in sessions_at(platform.info, experiment)] == [90]


def _on_the_open_plan(platform: Platform, ledger_url: str, **fields: Any) -> QuantumSession:
    fields = {"backend_name": "ibm_fez", "max_time": None, **fields}
    return block_for(platform.info, ledger_url, instance=OPEN_PLAN, **fields)


@pytest.mark.parametrize("max_time", [None, "1h"])
def test_a_plan_without_sessions_is_said_clearly(
    platform: Platform, ledger_url: str, max_time: str | None
) -> None:
    """The open plan's refusal names the instance and the ways out; nothing is submitted.

    So it is also if the Block asks for more time than the plan gives a batch.
    """
    block = _on_the_open_plan(platform, ledger_url, max_time=max_time)
    experiment = block.experiment("open plan")
    before = platform.sessions()
    with pytest.raises(SessionsNotAllowedError, match=r"open plan.*without_sessions"):
        run(experiment, 0)
    assert jobs_at(platform.info, experiment) == []
    assert facts_of(block, experiment, "intent/") == []
    assert platform.sessions() == before


@pytest.mark.parametrize("fields", [{}, {"max_time": "1h", "min_time_left": "5m"}], ids=["", "1h"])
@pytest.mark.parametrize("instead", ["batch", "job"])
def test_a_plan_without_sessions_can_be_lived_with(
    platform: Platform,
    ledger_url: str,
    instead: str,
    fields: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other mode is warned of and recorded, and a resumed run asks for no session again.

    Times that the Block gives for a session are nothing to the plan's batches.
    """
    block = _on_the_open_plan(platform, ledger_url, without_sessions=instead, **fields)
    verdicts = {one.what: one.verdict for one in check_platform(block)}
    assert verdicts["plan"] == verdicts["instance"] == Verdict.OK
    first = block.experiment("open plan")
    with caplog.at_level(logging.WARNING):
        run(first, 0)
    assert f"runs in {instead} mode" in caplog.text
    opened = _requests(platform, "POST /sessions")
    with block.experiment("open plan") as again:
        for number in range(2):
            run(again, number)
        assert again.mode == instead
    assert _requests(platform, "POST /sessions") == opened
    jobs = jobs_at(platform.info, again)
    assert len(jobs) == 2
    assert {one["session_id"] for one in jobs} == {again.session_id}
    at_server = [(one["mode"], one["state"]) for one in sessions_at(platform.info, again)]
    assert at_server == ([("batch", "closed")] if instead == "batch" else [])
