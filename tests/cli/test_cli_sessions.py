"""``session-block sessions``, as an operator types it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import Result
from orphan_helpers import (
    cancellations,
    closings,
    die_while_opening,
    intend,
    open_as_colleague,
    own_max_time,
    send_job,
    sessions_at,
)
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr
from support import BACKEND, Platform, free_port
from typer.testing import CliRunner

from session_block import IBMSessionCredentials, QuantumSession
from session_block.cli import app
from session_block.client import Connection
from session_block.errors import ExperimentStoppedError
from session_block.records.journal import Journal
from session_block.records.stops import resume
from session_block.references import SessionDetails


@pytest.fixture(scope="module")
def connection(platform: Platform) -> Connection:
    """A colleague's connection to the local platform."""
    return Connection(platform.credentials().account())


@pytest.fixture
def block(platform: Platform, ledger_url: str) -> QuantumSession:
    """An unsaved Block with the test's own max time and ledger."""
    return QuantumSession(
        credentials=platform.credentials(),
        backend_name=BACKEND,
        max_time=own_max_time(),
        ledger_url=SecretStr(ledger_url),
    )


@pytest.fixture
def max_time(block: QuantumSession) -> int:
    """The max time of the Block's sessions."""
    return int(str(block.max_time))


@pytest.fixture
def orphan(block: QuantumSession, connection: Connection, max_time: int) -> str:
    """A session whose sender is gone and recorded only the intent."""
    intend(block.ledger(), connection, max_time)
    return str(open_as_colleague(connection, max_time).session_id)


def _run(*arguments: str, code: int = 0) -> Result:
    ran = CliRunner().invoke(app, ["sessions", *arguments], env={"COLUMNS": "200"})
    assert ran.exit_code == code, ran.output
    return ran


def _json(*arguments: str, code: int = 0) -> Any:
    return json.loads(_run(*arguments, "--json", code=code).stdout)


def test_orphans_are_listed_and_not_closed(
    platform: Platform, saved_block: str, orphan: str
) -> None:
    """``orphans`` shows the orphan and how to close it; the server sees no request to close.

    The exit code says that somebody has to decide.
    """
    before = closings(platform)
    shown = _run("orphans", "--block", saved_block, code=3).stdout
    assert orphan in shown
    assert "'cut off'" in shown
    assert "sessions orphans --close ID" in shown
    assert closings(platform) == before
    assert sessions_at(platform)[orphan]["state"] == "open"


@pytest.mark.rest
def test_an_orphan_is_closed_by_its_id(
    platform: Platform, saved_block: str, ledger_url: str, max_time: int, connection: Connection
) -> None:
    """``orphans --close ID`` closes a killed process's session, and no colleague's beside it."""
    orphan = die_while_opening(platform, ledger_url, max_time)
    colleagues = open_as_colleague(connection, own_max_time())
    used = open_as_colleague(connection, max_time)
    send_job(connection, used, ["theirs"])
    found = _json("orphans", "--block", saved_block, code=3)
    assert [one["session_id"] for one in found] == [orphan]
    [closed] = _json("orphans", "--block", saved_block, "--close", orphan)
    assert closed["session_id"] == orphan
    assert closed["openings"][0]["experiment"] == "cut off"
    states = {one: state["state"] for one, state in sessions_at(platform).items()}
    assert states[orphan] == "closed"
    assert states[str(colleagues.session_id)] == "open"
    assert states[str(used.session_id)] != "closed"
    assert "No orphan sessions." in _run("orphans", "--block", saved_block).stdout
    facts = _json("show", orphan, "--block", saved_block)["facts"]
    assert [key for _, _, key, _ in facts] == [f"operator/session/{orphan}/sweep"]
    assert [one["kind"] for one in _json("list", "--block", saved_block)] == ["lost"]
    colleagues.cancel()
    used.cancel()


def test_what_is_no_orphan_is_not_closed(
    platform: Platform, saved_block: str, orphan: str, connection: Connection
) -> None:
    """One unknown ID, or a colleague's, is refused with the reason; the orphan stays open too."""
    colleagues = open_as_colleague(connection, own_max_time())
    before = closings(platform)
    for other in ("nowhere", str(colleagues.session_id)):
        arguments = ("orphans", "--block", saved_block, "--close", orphan, "--close", other)
        refused = _run(*arguments, code=1).stderr
        assert f"{other}: no orphan" in refused
        assert "sessions close ID" in refused
    assert closings(platform) == before
    colleagues.cancel()


