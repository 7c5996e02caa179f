"""What only a server does: restart, close connections, damage, refuse, and keep transactions."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa
from postgres import PASSWORD, Postgres

from session_block.errors import LedgerDamagedError, LedgerUnavailableError, LedgerVersionError
from session_block.ledger.store import Ledger


@pytest.fixture
def url(postgres: Postgres) -> str:
    """Give the URL of a new, empty store."""
    return postgres.new_store()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A new ledger, with one fact and an open connection."""
    with closing(Ledger(url)) as ledger:
        ledger.create("uid", "experiment", {}, b"payload")
        yield ledger


def _backends(postgres: Postgres, ledger: Ledger) -> list[tuple[int, str]]:
    """Return the connections of a ledger, as the server sees them."""
    name = ledger._store.engine.url.query["application_name"]
    return [
        (int(pid), str(state))
        for pid, state in postgres.query(
            f"SELECT pid, state FROM pg_stat_activity WHERE application_name = '{name}'"  # noqa: S608
        )
    ]


AWAY = r"(?s)(refused|closed the connection).*Nothing is submitted"
"""A crashing server may still take a connection, and drop it."""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_a_restart_between_two_calls_is_not_noticed(
    postgres: Postgres, ledger: Ledger, how: signal.Signals
) -> None:
    """While the server is away, calls fail clearly; afterwards the same ledger goes on."""
    postgres.stop(how)
    try:
        for use in (lambda: ledger.create("uid", "once/x", {}), lambda: ledger.facts("uid")):
            with pytest.raises(LedgerUnavailableError, match=AWAY):
                use()
    finally:
        postgres.start()
    assert ledger.create("uid", "once/x", {})[1]
    fact = ledger.get("uid", "experiment")
    assert fact is not None
    assert fact.payload == b"payload"


def test_a_restart_of_which_no_call_knows(postgres: Postgres, ledger: Ledger) -> None:
    """Connections of before are replaced, in whatever thread."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: ledger.create("uid", f"a/{n}", {}), range(20)))
        postgres.stop()
        postgres.start()
        created = list(pool.map(lambda n: ledger.create("uid", f"b/{n}", {})[1], range(20)))
    assert created == [True] * 20
    assert len(ledger.facts("uid")) == 41


def test_a_closed_connection_is_replaced(postgres: Postgres, ledger: Ledger) -> None:
    """A firewall or an administrator closes connections; the next call opens another."""
    uses: list[Callable[[], object]] = [
        lambda: ledger.create("uid", "once/x", {})[1],
        lambda: ledger.facts("uid"),
        lambda: ledger.get("uid", "experiment"),
    ]
    for use in uses:
        assert [
            postgres.query(f"SELECT pg_terminate_backend({pid}, 5000)")
            for pid, _ in _backends(postgres, ledger)
        ] == [[(True,)]]
        assert use()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_create_that_is_cut_off_is_made_once(
    postgres: Postgres, ledger: Ledger, moment: str
) -> None:
    """The connection ends before the insert, or after it and before the commit: told as ours."""
    cut: list[int] = []

    def terminate(connection: sa.Connection, *_: object) -> None:
        if not cut:
            pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
            cut.append(pid)
            postgres.query(f"SELECT pg_terminate_backend({pid}, 5000)")

    sa.event.listen(ledger._store.engine, f"{moment}_cursor_execute", terminate)
    fact, ours = ledger.create("uid", "outcome/s/1", {"job_id": "j1"})
    assert ours
    assert len(cut) == 1
    assert ledger.get("uid", "outcome/s/1") == fact
    assert len(ledger.facts("uid")) == 2


def test_no_transaction_is_left_open(postgres: Postgres, ledger: Ledger) -> None:
    """After every kind of call, refused ones too, no connection is idle in a transaction."""
    ledger.create("uid", "experiment", {})
    ledger.create("uid", "once/x", {})
    assert ledger.get("uid", "none") is None
    assert len(ledger.facts("uid", "once/")) == 1
    postgres.query("ALTER TABLE session_block_facts RENAME TO away", _in(postgres, ledger))
    for use in (lambda: ledger.create("uid", "once/y", {}), lambda: ledger.facts("uid")):
        with pytest.raises(LedgerUnavailableError, match="does not exist"):
            use()
    assert [state for _, state in _backends(postgres, ledger)] == ["idle"]


def _in(postgres: Postgres, ledger: Ledger) -> str:
    """Return the URL of a ledger's store for other statements, under another name."""
    options = str(ledger._store.engine.url.query["options"]).replace("=", "%3D")
    return f"{postgres.url}?options={options}"


