"""Turn database errors into ledger errors, with advice."""

from __future__ import annotations

import sqlite3

from session_block.errors import LedgerDamagedError, LedgerError, LedgerUnavailableError

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_DAMAGE_SQLSTATES = {"XX001", "XX002"}
"""PostgreSQL's ``data_corrupted`` and ``index_corrupted``."""

_ADVICE = {
    sqlite3.SQLITE_READONLY: "Make the file and its directory writable",
    sqlite3.SQLITE_CANTOPEN: "Check that the path is a file, and that it and its directory are "
    "readable and writable",
    sqlite3.SQLITE_FULL: "Free some disk space",
    sqlite3.SQLITE_IOERR: "Check the disk and its free space",
    sqlite3.SQLITE_BUSY: "End the program that locks the file",
}
_SQLITE_PRIMARY_CODE = 0xFF


def failure(error: Exception, shown: str) -> LedgerError:
    """Return the error to raise for an error of the store.

    Args:
        error: The error of SQLAlchemy, its driver or the operating system.
        shown: The ledger's name in messages.
    """
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", 0) & _SQLITE_PRIMARY_CODE
    undecodable = isinstance(cause, UnicodeDecodeError) or (
        isinstance(cause, sqlite3.Error) and "Could not decode" in str(cause)
    )
    sqlstate = getattr(cause, "sqlstate", None)
    if undecodable or code in _DAMAGE or sqlstate in _DAMAGE_SQLSTATES:
        backend = "sqlite" if sqlstate is None else "postgresql"
        return LedgerDamagedError(f"The ledger {shown} is damaged: {cause}. {cure(backend)}")
    advice = _ADVICE.get(code, "Repair the store")
    if isinstance(error, ImportError):
        advice = "Install the driver (pip install 'psycopg[binary]')"
    told = isinstance(cause, OSError | ImportError) or cause is not error
    reason = cause if told else type(cause).__name__
    return LedgerUnavailableError(
        f"The ledger {shown} did not answer: {reason}. Nothing is submitted without it, and "
        f"nothing in it is lost. {advice}, or point SESSION_BLOCK_LEDGER_URL at another ledger."
    )


def cure(backend: str) -> str:
    """Return the advice for a damaged ledger, as sentences."""
    untouched = "It was not changed, and nothing is submitted without it. Restore a backup"
    if backend != "sqlite":
        return f"{untouched}."
    return (
        f"{untouched}, or set it aside with session_block.ledger.store.set_aside(url): the next "
        "run starts an empty ledger and finds its jobs again by their tags. Drawn values and "
        "pinned circuits are lost."
    )
