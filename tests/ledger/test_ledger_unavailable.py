"""A store that cannot be written to stops the run, says why, and loses nothing."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from session_block.errors import LedgerUnavailableError
from session_block.ledger import sqlite
from session_block.ledger.store import Ledger

_SOMEBODY = """
import os, sys
from session_block.errors import LedgerUnavailableError
from session_block.ledger.store import Ledger

Ledger(sys.argv[1] + ".warm").close()
if os.geteuid() == 0:  # root may write anything
    os.setegid(65534)
    os.seteuid(65534)
try:
    ledger = Ledger(sys.argv[1])
    print(len(ledger.facts("uid")), "facts")
    ledger.create("uid", "intent/s/1", {})
except LedgerUnavailableError as error:
    print(error)
"""

_FULL_DISK = """
import resource, sys
from session_block.errors import LedgerUnavailableError
from session_block.ledger.store import Ledger

ledger = Ledger(sys.argv[1])
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, unlimited[1]))
created = 0
try:
    while True:
        assert ledger.create("uid", f"result/{created}", {}, bytes([created]) * 20_000)[1]
        created += 1
except LedgerUnavailableError as error:
    print(error)
assert len(ledger.facts("uid")) == created > 3
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
assert ledger.create("uid", f"result/{created}", {"again": True})[1]
ledger.close()
again = Ledger(sys.argv[1])
held = [again.get("uid", f"result/{n}").payload for n in range(created)]
assert held == [bytes([n]) * 20_000 for n in range(created)]
again.close()
"""


def _child(code: str, url: str) -> str:
    child = subprocess.run(
        [sys.executable, "-c", code, url], check=True, capture_output=True, text=True
    )
    return child.stdout


@pytest.fixture
def shared() -> Iterator[Path]:
    """Write a ledger of one fact where every user may look, and give its directory."""
    home = Path(tempfile.mkdtemp(prefix="session-block-shared-"))
    home.chmod(0o755)
    with closing(Ledger(f"sqlite:///{home / 'ledger.db'}")) as ledger:
        ledger.create("uid", "sealed", {})
    yield home
    shutil.rmtree(home)


@pytest.mark.parametrize("in_use", [False, True])
@pytest.mark.parametrize("only", ["the file", "the directory", "both"])
def test_a_read_only_ledger_stops_before_the_first_intent(
    shared: Path, only: str, in_use: bool
) -> None:
    """Whether it can be read or not, what it holds is kept, and the message says what to do."""
    path = shared / "ledger.db"
    before = path.read_bytes()
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        if in_use:
            ledger.facts("uid")
        else:
            ledger.close()
            for journal in shared.glob("ledger.db-*"):
                journal.unlink()
        path.chmod(0o666 if only == "the directory" and not in_use else 0o644)
        shared.chmod(0o777 if only == "the file" else 0o755)
        told = _child(_SOMEBODY, f"sqlite:///{path}")
    assert "did not answer: " in told
    assert "writable" in told
    assert "Nothing is submitted without it, and nothing in it is lost." in told
    assert path.read_bytes() == before


def test_a_full_disk_stops_the_run_and_loses_nothing(ledger_url: str) -> None:
    """The operating system refuses to let the files grow; with space again, it goes on."""
    told = _child(_FULL_DISK, ledger_url)
    assert "did not answer: " in told
    assert "free space" in told or "Free some disk space" in told


def test_a_full_database_stops_the_run_and_loses_nothing(ledger_url: str) -> None:
    """The same, as SQLite reports it when the disk says that it is full."""
    with closing(Ledger(ledger_url)) as ledger:
        with ledger._store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=20")
        assert ledger.create("uid", "result/1", {}, bytes(9000))[1]
        with pytest.raises(LedgerUnavailableError, match=r"disk is full.*Free some disk space"):
            ledger.create("uid", "result/2", {}, bytes(90_000))
        assert [fact.key for fact in ledger.facts("uid")] == ["result/1"]
    with closing(Ledger(ledger_url)) as ledger:
        assert ledger.create("uid", "result/2", {}, bytes(90_000))[1]


def test_a_locked_ledger_is_told(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that keeps the file locked is waited for, and then named as the reason."""
    monkeypatch.setattr(sqlite, "LOCK_SECONDS", 0.2)
    with (
        closing(Ledger(ledger_url)) as ledger,
        closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailableError, match=r"is locked.*End the program that locks"):
            ledger.create("uid", "once/x", {})
        other.execute("COMMIT")
        assert ledger.create("uid", "once/x", {})[1]


@pytest.mark.parametrize("what", ["a directory", "below a file"])
def test_a_path_that_is_no_file_is_told(tmp_path: Path, what: str) -> None:
    """The message names it."""
    path = tmp_path / "ledger.db"
    if what == "a directory":
        path.mkdir()
    else:
        path.write_bytes(b"")
        path = path / "ledger.db"
    with pytest.raises(LedgerUnavailableError, match=r"ledger\.db did not answer: "):
        Ledger(f"sqlite:///{path}")


def test_a_file_system_without_links_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new ledger is linked into place whole; where that fails, nothing is left behind."""

    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(LedgerUnavailableError, match="Operation not permitted"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rest
def test_no_reader_sees_half_a_fact(store_url: str) -> None:
    """While writers are killed in the middle, a reader finds all of a fact or none of it."""
    code = (
        "import sys; from session_block.ledger.store import Ledger; ledger = Ledger(sys.argv[1]); "
        "[ledger.create('uid', f'result/{sys.argv[2]}/{n}', {'n': [n] * 5000}, b'x' * 3_000_000) "
        "for n in range(10_000)]"
    )
    sizes = set()
    with closing(Ledger(store_url)) as ledger:
        for attempt in range(3):
            writer = subprocess.Popen([sys.executable, "-c", code, store_url, str(attempt)])
            while len(keys := [fact.key for fact in ledger.facts("uid")]) < 5 * (attempt + 1):
                assert writer.poll() is None
            writer.kill()
            writer.wait()
            for key in keys:
                fact = ledger.get("uid", key)
                assert fact is not None
                assert fact.payload is not None
                sizes.add((len(fact.body["n"]), len(fact.payload)))
        assert ledger.create("uid", "once/x", {})[1]
    assert sizes == {(5000, 3_000_000)}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hid@den@host/database",
        "postgresql://me:p@hid@den@host/database",
        "postgresql://me:p@hidden:x@host:5432/database",
        "postgresql://me:p@hidden@host:port/database",
        "postgresql://me:a@b/hidden@host/database",
        "postgresql://me:a@b?hidden@host/database=1",
    ],
)
def test_a_password_that_is_not_encoded_is_not_shown(url: str) -> None:
    """A raw @ ends it for whoever reads the URL, so the rest would stand in each message."""
    with pytest.raises(LedgerUnavailableError) as refused:
        Ledger(url)
    shown = "".join(traceback.format_exception(refused.value))
    assert "hid" not in str(refused.value)
    assert "den" not in str(refused.value)
    assert "encoded" in str(refused.value) or "%40" in str(refused.value)
    assert "hid" not in shown
