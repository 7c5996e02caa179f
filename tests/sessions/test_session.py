"""One experiment, one session: opened once, found again, replaced only when it has ended."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from qiskit_ibm_runtime import Batch
from support import BACKEND, CHOICE, Platform, attached, context_of

from session_block import local_platform
from session_block.client import BackendChoice, Connection
from session_block.errors import (
    ConnectionFailedError,
    SessionClosedError,
    SessionError,
    SessionMismatchError,
    SessionNotFoundError,
)
from session_block.ledger.store import REAL, Ledger
from session_block.records.journal import Journal
from session_block.records.keys import Sender, SessionIntent, SessionOutcome
from session_block.records.sender import sending
from session_block.records.sessions import read_sessions
from session_block.sessions.manager import SessionManager
from session_block.settings import SessionPlan

PLAN = SessionPlan(BACKEND, max_time_seconds=600)


@pytest.fixture(scope="module")
def connection(platform: Platform) -> Connection:
    """A connection to the local platform."""
    return Connection(platform.credentials().account())


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    """A new ledger."""
    return Ledger(ledger_url)


@pytest.fixture
def uid() -> str:
    """A new experiment."""
    return uuid4().hex[:16]


@pytest.fixture
def manager(connection: Connection, ledger: Ledger, uid: str) -> SessionManager:
    """The experiment's manager of sessions."""
    return SessionManager(context_of(ledger, uid), connection, PLAN)


def _intent(number: int, sender: Sender) -> SessionIntent:
    """Return what an opener records before it opens a session."""
    return SessionIntent(
        number=number,
        backend=BACKEND,
        instance=None,
        url=None,
        mode="session",
        max_time_seconds=None,
        sender=sender,
    )


def _again(manager: SessionManager, ledger: Ledger, uid: str) -> SessionManager:
    """Return what another process would make."""
    return SessionManager(context_of(ledger, uid), manager.connection, PLAN)


def test_a_session_is_opened_once(
    manager: SessionManager, ledger: Ledger, uid: str, platform: Platform
) -> None:
    """P4: whoever opens the experiment again gets the open session."""
    before = platform.sessions()
    session_id = manager.current().session_id
    assert manager.current().session_id == session_id
    assert _again(manager, ledger, uid).current().session_id == session_id
    assert platform.sessions() == before + 1
    assert manager.details().max_time == 600
    manager.close()


def test_many_threads_share_one_session(
    manager: SessionManager, ledger: Ledger, uid: str, platform: Platform
) -> None:
    """Concurrent first uses, in this manager and in another process's, open one session."""
    before = platform.sessions()
    other = _again(manager, ledger, uid)
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda n: (manager if n % 2 else other).current().session_id, range(16)))
    assert len(ids) == 1
    assert platform.sessions() == before + 1
    manager.close()


def test_a_session_that_is_over_is_replaced_once(
    manager: SessionManager, ledger: Ledger, uid: str, platform: Platform
) -> None:
    """P4: a new session is opened when the old one has ended by time, and all share it."""
    first = str(manager.current().session_id)
    platform.admin.end_session(first, "max_time")
    before = platform.sessions()
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda _: manager.replace(first).session_id, range(8)))
    assert len(ids) == 1
    assert first not in ids
    assert platform.sessions() == before + 1
    assert [record.end for record in read_sessions(Journal(ledger, uid))] == [
        "closed by the platform",
        None,
    ]
    manager.close()


def test_a_session_that_ended_meanwhile_is_noticed_when_reattaching(
    manager: SessionManager, ledger: Ledger, uid: str, platform: Platform
) -> None:
    """A restart finds that its session is closed and opens the next one."""
    first = str(manager.current().session_id)
    platform.admin.end_session(first, "max_time")
    second = _again(manager, ledger, uid)
    assert second.current().session_id != first
    second.close()


