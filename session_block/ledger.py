"""The ledger: immutable facts, created once, never changed.

The only write is *create if absent*, which tells everybody who was first. The store is one table
over SQLAlchemy: SQLite (write-ahead log, full sync) by default, any shared database by URL. A
store that does not answer raises: a ledger is fail-closed, unlike a cache.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from session_block import crashpoints
from session_block.errors import LedgerUnavailableError, LedgerVersionError

SCHEMA_VERSION = 1
_SCHEMA_TRIES = 20
_SCHEMA_PAUSE_SECONDS = 0.1
_CREATE_TRIES = 2

_metadata = sa.MetaData()
_Text = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
"""Text that is compared character by character, so that a prefix is a range of the primary key."""

_schema = sa.Table(
    "session_block_schema",
    _metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)
_facts = sa.Table(
    "session_block_facts",
    _metadata,
    sa.Column("experiment", sa.String(64), primary_key=True),
    sa.Column("key", _Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=True),
    sa.Column("writer", sa.String(32), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
)


@dataclass(frozen=True)
class Fact:
    """One thing that is so, and stays so."""

    experiment: str
    key: str
    body: Mapping[str, Any]
    writer: str
    created_at: datetime
    payload: bytes | None = field(default=None, repr=False)


def default_ledger_url() -> str:
    """Return the URL of the embedded ledger.

    ``SESSION_BLOCK_LEDGER_URL`` if it is set, else an SQLite file under ``PREFECT_HOME``.
    """
    if url := os.environ.get("SESSION_BLOCK_LEDGER_URL"):
        return url
    from prefect.settings import get_current_settings

    return f"sqlite:///{Path(get_current_settings().home) / 'session-block' / 'ledger.db'}"


class Ledger:
    """A set of facts in a database.

    Args:
        url: An SQLAlchemy URL. Its password appears in no message.

    Raises:
        LedgerUnavailableError: The store cannot be opened.
        LedgerVersionError: The store was written by a newer version.
    """

    def __init__(self, url: str) -> None:
        self._shown = "of an unreadable URL"
        with self._store():
            parsed = sa.make_url(url)
            self._shown = str(parsed.set(query={}))
            self._engine = _engine(parsed)
            version = _version(self._engine)
        if version > SCHEMA_VERSION:
            raise LedgerVersionError(
                f"The ledger {self} has schema version {version}; this version of the package "
                f"reads up to {SCHEMA_VERSION}. Upgrade prefect-quantum-sessions."
            )

    def __repr__(self) -> str:
        return f"Ledger({self._shown})"

    def create(
        self,
        experiment: str,
        key: str,
        body: Mapping[str, Any],
        payload: bytes | None = None,
    ) -> tuple[Fact, bool]:
        """Create a fact unless it exists; it is durable when this returns.

        A create whose answer was lost is tried again, and knows its own fact by its writer token.

        Returns:
            The fact that the ledger now holds, and whether it is this one.
        """
        fact = Fact(experiment, key, body, uuid4().hex, datetime.now(UTC), payload)
        with self._store(), crashpoints.around(f"record {key.partition('/')[0]}"):
            for tries_left in reversed(range(_CREATE_TRIES)):
                try:
                    self._insert(fact)
                except sa.exc.IntegrityError:
                    break
                except sa.exc.OperationalError:
                    if not tries_left:
                        raise
                else:
                    return fact, True
        held = self.get(experiment, key)
        if held is None:
            raise LedgerUnavailableError(
                f"The ledger {self} refused fact {key!r} of experiment {experiment} and does not "
                "hold it. Nothing is submitted without it; check the store's tables."
            )
        return held, held.writer == fact.writer

    def _insert(self, fact: Fact) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                _facts.insert().values(
                    experiment=fact.experiment,
                    key=fact.key,
                    body=json.dumps(fact.body, sort_keys=True),
                    payload=fact.payload,
                    writer=fact.writer,
                    created_at=fact.created_at.isoformat(),
                )
            )

    def get(self, experiment: str, key: str) -> Fact | None:
        """Return one fact with its payload, or ``None``."""
        query = sa.select(_facts).where(_facts.c.experiment == experiment, _facts.c.key == key)
        with self._store(), self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _fact(dict(row))

    def facts(self, experiment: str, *prefixes: str) -> list[Fact]:
        """Return an experiment's facts in the order of their creation, without payloads.

        Args:
            experiment: The experiment's UID.
            prefixes: Only facts whose key starts with one of these; all when none is given.
        """
        columns = [column for column in _facts.c if column is not _facts.c.payload]
        query = (
            sa.select(*columns)
            .where(_facts.c.experiment == experiment)
            .order_by(_facts.c.created_at, _facts.c.key)
        )
        if prefixes:
            query = query.where(sa.or_(*map(_starts_with, prefixes)))
        with self._store(), self._engine.connect() as connection:
            return [_fact(dict(row)) for row in connection.execute(query).mappings()]

    def close(self) -> None:
        """Close the store's connections."""
        self._engine.dispose()

    @contextmanager
    def _store(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
            reason = getattr(error, "orig", None) or type(error).__name__
            raise LedgerUnavailableError(
                f"The ledger {self} did not answer: {reason}. Nothing is submitted without it. "
                "Mend the store, or point SESSION_BLOCK_LEDGER_URL at another."
            ) from error


def _version(engine: sa.Engine) -> int:
    """Return the store's schema version, creating the schema unless somebody else just does."""
    tries_left = _SCHEMA_TRIES
    while True:
        tries_left -= 1
        try:
            _metadata.create_all(engine)
            with engine.begin() as connection:
                version = connection.execute(sa.select(sa.func.max(_schema.c.version))).scalar()
                if version is None:
                    connection.execute(_schema.insert().values(version=SCHEMA_VERSION))
        except (sa.exc.OperationalError, sa.exc.ProgrammingError, sa.exc.IntegrityError):
            if not tries_left:
                raise
            time.sleep(_SCHEMA_PAUSE_SECONDS)
        else:
            return SCHEMA_VERSION if version is None else int(version)


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    if not url.database or not Path(url.database).is_absolute():
        raise LedgerUnavailableError(
            f"An SQLite ledger needs an absolute path (sqlite:////...), not {url.database!r}: a "
            "ledger in memory or in a working directory is not found again by the next process."
        )
    Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = sa.create_engine(url, connect_args={"timeout": 60})
    sa.event.listen(engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _starts_with(prefix: str) -> sa.ColumnElement[bool]:
    """Compare by range: LIKE would ignore case in SQLite, and its wildcards are in the way."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return sa.and_(_facts.c.key >= prefix, _facts.c.key < end)


def _fact(row: Mapping[str, Any]) -> Fact:
    return Fact(
        experiment=row["experiment"],
        key=row["key"],
        body=json.loads(row["body"]),
        writer=row["writer"],
        created_at=datetime.fromisoformat(row["created_at"]),
        payload=row.get("payload"),
    )
