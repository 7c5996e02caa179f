"""What this package writes is its user's alone, whoever makes a directory first."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from session_block import local_platform
from session_block.environment.private_files import make_directory, replace_file
from session_block.ledger.store import Ledger
from session_block.records.journal import Journal
from session_block.records.keys import ChapterOpened, Sealed


@pytest.fixture(autouse=True)
def _usual_rights() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def _open_to_others(top: Path) -> list[str]:
    found = [top, *top.rglob("*")]
    return [str(one) for one in found if stat.S_IMODE(one.lstat().st_mode) & 0o077]


def test_a_ledger_and_its_journals(tmp_path: Path) -> None:
    """Missing directories, the database, and what SQLite puts beside it while it is open."""
    path = tmp_path / "session-block" / "ledgers" / "ledger.db"
    journal = Journal(Ledger(f"sqlite:///{path}"), "a" * 16)
    journal.record(Sealed(report={}))
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT * FROM sqlite_master").fetchone()
        journal.record(ChapterOpened(chapter=2))
        assert len(list(path.parent.iterdir())) == 3
        assert _open_to_others(tmp_path / "session-block") == []


def test_a_directory_that_exists_keeps_its_rights(tmp_path: Path) -> None:
    """A team may share one."""
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    Ledger(f"sqlite:///{shared}/inner/ledger.db")
    make_directory(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_a_file_is_replaced_by_a_private_one(tmp_path: Path) -> None:
    """Also one that was open to others, and one whose last writer was killed."""
    file = tmp_path / "home" / "file"
    replace_file(file, "first")
    file.chmod(0o644)
    (file.parent / "file.new").write_text("half")
    replace_file(file, "second")
    assert file.read_text() == "second"
    assert _open_to_others(tmp_path / "home") == []


def test_a_local_platform(tmp_path: Path) -> None:
    """Its identity, jobs, keys, locks and log."""
    state = tmp_path / "session-block" / "platform"
    local_platform.start(state)
    try:
        assert len(list(state.iterdir())) > 4
        assert _open_to_others(tmp_path / "session-block") == []
    finally:
        local_platform.stop(state)