@pytest.mark.rest
def test_a_block_of_another_instance_finds_no_orphan(
    platform: Platform, saved_block: str, orphan: str, connection: Connection, block: QuantumSession
) -> None:
    """The same ledger with credentials of another instance lists and closes nothing."""
    crns = [one["crn"] for one in connection.service.instances()]
    credentials = IBMSessionCredentials(
        token=SecretStr(platform.info.token),
        instance=next(crn for crn in crns if crn != connection.instance),
        url=platform.info.origin,
    )
    elsewhere = f"{saved_block}-elsewhere"
    block.model_copy(update={"credentials": credentials}).save(elsewhere)
    assert _json("orphans", "--block", elsewhere) == []
    _run("orphans", "--block", elsewhere, "--close", orphan, code=1)
    assert "has no session" in _run("show", orphan, "--block", elsewhere, code=1).stderr
    assert sessions_at(platform)[orphan]["state"] == "open"


def test_sessions_are_listed_from_the_ledger_alone(
    platform: Platform, block: QuantumSession, ledger_url: str
) -> None:
    """Their experiment, how they began and how they ended; the platform is not asked."""
    assert "No sessions." in _run("list", "--ledger-url", ledger_url).stdout
    first, second = (block.experiment(name) for name in ("first", "second"))
    one, two = first.open_session(), second.open_session()
    first.close_session()
    before = platform.stats()["requests"]
    rows = _json("list", "--ledger-url", ledger_url)
    asked = {*platform.stats()["requests"].items()} - {*before.items()}
    assert [route for route, _ in asked] == ["GET /_local/stats"]
    assert [(row["experiment"], row["session_id"], row["kind"]) for row in rows] == [
        ("first", one, "opened"),
        ("second", two, "opened"),
    ]
    assert [row["end"] for row in rows] == ["closed by the experiment", None]
    assert {row["backend"] for row in rows} == {BACKEND}
    assert [row["session_id"] for row in _json("list", "second", "--ledger-url", ledger_url)] == [
        two
    ]
    shown = _run("list", "--ledger-url", ledger_url).stdout
    assert str(one)[:8] in shown
    assert "closed by the experiment" in shown
    short = _json("show", str(one)[:8], "--ledger-url", ledger_url)
    assert short == _json("show", str(one), "--ledger-url", ledger_url)
    assert short["session_id"] == one
    assert "has no experiment" in _run("list", "third", "--ledger-url", ledger_url, code=1).stderr
    second.close_session()


def test_a_live_list_asks_the_platform(
    saved_block: str, block: QuantumSession, ledger_url: str, connection: Connection
) -> None:
    """``--live`` adds state and usage, and needs a Block."""
    experiment = block.experiment("live")
    session_id = str(experiment.open_session())
    lent = open_as_colleague(connection, own_max_time())
    send_job(connection, lent, []).result()
    block.experiment("a borrower").borrow_session(str(lent.session_id))
    rows = _json("list", "--live", "--block", saved_block)
    assert (rows[0]["session_id"], rows[0]["state"]) == (session_id, "open")
    assert rows[0]["usage_seconds"] == 0
    assert rows[1]["usage_seconds"] > 0
    assert "open" in _run("list", "--live", "--block", saved_block).stdout
    assert "--block NAME" in _run("list", "--live", "--ledger-url", ledger_url, code=1).stderr
    experiment.close_session()
    lent.cancel()


def test_a_session_is_shown_with_its_facts_and_all_details(
    saved_block: str, block: QuantumSession, ledger_url: str
) -> None:
    """The ledger gives its facts; with a Block the platform gives every field of its details."""
    experiment = block.experiment("shown")
    session_id = str(experiment.open_session())
    alone = _json("show", session_id, "--ledger-url", ledger_url)
    assert alone["platform"] is None
    assert [key for _, _, key, _ in alone["facts"]] == ["session-intent/1", "session/1"]
    details = _json("show", session_id, "--block", saved_block)["platform"]
    assert set(details) == {*SessionDetails.model_fields, "status"}
    assert details["max_time"] == block.max_time
    shown = _run("show", session_id, "--block", saved_block).stdout
    assert "session-intent/1" in shown
    assert "interactive_timeout" in shown
    assert "--block" in _run("show", "nowhere", "--ledger-url", ledger_url, code=1).stderr
    experiment.close_session()