_DAMAGES: dict[str, tuple[str, type[Exception], str]] = {
    "newer": (
        "UPDATE session_block_schema SET version = 99",
        LedgerVersionError,
        "version 99.*Upgrade prefect-quantum-sessions",
    ),
    "table lost": (
        "DROP TABLE session_block_schema",
        LedgerDamagedError,
        "lacks session_block_schema",
    ),
    "column lost": (
        "ALTER TABLE session_block_facts DROP COLUMN writer",
        LedgerDamagedError,
        "lacks session_block_facts.writer",
    ),
    "version lost": (
        "DELETE FROM session_block_schema",
        LedgerDamagedError,
        "lacks the schema version",
    ),
}


@pytest.mark.parametrize(("damage", "error", "message"), _DAMAGES.values(), ids=_DAMAGES)
def test_a_damaged_store_is_refused(
    postgres: Postgres, ledger: Ledger, url: str, damage: str, error: type[Exception], message: str
) -> None:
    """The message says what is missing and what to do; nothing is made or mended."""
    postgres.query(damage, _in(postgres, ledger))
    columns = "SELECT * FROM information_schema.columns WHERE table_schema = current_schema()"
    before = postgres.query(columns, _in(postgres, ledger))
    with pytest.raises(error, match=message) as caught:
        Ledger(url)
    assert PASSWORD not in str(caught.value)
    assert "set_aside" not in str(caught.value)
    assert postgres.query(columns, _in(postgres, ledger)) == before


def test_a_damaged_page_is_told(postgres: Postgres, ledger: Ledger) -> None:
    """The server's own checksum finds bytes that changed on its disk."""
    store = _in(postgres, ledger)
    postgres.query("CHECKPOINT", store)
    file = postgres.file("session_block_facts", store)
    postgres.stop()
    with file.open("r+b") as page:
        page.seek(8100)
        page.write(b"damaged")
    postgres.start()
    uses: list[Callable[[], object]] = [
        lambda: ledger.get("uid", "experiment"),
        lambda: ledger.facts("uid"),
        lambda: ledger.create("uid", "experiment", {}),
    ]
    for use in uses:
        with pytest.raises(LedgerDamagedError, match=r"invalid page.*Restore a backup\."):
            use()


def test_a_user_without_the_right_to_make_tables(postgres: Postgres, ledger: Ledger) -> None:
    """Such a user can use a ledger that exists, and is told why it cannot make one."""
    schema = str(ledger._store.engine.url.query["options"]).rpartition("=")[2]
    postgres.query("DROP ROLE IF EXISTS guest")
    postgres.query("CREATE ROLE guest LOGIN PASSWORD 'hunter2'")
    for other in (schema, postgres.new_store().rpartition("=")[2]):
        postgres.query(f"GRANT USAGE ON SCHEMA {other} TO guest")
        postgres.query(f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {other} TO guest")
        guest = postgres.url.replace("tester", "guest") + f"?options=-csearch_path%3D{other}"
        if other == schema:
            with closing(Ledger(guest)) as theirs:
                assert not theirs.create("uid", "experiment", {})[1]
                assert theirs.create("uid", "once/x", {})[1]
        else:
            with pytest.raises(LedgerUnavailableError, match="permission denied"):
                Ledger(guest)
    postgres.query("DROP OWNED BY guest")
    postgres.query("DROP ROLE guest")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_any_encoding_will_do(postgres: Postgres, encoding: str) -> None:
    """PostgreSQL that was set up without a language has none; bodies are ASCII all the same."""
    name = f"old_{encoding.lower()}"
    postgres.query(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    with closing(Ledger(postgres.url.replace("/postgres", f"/{name}"))) as ledger:
        fact, _ = ledger.create("uid", "once/x", {"value": "é🜁"}, b"\xff\x00")
        assert ledger.get("uid", "once/x") == fact


def test_reads_search_the_primary_key(postgres: Postgres, ledger: Ledger) -> None:
    """A prefix is a range of the index, also in a database whose language sorts otherwise."""
    store = _in(postgres, ledger)
    plan = postgres.query(
        "EXPLAIN SELECT body FROM session_block_facts WHERE experiment = 'uid' AND key >= 'once/' "
        "AND key < 'once0'",
        f"{store}%20-cenable_seqscan%3Doff",
    )
    (searched,) = [line for (line,) in plan if "Index Cond" in line]
    assert "'once/'" in searched
    assert "'once0'" in searched
    collations = postgres.query(
        "SELECT collation_name FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND column_name = 'key'",
        store,
    )
    assert collations == [("C",)]
