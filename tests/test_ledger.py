"""The ledger: facts that are created once and survive everything."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from session_block.errors import LedgerUnavailableError, LedgerVersionError
from session_block.ledger import Ledger, default_ledger_url


def test_a_fact_is_created_once(ledger_url: str) -> None:
    """The second to create a fact is told what the first wrote; nothing is overwritten."""
    ledger = Ledger(ledger_url)
    first, ours = ledger.create("uid", "outcome/s/1", {"job_id": "j1"}, b"bytes")
    second, theirs = ledger.create("uid", "outcome/s/1", {"job_id": "j2"}, b"other")
    assert ours
    assert not theirs
    assert second == first
    assert ledger.get("uid", "outcome/s/1") == first


def test_facts_are_read_by_experiment_and_prefix(ledger_url: str) -> None:
    """A reader gets its experiment's facts in the order of creation, and no others."""
    ledger = Ledger(ledger_url)
    for experiment, key in [("a", "intent/s/1"), ("b", "intent/s/1"), ("a", "once/x")]:
        ledger.create(experiment, key, {})
    ledger.create("a", "intent_s/2", {})
    assert [fact.key for fact in ledger.facts("a")] == ["intent/s/1", "once/x", "intent_s/2"]
    assert [fact.key for fact in ledger.facts("a", "intent/", "result/")] == ["intent/s/1"]


def test_many_writers_have_one_winner(ledger_url: str) -> None:
    """Of many that create one fact at once, exactly one is told that it was first."""
    ledgers = [Ledger(ledger_url) for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        won = list(
            pool.map(
                lambda n: ledgers[n % 4].create("uid", f"name/{n // 16}", {"n": n})[1], range(160)
            )
        )
    assert sum(won) == 10


def test_a_fact_survives_the_kill_of_its_writer(ledger_url: str) -> None:
    """What ``create`` returned from is durable: SIGKILL right after it loses nothing."""
    code = (
        "import os, signal, sys; from session_block.ledger import Ledger; "
        "Ledger(sys.argv[1]).create('uid', 'intent/s/1', {'tag': 't'}); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, ledger_url], check=False)
    assert killed.returncode == -signal.SIGKILL
    fact = Ledger(ledger_url).get("uid", "intent/s/1")
    assert fact is not None
    assert fact.body == {"tag": "t"}


def test_a_newer_ledger_is_refused(ledger_url: str, tmp_path: Path) -> None:
    """A ledger of a later version is left alone, and the message says what to upgrade."""
    Ledger(ledger_url).close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE session_block_schema SET version = 99")
    connection.close()
    with pytest.raises(LedgerVersionError, match="Upgrade prefect-quantum-sessions"):
        Ledger(ledger_url)


def test_a_damaged_ledger_stops_the_run(tmp_path: Path) -> None:
    """A file that is no database is not replaced by an empty ledger."""
    damaged = tmp_path / "ledger.db"
    damaged.write_bytes(b"this is no database" * 100)
    with pytest.raises(LedgerUnavailableError, match="Nothing is submitted without it"):
        Ledger(f"sqlite:///{damaged}")
    assert damaged.read_bytes().startswith(b"this is no database")


def test_a_lost_table_stops_the_run(ledger_url: str, tmp_path: Path) -> None:
    """A store that answers with an error raises; it never reads as empty."""
    ledger = Ledger(ledger_url)
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DROP TABLE session_block_facts")
    connection.close()
    with pytest.raises(LedgerUnavailableError):
        ledger.facts("uid")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+nosuchdriver://user:hunter2@127.0.0.1:1/db",
        "nosuchdatabase://user:hunter2@host/db?password=hunter2",
        "sqlite:////nowhere/at/all/ledger.db?password=hunter2",
        "hunter2",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    """The error of a store that cannot be opened holds neither part of the URL's secrets."""
    url = url.replace("/nowhere", "/dev/null")
    with pytest.raises(LedgerUnavailableError) as caught:
        Ledger(url)
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


def test_a_ledgers_repr_shows_no_password(tmp_path: Path) -> None:
    """What is logged of an open ledger names the store alone."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}?cached_statements=7")
    assert repr(ledger) == f"Ledger(sqlite:///{tmp_path / 'ledger.db'})"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///ledger.db"])
def test_a_ledger_that_would_be_lost_is_refused(url: str) -> None:
    """In memory, or relative to a working directory, the next process would find it empty."""
    with pytest.raises(LedgerUnavailableError, match="absolute path"):
        Ledger(url)


def test_processes_that_open_a_new_ledger_at_once_all_succeed(ledger_url: str) -> None:
    """Whoever creates the tables, nobody fails."""
    code = "import sys; from session_block.ledger import Ledger; Ledger(sys.argv[1])"
    command = [sys.executable, "-c", code, ledger_url]
    processes = [subprocess.Popen(command) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6


def test_the_default_ledger_lies_under_prefect_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """``SESSION_BLOCK_LEDGER_URL`` chooses another store."""
    monkeypatch.delenv("SESSION_BLOCK_LEDGER_URL", raising=False)
    assert default_ledger_url().startswith(f"sqlite:///{os.environ['PREFECT_HOME']}")
    monkeypatch.setenv("SESSION_BLOCK_LEDGER_URL", "sqlite:///elsewhere.db")
    assert default_ledger_url() == "sqlite:///elsewhere.db"


def test_a_new_ledger_is_private(tmp_path: Path) -> None:
    """Only its user may look into the directory that is made for it."""
    Ledger(f"sqlite:///{tmp_path / 'new' / 'ledger.db'}")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
