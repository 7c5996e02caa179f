"""The SQLite file of a ledger: created atomically, checked, and set aside on request.

The file is never opened as a plain file, because closing it would drop SQLite's locks on it.

Limit: if the journal (``-wal``) of a killed process is damaged, SQLite takes the damage for the end
of the journal. The facts after it are lost without an error; their jobs are found by their tags.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from session_block.environment.forks import Occupancy
from session_block.environment.private_files import make_directory, opener
from session_block.errors import InvalidInputError, LedgerDamagedError, LedgerUnavailableError
from session_block.ledger.disk import check_disk_of
from session_block.ledger.failures import cure
from session_block.ledger.schema import create_tables, has_ledger

CHECKED_BYTES = 256 * 2**20
"""A larger file is not read completely when it is opened: that would take too long."""

LOCK_SECONDS = 60
_JOURNALS = ("-wal", "-shm")


_IN_USE = Occupancy()
"""Who uses SQLite in this process. Its locks, on a file and in memory, do not survive a fork in the
middle of their use [docs: sqlite.org/howtocorrupt.html, 2.6]."""


@contextmanager
def using_sqlite(shown: str) -> Iterator[None]:
    """Use SQLite in a ``with`` block; a fork waits for its end, up to 10 s.

    Raises:
        LedgerUnavailableError: This process was forked in the middle of a longer use.
    """
    if _IN_USE.was_cut_off:
        raise LedgerUnavailableError(
            f"The ledger {shown} cannot be used in this process, which was forked while its parent "
            "was reading or writing an SQLite ledger. Nothing was submitted. Start the process "
            "with multiprocessing's method 'spawn' or 'forkserver', or fork at another time."
        )
    with _IN_USE.at_work():
        yield


def sqlite_path(url: sa.URL) -> Path:
    """Return the file of an SQLite URL.

    Raises:
        LedgerUnavailableError: The ledger is in memory, or its path is relative.
    """
    if not url.database or not Path(url.database).is_absolute():
        raise LedgerUnavailableError(
            f"An SQLite ledger needs an absolute path (sqlite:////...), not {url.database!r}: the "
            "next process would not find a ledger in memory or in a working directory."
        )
    return Path(url.database)


def open_sqlite(url: sa.URL, shown: str) -> sa.Engine:
    """Return an engine for a ledger in a file; create the file if there is none.

    The file is checked before anything can change it, and read completely if it has up to 256 MiB.
    A file that is damaged, truncated, newer or not a ledger is refused and left unchanged.

    Raises:
        LedgerError: The file cannot be used.
    """
    path = sqlite_path(url)
    check_disk_of(path, shown)
    journal = _beside(path, "-wal")
    journal_has_facts = journal.exists() and journal.stat().st_size > 0
    if not path.exists():
        if journal_has_facts:
            raise LedgerDamagedError(
                f"The file of the ledger {shown} is gone, but its journal {journal} still holds "
                f"facts. {cure('sqlite')}"
            )
        _create(path)
    _check(path, shown)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_SECONDS}, hide_parameters=True)
    sa.event.listen(engine, "connect", _sync_fully)
    return engine


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes this file from its replacement; ``None`` if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def move_aside(url: str, now: datetime) -> Path:
    """Rename a ledger's file; see :func:`session_block.ledger.store.set_aside`."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise InvalidInputError(
            f"Only an SQLite ledger can be set aside. Restore {parsed.set(query={})} from a "
            "backup, or point SESSION_BLOCK_LEDGER_URL at another ledger."
        )
    path = sqlite_path(parsed)
    aside = path.with_name(f"{path.name}.set-aside-{now:%Y%m%dT%H%M%S.%fZ}")
    moved = False
    # The database goes first: if this is interrupted, a journal alone is refused when opened,
    # while a database without its journal would be read as a ledger with fewer facts.
    for suffix in ("", *_JOURNALS):
        with suppress(FileNotFoundError):
            _beside(path, suffix).rename(_beside(aside, suffix))
            moved = True
    if not moved:
        raise InvalidInputError(f"There is no ledger {path}; the next opening starts one.")
    return aside


def _create(path: Path) -> None:
    """Create an empty ledger elsewhere and link it here, so that nobody sees half a ledger."""
    make_directory(path.parent)
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory:
        new = Path(directory) / path.name
        open(new, "x", opener=opener).close()  # SQLite gives its journals the mode of the database
        engine = sa.create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(new), poolclass=NullPool
        )
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            create_tables(connection)
            connection.commit()
        with suppress(FileExistsError):
            path.hardlink_to(new)
    _sync_directory(path.parent)


def _check(path: Path, shown: str) -> None:
    """Check a ledger through a read-only connection, which writes nothing on closing either."""
    size = path.stat().st_size
    if size == 0:  # SQLite would take the file for a new database, and delete its journal
        raise LedgerDamagedError(
            f"The file of the ledger {shown} is empty. A ledger never is, so it was truncated. "
            f"{cure('sqlite')}"
        )
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS),
        poolclass=NullPool,
    )
    with engine.connect() as connection:
        if not has_ledger(connection, shown):
            raise LedgerDamagedError(
                f"The file of the ledger {shown} is a database, but holds no ledger: it belongs to "
                f"another program, or has lost its tables. {cure('sqlite')}"
            )
        if size <= CHECKED_BYTES:
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if found != "ok":
                raise LedgerDamagedError(
                    f"The ledger {shown} is damaged: {found}. {cure('sqlite')}"
                )


def _sync_fully(connection: Any, _record: ConnectionPoolEntry) -> None:
    # In WAL mode SQLite's NORMAL would lose the last facts at a power failure.
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA fullfsync=ON")
    cursor.close()


def _sync_directory(directory: Path) -> None:
    """Make a new file's name durable, not only its content."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
