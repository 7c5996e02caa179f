"""Where a ledger lies, what its URL may be, and what is never shown of it."""

from __future__ import annotations

import gc
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgres import PASSWORD, Postgres

from session_block.errors import LedgerUnavailableError
from session_block.ledger.store import Ledger
from session_block.ledger.urls import default_ledger_url


@pytest.fixture
def ledger(store_url: str) -> Iterator[Ledger]:
    """A new ledger."""
    with closing(Ledger(store_url)) as ledger:
        yield ledger


def _told(error: BaseException | None) -> str:
    """Return what a traceback shows of an error and of all that led to it."""
    if error is None:
        return ""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{error} {error!r} {_told(cause)}"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+nosuchdriver://user:hunter2@127.0.0.1:1/db",
        "postgresql://user:hunter2@127.0.0.1:1/db",
        "postgresql://user:hunter2@127.0.0.1:hunter2/db",
        "postgresql://user:pass/hunter2@127.0.0.1/db",
        "postgresql://127.0.0.1:1/db?password=hunter2&user=user",
        "postgresql://127.0.0.1:1/db?nonsense=hunter2",
        "postgresql+asyncpg://user:hunter2@127.0.0.1:1/db",
        "nosuchdatabase://user:hunter2@host/db?password=hunter2",
        "mysql://user:hunter2@host/db",
        "sqlite:////dev/null/at/all/ledger.db?password=hunter2",
        "sqlite:////tmp?password=hunter2",
        "hunter2",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    """The error of a store that cannot be opened holds neither part of the URL's secrets."""
    with pytest.raises(LedgerUnavailableError) as caught:
        Ledger(url)
    assert "hunter2" not in _told(caught.value)


def test_a_wrong_password_is_not_shown(postgres: Postgres) -> None:
    """The server's own refusal names the user."""
    with pytest.raises(LedgerUnavailableError, match="password authentication failed") as caught:
        Ledger(postgres.url.replace(PASSWORD, "hunter3"))
    assert "hunter3" not in _told(caught.value)


def test_no_password_in_what_an_open_ledger_tells(ledger: Ledger) -> None:
    """Neither its repr, nor the error of a statement, which also keeps facts to itself."""
    ledger.create("uid", "experiment", {})
    with ledger._store.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE session_block_facts"))
    with pytest.raises(LedgerUnavailableError, match="Nothing is submitted without it") as caught:
        ledger.create("uid", "once/x", {"value": "my energy"})
    told = f"{ledger!r} {_told(caught.value)}"
    assert PASSWORD not in told
    assert "my energy" not in told
    assert repr(ledger).startswith("Ledger(")


def test_a_ledgers_repr_shows_no_parameters(tmp_path: Path) -> None:
    """What is logged of an open ledger names the store alone."""
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}?cached_statements=7")) as ledger:
        assert repr(ledger) == f"Ledger(sqlite:///{tmp_path / 'ledger.db'})"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///ledger.db"])
def test_a_ledger_that_would_be_lost_is_refused(url: str) -> None:
    """In memory, or relative to a working directory, the next process would find it empty."""
    with pytest.raises(LedgerUnavailableError, match="absolute path"):
        Ledger(url)


def test_other_databases_are_refused() -> None:
    """One that ignores case in keys, say, would merge two experiments."""
    with pytest.raises(
        LedgerUnavailableError, match="SQLite file or a PostgreSQL database, not my"
    ):
        Ledger("mysql+pymysql://host/db")


@pytest.mark.parametrize("driver", ["postgres", "postgresql+asyncpg", "sqlite+aiosqlite"])
def test_a_url_may_name_another_driver(driver: str, ledger_url: str, postgres: Postgres) -> None:
    """The URLs of Prefect's own database, or of a hosting service, open the same store."""
    url = ledger_url if driver.startswith("sqlite") else postgres.new_store()
    with closing(Ledger(url)) as ledger, closing(Ledger(driver + url[url.index(":") :])) as same:
        ledger.create("uid", "once/x", {})
        assert len(same.facts("uid")) == 1


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is an extra; the message says which."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerUnavailableError, match=r"pip install 'psycopg\[binary\]'"):
        Ledger("postgresql://host/db")


def test_the_default_ledger_lies_under_prefect_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """``SESSION_BLOCK_LEDGER_URL`` chooses another store."""
    monkeypatch.delenv("SESSION_BLOCK_LEDGER_URL", raising=False)
    assert default_ledger_url().startswith(f"sqlite:///{os.environ['PREFECT_HOME']}")
    monkeypatch.setenv("SESSION_BLOCK_LEDGER_URL", "sqlite:///elsewhere.db")
    assert default_ledger_url() == "sqlite:///elsewhere.db"


@pytest.mark.parametrize("name", ["ledger.db", "ledger #%25é'.db", "ledger"])
def test_a_new_ledger_is_private_and_alone(tmp_path: Path, name: str) -> None:
    """Only its user may look into the directory that is made for it; nothing else is left there."""
    home = tmp_path / "new"
    url = sa.URL.create("sqlite", database=str(home / name)).render_as_string()
    with closing(Ledger(url)) as ledger:
        ledger.create("uid", "once/x", {})
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [path.name for path in home.iterdir()] == [name]
    with closing(Ledger(url)) as again:
        assert len(again.facts("uid")) == 1


def test_a_dropped_ledger_closes_its_connections(store_url: str) -> None:
    """Who forgets to close it, as one does in a notebook, is not warned of open connections."""
    ledger = Ledger(store_url)
    ledger.create("experiment", "fact", {})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del ledger
        gc.collect()
    assert [str(one.message) for one in caught] == []


def test_every_connection_syncs_fully(ledger_url: str) -> None:
    """P3: a commit that is told is on the disk; the write-ahead log stays on."""
    with closing(Ledger(ledger_url)) as ledger, ledger._store.engine.connect() as connection:
        pragmas = ["journal_mode", "synchronous", "fullfsync"]
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
    assert found == ["wal", 2, 1]


def test_reads_search_the_primary_key(ledger_url: str) -> None:
    """Neither a get nor several prefixes walk through other facts, however many there are."""
    statements: list[tuple[str, tuple[str, ...]]] = []
    with closing(Ledger(ledger_url)) as ledger:

        def note(*arguments: Any) -> None:
            statements.append(arguments[2:4])

        sa.event.listen(ledger._store.engine, "before_cursor_execute", note)
        ledger.get("uid", "intent/s/1")
        ledger.facts("uid", "intent/s/", "outcome/s/", "result/s")
        (get, prefixes) = statements
        with ledger._store.engine.connect() as connection:
            plans = [
                [
                    step[-1]
                    for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
                    if "session_block_facts" in step[-1]
                ]
                for text, values in (get, prefixes)
            ]
    index = "SEARCH session_block_facts USING INDEX sqlite_autoindex_session_block_facts_1"
    assert plans[0] == [f"{index} (experiment=? AND key=?)"]
    assert plans[1] == [f"{index} (experiment=? AND key>? AND key<?)"] * 3
