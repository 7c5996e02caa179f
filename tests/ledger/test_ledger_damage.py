"""A damaged store is refused with a clear error, loses nothing, and stays as it is."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from session_block.errors import (
    LedgerDamagedError,
    LedgerError,
    LedgerUnavailableError,
    LedgerVersionError,
)
from session_block.ledger import sqlite
from session_block.ledger.store import Ledger, set_aside

_FACTS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a ledger of some facts, closed in good order, and give its file."""
    path = tmp_path / "ledger.db"
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        for n in range(_FACTS):
            ledger.create("uid", f"intent/{n:03}/1", {"tag": f"t{n}" * 50})
            ledger.create("uid", f"result/{n:03}", {}, bytes([n]) * 9000)
    return path


def _files(path: Path) -> dict[str, bytes]:
    """Return what lies in the ledger's directory, beside the lock table that SQLite rebuilds."""
    files = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    return {name: held for name, held in files.items() if not name.endswith("-shm") and held}


def _random(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - for tests to repeat


def _sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def _empty_page(path: Path) -> None:
    """Blank a page in the middle, as a disk does that lost a write."""
    _overwrite(path, path.stat().st_size // 2 // 4096 * 4096, bytes(4096))


_ANOTHER_PROGRAMS = ["DROP TABLE session_block_facts", "DROP TABLE session_block_schema"]

_DAMAGES: dict[str, tuple[Callable[[Path], object], type[LedgerError], str]] = {
    "no database": (
        lambda path: path.write_bytes(b"this is no database" * 100),
        LedgerDamagedError,
        "file is not a database",
    ),
    "header overwritten": (
        lambda path: _overwrite(path, 0, _random(4).randbytes(100)),
        LedgerDamagedError,
        "file is not a database",
    ),
    "schema overwritten": (
        lambda path: _overwrite(path, path.read_bytes().index(b"NOT NULL"), b"\xff"),
        LedgerDamagedError,
        "is damaged: ",
    ),
    "page lost": (_empty_page, LedgerDamagedError, "is damaged: "),
    "cut in half": (
        lambda path: os.truncate(path, path.stat().st_size // 2),
        LedgerDamagedError,
        "is damaged: ",
    ),
    "cut to its first page": (
        lambda path: os.truncate(path, 4096),
        LedgerDamagedError,
        "is damaged: ",
    ),
    "cut within its header": (
        lambda path: os.truncate(path, 50),
        LedgerDamagedError,
        "is damaged: ",
    ),
    "emptied": (lambda path: os.truncate(path, 0), LedgerDamagedError, "was truncated"),
    "newer": (
        lambda path: _sql(
            path,
            "UPDATE session_block_schema SET version = 99",
            "ALTER TABLE session_block_facts RENAME COLUMN body TO content",
        ),
        LedgerVersionError,
        "version 99.*Upgrade prefect-quantum-sessions",
    ),
    "another program's": (
        lambda path: _sql(path, *_ANOTHER_PROGRAMS, "CREATE TABLE notes (note)"),
        LedgerDamagedError,
        "holds no ledger",
    ),
    "table lost": (
        lambda path: _sql(path, "DROP TABLE session_block_facts"),
        LedgerDamagedError,
        "lacks session_block_facts",
    ),
    "column lost": (
        lambda path: _sql(path, "ALTER TABLE session_block_facts DROP COLUMN payload_checksum"),
        LedgerDamagedError,
        "lacks session_block_facts.payload_checksum",
    ),
    "version lost": (
        lambda path: _sql(path, "DELETE FROM session_block_schema"),
        LedgerDamagedError,
        "lacks the schema version",
    ),
}


@pytest.mark.parametrize(("damage", "error", "message"), _DAMAGES.values(), ids=_DAMAGES)
def test_a_damaged_file_is_refused_and_left_alone(
    path: Path, damage: Callable[[Path], object], error: type[LedgerError], message: str
) -> None:
    """Opening it twice says what happened and what to do, and changes no byte."""
    damage(path)
    before = _files(path)
    for _ in range(2):
        with pytest.raises(error, match=message) as caught:
            Ledger(f"sqlite:///{path}")
        assert str(path) in str(caught.value)
        assert ("set_aside(url)" in str(caught.value)) == (error is LedgerDamagedError)
    assert _files(path) == before


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_never_read_as_something_else(path: Path, seed: int) -> None:
    """Wherever bytes change: every fact that is read is as it was written, none is missing."""
    url = f"sqlite:///{path}"
    with closing(Ledger(url)) as ledger:
        written = ledger.facts("uid")
    chance = _random(seed)
    length = chance.choice([1, 8, 100, 5000])
    _overwrite(path, chance.randrange(path.stat().st_size - length), chance.randbytes(length))
    try:
        with closing(Ledger(url)) as ledger:
            assert ledger.facts("uid") == written
            for fact in written:
                held = ledger.get("uid", fact.key)
                assert held is not None
                assert held.body == fact.body
                n = int(fact.key.split("/")[1])
                payload = bytes([n]) * 9000 if fact.key.startswith("result/") else None
                assert held.payload == payload
    except LedgerDamagedError as error:
        assert "set_aside(url)" in str(error)  # noqa: PT017 - sound reads are right as well


def test_a_changed_fact_is_not_believed(path: Path) -> None:
    """Bytes that change within one text leave the file a sound database; the checksum tells."""
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        _sql(path, "UPDATE session_block_facts SET body = '{}' WHERE key = 'intent/007/1'")
        _sql(path, "UPDATE session_block_facts SET payload = x'00' WHERE key = 'result/008'")
        _sql(path, "UPDATE session_block_facts SET payload = NULL WHERE key = 'result/009'")
        for key in ["intent/007/1", "result/008", "result/009"]:
            with pytest.raises(LedgerDamagedError, match=f"Fact '{key}'.*not as it was written"):
                ledger.get("uid", key)
        with pytest.raises(LedgerDamagedError, match="Fact 'intent/007/1'"):
            ledger.create("uid", "intent/007/1", {})
        with pytest.raises(LedgerDamagedError, match="Fact 'intent/007/1'"):
            ledger.facts("uid", "intent/")
        assert len(ledger.facts("uid", "result/")) == _FACTS


def test_damage_below_an_open_ledger_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a file that is too large to be read through on opening."""
    monkeypatch.setattr(sqlite, "CHECKED_BYTES", 0)
    _overwrite(path, 8192, _random(1).randbytes(path.stat().st_size - 8192))
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        with pytest.raises(LedgerDamagedError, match=r"is damaged: .*set_aside"):
            ledger.facts("uid")
        with pytest.raises(LedgerDamagedError, match=r"is damaged: .*set_aside"):
            ledger.create("uid", "intent/030/2", {})


def test_text_that_is_none_is_damage(path: Path) -> None:
    """A body that is not UTF-8 any more is damage, not a store that does not answer."""
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        _sql(
            path,
            "UPDATE session_block_facts SET body = CAST(x'ff' AS TEXT) WHERE key = 'result/001'",
        )
        with pytest.raises(LedgerDamagedError, match="Could not decode"):
            ledger.facts("uid")


@pytest.mark.parametrize("gone", ["removed", "replaced"])
def test_a_file_that_is_pulled_away_stops_its_users(path: Path, gone: str) -> None:
    """SQLite would go on writing into a file without a name, and all of that would be lost."""
    url = f"sqlite:///{path}"
    with closing(Ledger(url)) as ledger:
        moved = set_aside(url)
        if gone == "replaced":
            Ledger(url).close()
        for use in (lambda: ledger.create("uid", "once/x", {}), lambda: ledger.facts("uid")):
            with pytest.raises(LedgerUnavailableError, match="removed or replaced while it was"):
                use()
    with closing(Ledger(f"sqlite:///{moved}")) as ledger:
        assert len(ledger.facts("uid")) == 2 * _FACTS


def test_facts_of_a_killed_writer_outlive_their_file(path: Path) -> None:
    """Without its file, a journal that holds facts is neither dropped nor put upon a new ledger."""
    code = (
        "import os, signal, sys; from session_block.ledger.store import Ledger; "
        "ledger = Ledger(sys.argv[1]); ledger.create('uid', 'sealed', {}); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    url = f"sqlite:///{path}"
    subprocess.run([sys.executable, "-c", code, url], check=False)
    saved = path.rename(path.with_name("saved"))
    before = _files(path)
    assert "ledger.db-wal" in before
    with pytest.raises(LedgerDamagedError, match=r"journal .*ledger.db-wal still holds facts"):
        Ledger(url)
    assert _files(path) == before
    saved.rename(path)
    with closing(Ledger(url)) as ledger:
        assert ledger.get("uid", "sealed") is not None


def test_a_refused_ledger_keeps_its_journal(path: Path) -> None:
    """What a killed writer left in the journal is read where it is, not moved to the file."""
    code = (
        "import os, sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "connection.execute('UPDATE session_block_schema SET version = 99'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
    before = _files(path)
    assert "ledger.db-wal" in before
    with pytest.raises(LedgerVersionError, match="version 99"):
        Ledger(f"sqlite:///{path}")
    assert _files(path) == before
