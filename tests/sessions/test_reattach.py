"""Reattaching: to the experiment's own session by its name, to somebody else's by its ID."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from session_support import block_for, facts_of, jobs_at, sessions_at, submit
from support import BACKEND

from session_block import QuantumSession
from session_block.client import Connection
from session_block.errors import (
    InvalidInputError,
    SessionClosedError,
    SessionError,
    SessionMismatchError,
    SessionNotFoundError,
)
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform
from session_block.settings import Source

JOB_SECONDS = 60
MAX_TIME = 600
IDLE_SECONDS = 300
OTHER_BACKEND = "ibm_nairobi"

Theirs = Callable[..., Session]

_ANOTHER_PROCESS = """
import sys
from session_support import block_for, submit
from session_block import local_platform

state_dir, ledger_url, name, session_id = sys.argv[1:]
block = block_for(local_platform.find(state_dir), ledger_url)
submit(block.experiment(name), 0, 1)
borrowing = block.experiment("another process")
borrowing.borrow_session(session_id)
submit(borrowing, 2)
print(borrowing.uid)
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform whose clock moves only when it is advanced."""
    with LocalPlatform(
        time_scale=0, job_seconds=JOB_SECONDS, interactive_seconds=IDLE_SECONDS
    ) as platform:
        yield platform


@pytest.fixture(scope="module")
def service(platform: LocalPlatform) -> QiskitRuntimeService:
    """A colleague's client."""
    return platform.service()


@pytest.fixture
def theirs(platform: LocalPlatform, service: QiskitRuntimeService) -> Iterator[Theirs]:
    """A function that opens a colleague's sessions; after the test nothing of them is left."""
    opened: list[Session] = []

    def open_one(mode: type[Session] = Session, backend: str = BACKEND) -> Session:
        opened.append(mode(service.backend(backend), max_time=MAX_TIME))
        return opened[-1]

    yield open_one
    platform.clear_faults()
    for session in opened:
        session.cancel()
    platform.advance(JOB_SECONDS)


@pytest.fixture
def block(platform: LocalPlatform, ledger_url: str) -> QuantumSession:
    """An unsaved Block for this module's platform."""
    return block_for(platform.info, ledger_url)


def _changed(block: QuantumSession, **fields: Any) -> QuantumSession:
    return block.model_copy(update=fields)


def _borrowing(block: QuantumSession, session: Session, name: str = "borrowing") -> Experiment:
    experiment = block.experiment(name)
    assert experiment.borrow_session(str(session.session_id)) == session.session_id
    return experiment


def _run(platform: LocalPlatform, experiment: Experiment, *numbers: int) -> None:
    jobs = submit(experiment, *numbers)
    platform.advance(JOB_SECONDS * len(jobs))
    for job in jobs:
        assert experiment.fetch_result(job)[0].data.meas.num_shots == 8


def _places(platform: LocalPlatform, experiment: Experiment) -> list[str]:
    return [job["session_id"] for job in jobs_at(platform.info, experiment)]


def test_another_process_reattaches_by_name_and_by_id(
    platform: LocalPlatform, block: QuantumSession, ledger_url: str, theirs: Theirs
) -> None:
    """A process that knows only the name, or only the session's ID, goes on in that session."""
    mine, colleagues = block.experiment("by name"), theirs()
    _run(platform, mine, 0)
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            _ANOTHER_PROCESS,
            str(platform.info.state_dir),
            ledger_url,
            "by name",
            str(colleagues.session_id),
        ],
        cwd="tests",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    borrowing = block.experiment("another process")
    assert ran.stdout.split() == [borrowing.uid]
    assert _places(platform, mine) == [mine.session_id] * 2
    assert _places(platform, borrowing) == [colleagues.session_id]
    assert [record.kind for record in borrowing.sessions] == ["borrowed"]
    assert colleagues.status() == "Pending"
    mine.cancel_session()


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("batch", SessionMismatchError, "'batch'"),
        ("other backend", SessionMismatchError, OTHER_BACKEND),
        ("closed", SessionClosedError, "is closed"),
        ("other instance", SessionNotFoundError, "Check the ID"),
        ("unknown", SessionNotFoundError, "nowhere"),
    ],
)
def test_what_does_not_fit_is_refused(
    platform: LocalPlatform,
    block: QuantumSession,
    theirs: Theirs,
    what: str,
    error: type[Exception],
    message: str,
) -> None:
    """Each misfit has its own error, before any session or job is recorded or made."""
    session_id = _misfit(platform, theirs, what)
    experiment = block.experiment("misfit")
    before = platform.stats()
    with pytest.raises(error, match=message):
        experiment.borrow_session(session_id)
    after = platform.stats()
    assert (after["jobs"], after["sessions"]) == (before["jobs"], before["sessions"])
    assert facts_of(block, experiment, "session", "intent") == []


