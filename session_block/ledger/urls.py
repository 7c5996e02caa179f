"""Where a ledger is."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from session_block.errors import LedgerUnavailableError

LEDGER_URL = "SESSION_BLOCK_LEDGER_URL"
"""The environment variable that names the ledger."""

_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}
"""What opens each kind of URL, whichever driver it names; Prefect's own URLs name async ones."""


def default_ledger_url() -> str:
    """Return the URL of the ledger that is used if none is named.

    ``SESSION_BLOCK_LEDGER_URL`` if it is set, else that of the embedded one.
    """
    return os.environ.get(LEDGER_URL) or embedded_ledger_url()


def embedded_ledger_url() -> str:
    """Return the URL of the SQLite file under ``PREFECT_HOME``."""
    from prefect.settings import get_current_settings

    return f"sqlite:///{Path(get_current_settings().home) / 'session-block' / 'ledger.db'}"


def parsed_url(url: str) -> sa.URL:
    """Return a ledger's URL with the driver that opens it.

    Raises:
        LedgerUnavailableError: It is none of a ledger.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # its message may quote the password
        raise LedgerUnavailableError(
            "The ledger's URL cannot be read. Write sqlite:////absolute/path/ledger.db or "
            "postgresql://user:password@host/database, with special characters percent-encoded."
        ) from None
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise LedgerUnavailableError(
            f"A ledger is an SQLite file or a PostgreSQL database, not {parsed.drivername}."
        )
    return parsed.set(drivername=_DRIVERS[backend])


def is_missing(url: str) -> bool:
    """Whether a URL names a file that is not there, and would be made.

    Raises:
        LedgerUnavailableError: It is no URL of a ledger.
    """
    parsed = parsed_url(url)
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists()
