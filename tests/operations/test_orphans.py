"""Orphan sessions: found by the ledger's intents, and closed only by their ID (P12)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from orphan_helpers import (
    closings,
    die_while_opening,
    intend,
    intend_as,
    open_as_colleague,
    own_max_time,
    send_job,
    sessions_at,
)
from pydantic import SecretStr
from support import BACKEND, Platform, context_of, wait_until

from session_block import IBMSessionCredentials, QuantumSession
from session_block.client import BackendChoice, Connection, ListedJob, ListedSession
from session_block.errors import ConnectionFailedError, InvalidInputError
from session_block.ledger.store import REAL, Ledger
from session_block.local_platform import Admin
from session_block.operations.orphans import (
    CLOCK_SKEW,
    OPENING_TIME,
    Found,
    Opening,
    OrphanFinder,
    openings_of,
)
from session_block.records.identity import Identity, identify
from session_block.records.journal import Journal
from session_block.records.keys import SessionIntent, SessionOutcome
from session_block.records.sender import sending
from session_block.records.sessions import SessionRecord, read_sessions
from session_block.references import SessionDetails
from session_block.sessions.manager import SessionManager
from session_block.settings import SessionPlan
from session_block.tags import uid_tag

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OURS = Identity("ours", 1, "ours")


@pytest.fixture(scope="module")
def connection(platform: Platform) -> Connection:
    """A connection to the local platform."""
    return Connection(platform.credentials().account())


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    """A new ledger."""
    return Ledger(ledger_url)


@pytest.fixture
def finder(ledger: Ledger, connection: Connection) -> OrphanFinder:
    """What is tested."""
    return OrphanFinder(ledger, connection)


@pytest.fixture
def max_time() -> int:
    """The test's own max time."""
    return own_max_time()


def _manager(ledger: Ledger, connection: Connection, max_time: int, name: str) -> SessionManager:
    plan = SessionPlan(backend_name=BACKEND, max_time_seconds=max_time)
    return SessionManager(context_of(ledger, identify(ledger, name).uid), connection, plan)


def _ids(finder: OrphanFinder) -> list[str]:
    return [orphan.session_id for orphan in finder.find()]


def test_a_session_whose_sender_was_killed_is_found_and_closed_by_its_id(
    platform: Platform,
    block: QuantumSession,
    ledger: Ledger,
    ledger_url: str,
    finder: OrphanFinder,
    max_time: int,
) -> None:
    """P12: the platform has the session, the ledger only its intent; a deed says who closed it."""
    orphan = die_while_opening(platform, ledger_url, max_time)
    [found] = finder.find()
    assert found.session_id == orphan
    assert [opening.experiment.name for opening in found.openings] == ["cut off"]
    assert sessions_at(platform)[orphan]["state"] == "open"

    assert [one.session_id for one in finder.close([orphan])] == [orphan]
    assert sessions_at(platform)[orphan]["state"] == "closed"
    assert finder.find() == []
    uid = identify(ledger, "cut off").uid
    assert [record.kind for record in read_sessions(Journal(ledger, uid))] == ["lost"]
    [deed] = ledger.facts(uid, "operator/")
    assert deed.key == f"operator/session/{orphan}/sweep"
    assert "@" in deed.body["by"]

    resumed = block.model_copy(update={"max_time": max_time}).experiment("cut off")
    assert resumed.open_session() not in {None, orphan}
    assert resumed.close_session() is True