@pytest.mark.parametrize("what", ["batch", "closed", "other instance", "unknown"])
def test_what_does_not_fit_decides_nothing(
    platform: LocalPlatform, block: QuantumSession, theirs: Theirs, what: str
) -> None:
    """A Block without a backend has none chosen for it by a session that it does not get."""
    unnamed = _changed(block, backend_name=None)
    experiment = unnamed.experiment("misfit")
    with pytest.raises(SessionError):
        experiment.borrow_session(_misfit(platform, theirs, what))
    assert [fact.key for fact in facts_of(unnamed, experiment)] == [
        "experiment",
        "attempt/000001",
    ]


def _misfit(platform: LocalPlatform, theirs: Theirs, what: str) -> str:
    """Return the ID of a session that cannot be borrowed."""
    match what:
        case "batch":
            return str(theirs(Batch).session_id)
        case "other backend":
            return str(theirs(backend=OTHER_BACKEND).session_id)
        case "closed":
            session = theirs()
            session.cancel()
            return str(session.session_id)
        case "other instance":
            elsewhere = platform.service(instance="local-platform-eu")
            return str(Session(elsewhere.backend("ibm_brussels"), MAX_TIME).session_id)
        case _:
            return "nowhere"


def test_a_borrowed_session_decides_the_backend_also_in_maintenance(
    platform: LocalPlatform, block: QuantumSession, theirs: Theirs
) -> None:
    """The session is where it is, so maintenance there moves the experiment nowhere."""
    session = theirs()
    platform.add_fault(kind="maintenance", backend=BACKEND)
    experiment = _borrowing(_changed(block, in_maintenance="move"), session)
    submit(experiment, 0)
    assert _places(platform, experiment) == [session.session_id]


@pytest.mark.parametrize("borrowed", [True, False])
def test_an_idle_session_is_used_again(
    platform: LocalPlatform, block: QuantumSession, theirs: Theirs, borrowed: bool
) -> None:
    """A session that is only inactive is reattached to, and its next job wakes it up."""
    experiment = _borrowing(block, theirs(), "idle") if borrowed else block.experiment("idle")
    _run(platform, experiment, 0)
    platform.advance(IDLE_SECONDS)
    assert experiment.session_details().state == "inactive"
    again = block.experiment("idle")
    _run(platform, again, 0, 1)
    assert again.session_details().state == "active"
    assert _places(platform, again) == [experiment.session_id] * 2
    again.cancel_session()


def test_the_active_instance_stays_as_it_was(
    platform: LocalPlatform, block: QuantumSession, theirs: Theirs
) -> None:
    """Neither a session that is found nor one of another instance changes the service's own."""
    experiment = block.experiment("instance")
    before = experiment.service.active_instance()
    with pytest.raises(SessionNotFoundError):
        experiment.borrow_session(_misfit(platform, theirs, "other instance"))
    assert experiment.service.active_instance() == before
    experiment.borrow_session(str(theirs().session_id))
    _run(platform, experiment, 0)
    assert experiment.service.active_instance() == before == platform.info.instance