def test_a_session_that_has_no_backend_yet_is_shown_like_any_other(
    saved_block: str, block: QuantumSession, connection: Connection
) -> None:
    """Other clients open such sessions; an experiment may borrow them."""
    api = connection.service._get_api_client(connection.instance)
    session_id = api.create_session(None, connection.instance, own_max_time(), "dedicated")["id"]
    assert _run("show", session_id, "--block", saved_block).exit_code == 0
    block.experiment("a borrower").borrow_session(session_id)
    [row] = _json("list", "--live", "--block", saved_block)
    assert (row["session_id"], row["state"]) == (session_id, "open")
    api.cancel_session(session_id)


def test_an_opened_session_is_closed_and_its_experiment_told(
    platform: Platform, saved_block: str, block: QuantumSession
) -> None:
    """``close`` closes it at the platform and records why; a second ``close`` changes nothing."""
    experiment = block.experiment("closed from outside")
    session_id = str(experiment.open_session())
    assert "Closed session" in _run("close", session_id, "--block", saved_block).stdout
    assert sessions_at(platform)[session_id]["state"] == "closed"
    [record] = experiment.sessions
    assert (record.closing, record.end) == ("closed by an operator", "closed by an operator")
    story = [key for _, _, key, _ in _json("show", session_id, "--block", saved_block)["facts"]]
    assert story[2:] == [
        "stopped/000001",
        f"operator/session/{session_id}/close",
        "session-closing/1",
        "session-end/1",
    ]
    again = _json("close", session_id, "--block", saved_block)
    assert again == {"session_id": session_id, "closed": False, "cancelled": False}
    assert experiment.sessions == [record]

    resumed = block.experiment("closed from outside")
    with pytest.raises(ExperimentStoppedError, match="closed its session"):
        resumed.open_session()
    resume(Journal(block.ledger(), resumed.uid), resumed.identity, "a test")
    assert resumed.open_session() != session_id
    resumed.close_session()


def test_a_session_can_be_cancelled_instead(
    platform: Platform, saved_block: str, block: QuantumSession
) -> None:
    """``close --cancel`` cancels the session; the experiment takes it as cancelled by its user."""
    experiment = block.experiment("cancelled from outside")
    session_id = str(experiment.open_session())
    before = cancellations(platform)
    assert _json("close", session_id, "--block", saved_block, "--cancel")["cancelled"] is True
    assert cancellations(platform) == before + 1
    assert sessions_at(platform)[session_id]["state"] == "closed"
    assert [record.closing for record in experiment.sessions] == ["cancelled by the user"]
    deeds = [key for _, _, key, _ in _json("show", session_id, "--block", saved_block)["facts"]]
    assert f"operator/session/{session_id}/cancel" in deeds


def test_a_borrowed_session_and_an_unknown_one_are_left_open(
    platform: Platform, saved_block: str, block: QuantumSession, connection: Connection
) -> None:
    """P5: ``close`` refuses what this ledger's experiments did not open, and says what to do."""
    lent = open_as_colleague(connection, own_max_time())
    unknown = open_as_colleague(connection, own_max_time())
    block.experiment("a borrower").borrow_session(str(lent.session_id))
    before = closings(platform)
    refused = _run("close", str(lent.session_id), "--block", saved_block, code=1).stderr
    assert "borrowed by experiment 'a borrower'" in refused
    assert "ask them" in refused
    refused = _run("close", str(unknown.session_id), "--block", saved_block, "--cancel", code=1)
    assert "sessions orphans" in refused.stderr
    assert closings(platform) == before
    lent.cancel()
    unknown.cancel()


def test_an_unknown_block_is_an_error(prefect_server: str) -> None:
    """The message names the Block, and the exit code is 1."""
    assert prefect_server
    assert "'no-such-block'" in _run("orphans", "--block", "no-such-block", code=1).stderr


def test_a_prefect_server_that_is_down_is_an_error() -> None:
    """The message says what could not be loaded and from where; there is no traceback."""
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        refused = _run("orphans", "--block", "any", code=2).stderr
    assert "Block 'any'" in refused
    assert "PREFECT_API_URL" in refused