def test_looking_closes_nothing(
    platform: Platform, connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """P12: nothing is closed unless its ID is given."""
    intend(ledger, connection, max_time)
    session = open_as_colleague(connection, max_time)
    before = closings(platform)
    assert _ids(finder) == [session.session_id]
    assert finder.close([]) == []
    assert closings(platform) == before
    session.cancel()


def test_a_session_of_another_max_time_is_no_orphan(
    connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """A colleague's session on the same backend at the same time is not ours."""
    intend(ledger, connection, max_time)
    colleagues = open_as_colleague(connection, own_max_time())
    assert finder.find() == []
    colleagues.cancel()


def test_a_session_with_a_foreign_job_is_no_orphan(
    platform: Platform, connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """P12: a session belongs to whoever runs a job in it, even if the job was deleted since."""
    intend(ledger, connection, max_time)
    colleagues = open_as_colleague(connection, max_time)
    job = send_job(connection, colleagues, ["theirs"])
    job.result()
    assert finder.find() == []
    connection.service.delete_job(job.job_id())
    assert connection.jobs.of_session(str(colleagues.session_id)) == []
    assert finder.find() == []
    before = closings(platform)
    with pytest.raises(InvalidInputError, match="no orphan"):
        finder.close([str(colleagues.session_id)])
    assert closings(platform) == before
    colleagues.cancel()


def test_a_job_of_the_experiment_is_not_foreign(
    connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """A job with the experiment's own tag does not hide its orphan."""
    uid = intend(ledger, connection, max_time)
    session = open_as_colleague(connection, max_time)
    send_job(connection, session, [uid_tag(uid)]).result()
    [orphan] = finder.find()
    assert orphan.session_id == session.session_id
    assert orphan.described()["jobs"] == 1
    session.cancel()


def test_a_session_that_any_experiment_of_the_ledger_knows_is_no_orphan(
    connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """A session that an experiment opened or borrowed then is its own, or its lender's."""
    intend(ledger, connection, max_time)
    opener = _manager(ledger, connection, max_time, "another one")
    opener.current()
    lent = open_as_colleague(connection, max_time)
    _manager(ledger, connection, max_time, "a borrower").borrow(str(lent.session_id))
    assert finder.find() == []
    opener.close()
    lent.cancel()


def test_a_sender_that_may_be_alive_hides_its_session(
    connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """A session being opened is no orphan yet, even if a dead sender would match."""
    intend(ledger, connection, max_time)
    with sending(REAL) as alive:
        intend_as(alive, ledger, connection, max_time, "being opened")
        session = open_as_colleague(connection, max_time)
        assert finder.find() == []
    [orphan] = finder.find()
    assert [one.experiment.name for one in orphan.openings] == ["cut off", "being opened"]
    session.cancel()


def test_a_sender_that_records_its_session_at_the_last_moment_keeps_it(
    platform: Platform, connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """``close`` looks again right before it closes: the session may be no orphan by then."""
    uid = intend(ledger, connection, max_time)
    session = open_as_colleague(connection, max_time)
    admin = Admin.of(platform.info)
    before = closings(platform)
    slow = admin.add_fault(kind="delay", method="GET", path="/workloads", seconds=1)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(finder.close, [str(session.session_id)])
        wait_until(
            lambda: [fault for fault in admin.faults() if fault["id"] == slow and fault["used"]],
            seconds=10,
            what="the finder has read the ledger and is listing sessions",
        )
        Journal(ledger, uid).record(
            SessionOutcome(number=1, kind="opened", session_id=session.session_id)
        )
        with pytest.raises(InvalidInputError, match="sessions close"):
            closing.result()
    admin.clear_faults(slow)
    assert closings(platform) == before
    assert finder.find() == []
    session.cancel()


def test_a_listing_that_fails_is_an_error_and_not_an_empty_one(
    platform: Platform, connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """Without an answer from the platform nothing is known: no empty list, and no closing."""
    intend(ledger, connection, max_time)
    session = open_as_colleague(connection, max_time)
    before = closings(platform)
    for path in ("/workloads", "/jobs"):
        fault = {"kind": "status", "method": "GET", "path": path, "status": 400}
        Admin.of(platform.info).add_fault(**fault)
        with pytest.raises(ConnectionFailedError, match="Could not list"):
            finder.close([str(session.session_id)])
    assert closings(platform) == before
    session.cancel()


def test_an_ended_session_is_no_orphan(
    connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """An ended session needs no closing, and cannot be closed."""
    intend(ledger, connection, max_time)
    session = open_as_colleague(connection, max_time)
    session.close()
    assert finder.find() == []
    with pytest.raises(InvalidInputError, match=str(session.session_id)):
        finder.close([str(session.session_id)])


def test_another_instance_finds_nothing(
    platform: Platform, connection: Connection, ledger: Ledger, max_time: int
) -> None:
    """An intent counts only at its own instance, whatever the Block connects to."""
    intend(ledger, connection, max_time, instance="elsewhere")
    session = open_as_colleague(connection, max_time)
    assert OrphanFinder(ledger, connection).find() == []
    intend(ledger, connection, max_time)
    crns = [one["crn"] for one in connection.service.instances()]
    elsewhere = IBMSessionCredentials(
        token=SecretStr(platform.info.token),
        instance=next(crn for crn in crns if crn != connection.instance),
        url=platform.info.origin,
    )
    finder = OrphanFinder(ledger, Connection(elsewhere.account()))
    assert finder.find() == []
    with pytest.raises(InvalidInputError, match="no orphan"):
        finder.close([str(session.session_id)])
    session.cancel()


def test_an_intent_to_borrow_opens_nothing(
    connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """A killed borrower leaves no orphan, and the session it wanted to borrow is none."""
    lent = open_as_colleague(connection, max_time)
    other = open_as_colleague(connection, max_time)
    uid = identify(ledger, "a borrower").uid
    Journal(ledger, uid).record(
        SessionIntent(
            number=1,
            backend=BACKEND,
            instance=connection.instance,
            url=None,
            mode="session",
            max_time_seconds=None,
            borrowed=lent.session_id,
        )
    )
    assert finder.find() == []
    intend(ledger, connection, max_time)
    assert _ids(finder) == [other.session_id]
    lent.cancel()
    other.cancel()


def test_a_batch_is_an_orphan_too(
    platform: Platform, connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """A batch whose opening was cut off is found; a session is not taken for it."""
    intend(ledger, connection, max_time, mode="batch")
    session = open_as_colleague(connection, max_time)
    batch = connection.sessions.open(BackendChoice(BACKEND), max_time, "batch")
    assert _ids(finder) == [batch.session_id]
    finder.close([str(batch.session_id)])
    states = sessions_at(platform)
    assert states[str(batch.session_id)]["state"] == "closed"
    assert states[str(session.session_id)]["state"] == "open"
    session.cancel()


def test_all_that_match_are_listed_once_and_closed_together_or_not_at_all(
    platform: Platform, connection: Connection, ledger: Ledger, finder: OrphanFinder, max_time: int
) -> None:
    """Two openings and two sessions make two orphans; one wrong ID keeps all of them open."""
    intend(ledger, connection, max_time)
    intend(ledger, connection, max_time, "cut off too")
    ids = [str(open_as_colleague(connection, max_time).session_id) for _ in range(2)]
    found = finder.find()
    assert [orphan.session_id for orphan in found] == ids
    assert all(len(orphan.openings) == 2 for orphan in found)
    before = closings(platform)
    with pytest.raises(InvalidInputError, match=r"^nowhere: no orphan"):
        finder.close([ids[0], "nowhere"])
    assert closings(platform) == before
    assert [orphan.session_id for orphan in finder.close([*ids, ids[0]])] == ids
    assert closings(platform) == before + 2


def _opening(**more: Any) -> Opening:
    asked = {"backend": BACKEND, "instance": "here", "mode": "session", "max_time_seconds": 600}
    intent = SessionIntent(number=1, url=None, recorded_at=NOON, **{**asked, **more})
    record = SessionRecord(1, intent, kind="lost", session_id=None, end=None)
    return Opening(OURS, record)


def _found(created: datetime = NOON, *jobs: ListedJob, **more: Any) -> Found:
    details = SessionDetails(**{"id": "s", "state": "open", "max_time": 600, **more})
    return Found(ListedSession("s", "session", BACKEND, created, "pending"), details, jobs)


def _job(*tags: str) -> ListedJob:
    return ListedJob("j", NOON.isoformat(), "Completed", "s", tags)


@pytest.mark.parametrize(
    ("seconds", "matches"),
    [
        (-CLOCK_SKEW.total_seconds() - 1, False),
        (-CLOCK_SKEW.total_seconds(), True),
        (0, True),
        ((OPENING_TIME + CLOCK_SKEW).total_seconds(), True),
        ((OPENING_TIME + CLOCK_SKEW).total_seconds() + 1, False),
    ],
)
def test_a_session_matches_around_the_time_of_its_intent(seconds: float, matches: bool) -> None:
    """It was opened within the sender's time, give or take the clocks' difference."""
    found = _found(NOON + timedelta(seconds=seconds))
    assert bool(openings_of(found, [_opening()])) is matches


@pytest.mark.parametrize(
    ("found", "opening", "matches"),
    [
        (_found(), _opening(), True),
        (_found(max_time=601), _opening(), False),
        (_found(max_time=601), _opening(max_time_seconds=None), True),
        (_found(), _opening(mode=None), True),
        (_found(), _opening(mode="batch"), False),
        (_found(), _opening(backend="ibm_nairobi"), False),
        (_found(), replace(_opening(), under_way=True), False),
        (_found(state="closed", accepting_jobs=False), _opening(), False),
        (_found(state="active", accepting_jobs=False), _opening(), False),
        (_found(NOON, _job(uid_tag("ours"))), _opening(), True),
        (_found(NOON, _job(uid_tag("theirs"))), _opening(), False),
        (_found(NOON, _job()), _opening(), False),
        (_found(NOON, _job(uid_tag("ours")), _job()), _opening(), False),
        (_found(last_job_started=NOON), _opening(), False),
    ],
)
def test_an_orphan_matches_in_everything_and_holds_no_foreign_job(
    found: Found, opening: Opening, matches: bool
) -> None:
    """P12: backend, mode, max time, an intent whose sender is gone, and no foreign job."""
    assert bool(openings_of(found, [opening])) is matches


def test_an_opening_under_way_elsewhere_hides_nothing() -> None:
    """Only an opening that could have opened this session keeps it from being an orphan."""
    elsewhere = replace(_opening(max_time_seconds=601), under_way=True)
    assert openings_of(_found(), [elsewhere, _opening()]) == (_opening(),)