@pytest.mark.parametrize("mode", ["session", "batch", "job"])
def test_an_experiment_stays_at_its_instance(
    platform: LocalPlatform, ledger_url: str, mode: str
) -> None:
    """A Block of another instance is refused, if it says so or if that shows when it connects."""
    fields = {"backend_name": "ibm_fez", "mode": mode, "max_time": MAX_TIME}
    here = block_for(platform.info, ledger_url, instance=platform.info.instance, **fields)
    experiment = here.experiment("instance")
    _run(platform, experiment, 0)
    other = block_for(platform.info, ledger_url, instance="local-platform-open", **fields)
    with pytest.raises(InvalidInputError, match=r"in instance crn:.* says local-platform-open"):
        other.experiment("instance")
    # As if the Block had left the instance to its account from the beginning.
    settings = replace(other._settings(), source=Source())
    connection = Connection(other.credentials, other.ledger().environment)
    elsewhere = Experiment(experiment.identity, other.ledger(), connection, settings)
    submit(elsewhere, 0)
    with pytest.raises(InvalidInputError, match="began at the instance"):
        submit(elsewhere, 1)
    assert len(jobs_at(platform.info, experiment)) == 1
    experiment.cancel_session()


@pytest.mark.parametrize("end", ["success", "error", "cancel"])
def test_a_borrowed_session_is_left_open(
    platform: LocalPlatform, block: QuantumSession, theirs: Theirs, end: str
) -> None:
    """However the experiment ends, only its own jobs end with it; a colleague's goes on."""
    session = theirs()
    colleague = _borrowing(block, session, "a colleague's")
    mine = _borrowing(block, session, "mine")
    _run(platform, mine, 0)
    submit(mine, 1)
    submit(colleague, 2)
    match end:
        case "success":
            with mine:
                pass
        case "error":
            with pytest.raises(KeyError), mine:
                raise KeyError(end)
        case _:
            assert mine.cancel_session() is False
    assert session.details()["accepting_jobs"] is True  # type: ignore[index]
    platform.advance(2 * JOB_SECONDS)
    ends = ["completed", "cancelled" if end == "cancel" else "completed"]
    assert [job["state"] for job in jobs_at(platform.info, mine)] == ends
    assert [job["state"] for job in jobs_at(platform.info, colleague)] == ["completed"]


def test_a_block_without_a_backend_takes_the_sessions(
    platform: LocalPlatform, block: QuantumSession, theirs: Theirs
) -> None:
    """The session's backend becomes the experiment's, however busy it is."""
    session = theirs(backend=OTHER_BACKEND)
    experiment = _borrowing(_changed(block, backend_name=None), session)
    _run(platform, experiment, 0)
    jobs = jobs_at(platform.info, experiment)
    assert [(job["backend"], job["session_id"]) for job in jobs] == [
        (OTHER_BACKEND, session.session_id)
    ]


def test_job_mode_borrows_nothing(block: QuantumSession, theirs: Theirs) -> None:
    """Jobs of that mode run in no session, so borrowing one is a contradiction."""
    experiment = _changed(block, mode="job").experiment("alone")
    with pytest.raises(InvalidInputError, match="mode is 'job'"):
        experiment.borrow_session(str(theirs().session_id))
    assert experiment.sessions == []


def test_a_batch_is_borrowed_by_a_block_of_that_mode(
    platform: LocalPlatform, block: QuantumSession, theirs: Theirs
) -> None:
    """Jobs join a colleague's batch, which stays open."""
    batch = theirs(Batch)
    with _borrowing(_changed(block, mode="batch"), batch) as experiment:
        _run(platform, experiment, 0)
    assert _places(platform, experiment) == [batch.session_id]
    assert [one["mode"] for one in sessions_at(platform.info, experiment)] == ["batch"]
    assert batch.details()["accepting_jobs"] is True  # type: ignore[index]


def test_the_session_asked_for_last_is_used(
    platform: LocalPlatform, block: QuantumSession, theirs: Theirs
) -> None:
    """Going back to a session that was borrowed before goes back to it."""
    first, second = theirs(), theirs()
    experiment = _borrowing(block, first)
    for session in (second, first):
        assert experiment.borrow_session(str(session.session_id)) == session.session_id
    submit(experiment, 0)
    assert _places(platform, experiment) == [first.session_id]