def test_an_opening_that_was_cut_off_is_reported(
    manager: SessionManager, ledger: Ledger, uid: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An intent whose sender is gone is never repaired by guessing; the next session is opened."""
    with sending(REAL) as gone:
        pass
    Journal(ledger, uid).record(_intent(1, gone))
    with caplog.at_level(logging.WARNING):
        assert manager.current().session_id is not None
    assert "cut off" in caplog.text
    assert [record.kind for record in read_sessions(Journal(ledger, uid))] == ["lost", "opened"]
    manager.close()


def test_an_opening_by_a_living_sender_is_waited_for(
    manager: SessionManager, ledger: Ledger, uid: str, platform: Platform
) -> None:
    """While another opener is at work nobody opens a second session."""
    other = manager.connection.sessions.open(CHOICE, 60)
    before = platform.sessions()
    with sending(REAL) as alive:
        Journal(ledger, uid).record(_intent(1, alive))
        found: list[str | None] = []
        waiter = threading.Thread(target=lambda: found.append(manager.current().session_id))
        waiter.start()
        waiter.join(0.5)
        assert waiter.is_alive()
        Journal(ledger, uid).record(
            SessionOutcome(number=1, kind="opened", session_id=other.session_id)
        )
        waiter.join(10)
    assert found == [other.session_id]
    assert platform.sessions() == before
    manager.close()


def test_a_refused_opening_is_an_error_and_not_in_the_way(
    manager: SessionManager, ledger: Ledger, uid: str, platform: Platform
) -> None:
    """A platform that refuses to open a session is said so; the next try opens the next one."""
    platform.admin.add_fault(kind="status", status=403, method="POST", path="/sessions")
    with pytest.raises(ConnectionFailedError, match="open a session"):
        manager.current()
    assert [record.kind for record in read_sessions(Journal(ledger, uid))] == ["refused"]
    assert manager.current().session_id is not None
    manager.close()


def test_a_borrowed_session_is_never_closed(
    manager: SessionManager, connection: Connection
) -> None:
    """P5: only the experiment that opened a session closes it."""
    theirs = connection.sessions.open(CHOICE, 600)
    assert manager.borrow(str(theirs.session_id)).session_id == theirs.session_id
    assert manager.close() is False
    assert manager.close(cancel_jobs=True) is False
    details = theirs.details()
    assert details is not None
    assert details["state"] == "open"
    theirs.cancel()


def test_a_borrowed_session_is_never_renewed(
    manager: SessionManager, ledger: Ledger, uid: str, connection: Connection, platform: Platform
) -> None:
    """When a borrowed session has ended, the experiment says so and opens none of its own."""
    theirs = connection.sessions.open(CHOICE, 600)
    manager.borrow(str(theirs.session_id))
    platform.admin.end_session(str(theirs.session_id), "max_time")
    before = platform.sessions()
    with pytest.raises(SessionClosedError, match="borrowed"):
        manager.replace(str(theirs.session_id))
    with pytest.raises(SessionClosedError, match="borrowed"):
        _again(manager, ledger, uid).current()
    assert platform.sessions() == before


def test_a_batch_is_no_session(manager: SessionManager, connection: Connection) -> None:
    """The ID of a batch is refused with the mode that it has."""
    batch = Batch(connection.backends.get(CHOICE), max_time=60)
    with pytest.raises(SessionMismatchError, match="'batch'"):
        manager.borrow(str(batch.session_id))
    batch.cancel()


def test_outages_do_not_use_up_the_sessions(
    manager: SessionManager, ledger: Ledger, uid: str
) -> None:
    """Only sessions that were opened count against an experiment's number of them."""
    with sending(REAL) as gone:
        journal = Journal(ledger, uid)
    for number in range(1, 30):
        journal.record(_intent(number, gone))
        journal.record(SessionOutcome(number=number, kind="refused"))
    assert manager.current().session_id is not None
    manager.close()


def test_an_own_session_is_closed_also_after_borrowing(
    manager: SessionManager, connection: Connection
) -> None:
    """Borrowing another session leaves none of the experiment's own open for ever."""
    own = str(manager.current().session_id)
    theirs = connection.sessions.open(CHOICE, 600)
    manager.borrow(str(theirs.session_id))
    assert manager.close() is True
    assert attached(connection, own).status() == "Closed"
    assert theirs.status() == "Pending"
    theirs.cancel()


def test_details_open_nothing(manager: SessionManager, platform: Platform) -> None:
    """Details of a session that is closed are its last; before the first there are none."""
    before = platform.sessions()
    with pytest.raises(SessionError, match="not opened a session yet"):
        manager.details()
    session_id = manager.current().session_id
    manager.close()
    assert manager.details().id == session_id
    assert manager.details().state == "closed"
    assert platform.sessions() == before + 1


def test_what_cannot_be_borrowed_is_refused(
    manager: SessionManager, connection: Connection
) -> None:
    """An unknown session, one of another backend and a closed one each have their own error."""
    with pytest.raises(SessionNotFoundError):
        manager.borrow("nowhere")
    elsewhere = connection.sessions.open(BackendChoice("ibm_nairobi"), 60)
    with pytest.raises(SessionMismatchError):
        manager.borrow(str(elsewhere.session_id))
    elsewhere.cancel()
    closed = connection.sessions.open(CHOICE, 60)
    attached(connection, str(closed.session_id)).cancel()
    with pytest.raises(SessionClosedError, match="closed"):
        manager.borrow(str(closed.session_id))


def test_closing_is_recorded_and_done_once(
    manager: SessionManager, ledger: Ledger, uid: str, connection: Connection
) -> None:
    """A second close finds nothing to do, in this process and in the next."""
    session_id = str(manager.current().session_id)
    assert manager.close() is True
    assert manager.close() is False
    assert _again(manager, ledger, uid).close() is False
    assert attached(connection, session_id).status() == "Closed"


def test_a_process_that_dies_closes_nothing(
    platform: Platform, ledger_url: str, uid: str, connection: Connection
) -> None:
    """P5: SIGKILL, and also an ordinary end of the process, leave the session open."""
    code = (
        "import os, signal, sys\n"
        "from session_block import LocalPlatformCredentials\n"
        "from session_block.client import BackendChoice, Connection\n"
        "from session_block.ledger.store import Ledger\n"
        "from session_block.records.context import ExperimentContext\n"
        "from session_block.records.identity import Identity\n"
        "from session_block.records.journal import Journal\n"
        "from session_block.settings import SessionPlan\n"
        "from session_block.sessions.manager import SessionManager\n"
        "credentials = LocalPlatformCredentials(state_dir=sys.argv[1])\n"
        "journal = Journal(Ledger(sys.argv[2]), sys.argv[3])\n"
        "context = ExperimentContext(Identity('test', 1, sys.argv[3]), journal)\n"
        "manager = SessionManager(context,\n"
        "    Connection(credentials.account()), SessionPlan('ibm_manila', max_time_seconds=600))\n"
        "print(manager.current().session_id, flush=True)\n"
        "if sys.argv[4] == 'kill': os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ids = []
    for end in ("kill", "return"):
        ran = subprocess.run(
            [sys.executable, "-c", code, str(platform.info.state_dir), ledger_url, uid, end],
            check=False,
            capture_output=True,
            text=True,
        )
        ids.append(ran.stdout.strip())
    assert ids[0]
    assert ids[0] == ids[1]
    session = attached(connection, ids[0])
    assert session.status() == "Pending"
    session.cancel()


def test_the_platform_is_found_not_started_twice(platform: Platform) -> None:
    """Credentials of one state directory share one platform."""
    platform.credentials().account()
    found = local_platform.find(platform.info.state_dir)
    assert found is not None
    assert found.pid == platform.info.pid
