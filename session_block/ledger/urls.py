"""The URL of a ledger."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from session_block.environment.prefect_settings import prefect_home
from session_block.errors import LedgerUnavailableError

LEDGER_URL = "SESSION_BLOCK_LEDGER_URL"
"""The environment variable that names the ledger."""

_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}
"""The driver for each kind of URL, whichever driver the URL names.

A URL may be Prefect's own, and Prefect's URLs name async drivers."""


def default_ledger_url() -> str:
    """Return the URL of the default ledger.

    It is ``SESSION_BLOCK_LEDGER_URL`` if that is set, otherwise the embedded ledger's URL.

    Examples:
        >>> default_ledger_url()
        'sqlite:////.../ledger.db'
    """
    return os.environ.get(LEDGER_URL) or embedded_ledger_url()


def embedded_ledger_url() -> str:
    """Return the URL of the SQLite file under ``PREFECT_HOME``."""
    return f"sqlite:///{prefect_home() / 'session-block' / 'ledger.db'}"


def parsed_url(url: str) -> sa.URL:
    """Return a ledger's URL with the driver that opens it.

    Raises:
        LedgerUnavailableError: It is not a ledger's URL.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # not chained: the message may quote the password
        raise LedgerUnavailableError(
            "The ledger's URL cannot be read. Write sqlite:////absolute/path/ledger.db or "
            "postgresql://user:password@host/database, with special characters percent-encoded."
        ) from None
    backend = parsed.get_backend_name()
    after = [parsed.host or "", *parsed.query]
    if backend != "sqlite":  # whose database is a file, of any name
        after.append(parsed.database or "")
    if any("@" in part for part in after):  # part of the password, which every message would show
        raise LedgerUnavailableError(
            "The password in the ledger's URL holds an '@', which ends it. Write %40 instead."
        )
    if backend not in _DRIVERS:
        raise LedgerUnavailableError(
            f"A ledger is an SQLite file or a PostgreSQL database, not {parsed.drivername}."
        )
    return parsed.set(drivername=_DRIVERS[backend])


def is_missing(url: str) -> bool:
    """Whether a URL names a file that does not exist yet, so that opening would create it.

    Raises:
        LedgerUnavailableError: It is not a ledger's URL.
    """
    parsed = parsed_url(url)
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists()


def shown_url(url: str) -> str:
    """Return a ledger's URL as messages may show it: without a password, and its parameters.

    Raises:
        LedgerUnavailableError: It is not a ledger's URL.
    """
    return str(parsed_url(url).set(query={}))
