"""A ledger's store in a database: one table over SQLAlchemy, in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from session_block.environment.forks import close_before_fork, renew_after_fork
from session_block.errors import LedgerError, LedgerUnavailableError
from session_block.ledger.failures import failure
from session_block.ledger.schema import (
    FIRST_SCHEMA_VERSION,
    Fact,
    fact_of,
    facts_table,
    open_postgresql,
    raise_version,
    read_version,
    row_of,
)
from session_block.ledger.sqlite import file_identity, open_sqlite, sqlite_path, using_sqlite
from session_block.ledger.urls import parsed_url, shown_url

_LAST_CHARACTER = "\U0010ffff"
"""The highest code point. It is not printable, so no key contains it."""

# Queries are built once: building one takes as long as running it.
_texts = [column for column in facts_table.c if column is not facts_table.c.payload]

ONE_FACT = sa.select(facts_table).where(
    facts_table.c.experiment == sa.bindparam("experiment"),
    facts_table.c.key == sa.bindparam("key"),
)

EVERYTHING = sa.select(facts_table).order_by(facts_table.c.experiment, facts_table.c.key)

_CREATE_TRIES = 2

_AT_ONCE = 100
"""How many facts are held in memory while all are read: payloads may be large."""


def _starts_with(number: int) -> sa.ColumnElement[bool]:
    """Select the ``number``-th range of the primary key; each range is one index search.

    LIKE would ignore case in SQLite, and keys may contain its wildcards.
    """
    key = facts_table.c.key
    return sa.and_(
        facts_table.c.experiment == sa.bindparam("experiment"),
        key >= sa.bindparam(f"start{number}"),
        key < sa.bindparam(f"end{number}"),
    )


def prefix_range(number: int, prefix: str) -> dict[str, str]:
    """Return the query parameters of the ``number``-th range: the keys with this prefix."""
    return {f"start{number}": prefix, f"end{number}": f"{prefix}{_LAST_CHARACTER}"}


@cache
def facts_in(ranges: int) -> sa.Select[Any]:
    """Return the query for an experiment's facts in this many ranges, without payloads."""
    return (
        sa.select(*_texts)
        .where(sa.or_(*(_starts_with(number) for number in range(ranges))))
        .order_by(facts_table.c.created_at, facts_table.c.key)
    )


LATEST = (
    sa.select(*_texts)
    .where(_starts_with(0))
    .order_by(facts_table.c.created_at.desc(), facts_table.c.key.desc())
    .limit(sa.bindparam("most"))
)

COUNT = sa.select(sa.func.count()).where(_starts_with(0))


class DatabaseStore:
    """A store in a database; see :class:`~session_block.ledger.store.Store`.

    Opening creates the store if it does not exist, and checks it if it does. An SQLite file of up
    to 256 MiB is read completely.

    Args:
        url: An SQLAlchemy URL for SQLite or PostgreSQL.

    Raises:
        LedgerError: The store cannot be opened, is damaged, or was written by a newer version.
    """

    def __init__(self, url: str) -> None:
        parsed = parsed_url(url)
        self.shown = shown_url(url)
        self._path: Path | None = None
        self._file: tuple[int, int] | None = None
        self._in_file = parsed.get_backend_name() == "sqlite"
        with self._answering():
            if self._in_file:
                self.engine = open_sqlite(parsed, self.shown)
                self._path = sqlite_path(parsed)
                self._file = file_identity(self._path)
            else:
                self.engine = open_postgresql(parsed, self.shown)
        self._schema = FIRST_SCHEMA_VERSION
        if self._in_file:
            close_before_fork(self)
        renew_after_fork(self)

    def before_fork(self) -> None:
        """Close SQLite's connections: a child that inherits one shares its locks by mistake."""
        self.engine.dispose()

    def after_fork(self) -> None:
        """Leave the parent's connections to the parent; the next use opens new ones."""
        self.engine.dispose(close=False)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return str(self.engine.dialect.name)

    @property
    def shared(self) -> bool:
        """Whether several machines can use the store."""
        return self._path is None

    def insert(self, fact: Fact) -> bool:
        """Insert a fact unless its key is taken; return whether this call inserted it.

        If the answer to a write is lost, the write is tried again. It may then find its own fact,
        and returns False.
        """
        with self._answering():
            for tries_left in reversed(range(_CREATE_TRIES)):
                try:
                    self.write(fact)
                except sa.exc.IntegrityError:
                    return False
                except sa.exc.OperationalError:
                    if not tries_left:
                        raise
                else:
                    return True
        raise AssertionError("unreachable")

    def write(self, fact: Fact) -> None:
        """Write a fact in its own transaction; SQLAlchemy's errors pass through."""
        with self.engine.begin() as connection:
            connection.execute(facts_table.insert(), row_of(fact))

    def get(self, experiment: str, key: str) -> Fact | None:
        """Return one fact with its payload, or ``None``."""
        with self._answering(), self.engine.connect() as connection:
            found = connection.execute(ONE_FACT, {"experiment": experiment, "key": key})
            row = found.mappings().one_or_none()
        return None if row is None else self._fact(row)

    def facts(self, experiment: str, prefixes: tuple[str, ...]) -> list[Fact]:
        """Return an experiment's facts with these prefixes, without payloads, oldest first."""
        sought = {"experiment": experiment}
        for number, prefix in enumerate(prefixes):
            sought |= prefix_range(number, prefix)
        with self._answering(), self.engine.connect() as connection:
            rows = connection.execute(facts_in(len(prefixes)), sought).mappings().all()
        return [self._fact(row) for row in rows]

    def latest(self, experiment: str, prefix: str, most: int) -> list[Fact]:
        """Return the latest ``most`` facts with a prefix, without payloads, oldest first."""
        sought = {"experiment": experiment, **prefix_range(0, prefix), "most": most}
        with self._answering(), self.engine.connect() as connection:
            rows = connection.execute(LATEST, sought).mappings().all()
        return [self._fact(row) for row in reversed(rows)]

    def count(self, experiment: str, prefix: str, before: str | None) -> int:
        """Return how many keys have this prefix and, if given, sort before ``before``."""
        sought = {"experiment": experiment, **prefix_range(0, prefix)}
        if before is not None:
            sought["end0"] = min(sought["end0"], before)
        with self._answering(), self.engine.connect() as connection:
            return int(connection.execute(COUNT, sought).scalar_one())

    def everything(self) -> Iterator[Fact]:
        """Yield all facts with their payloads, one experiment after another."""
        with self._answering(), self.engine.connect() as connection:
            rows = connection.execution_options(yield_per=_AT_ONCE).execute(EVERYTHING)
            for row in rows.mappings():
                yield self._fact(row)

    def schema_version(self) -> int:
        """Return the schema version that a program must support to use this store."""
        with self._answering(), self.engine.connect() as connection:
            return read_version(connection)

    def require_schema(self, version: int) -> None:
        """Raise the schema version, unless it is already as high."""
        if version <= self._schema:
            return
        # Another process may raise it at the same moment.
        with (
            self._answering(),
            suppress(sa.exc.IntegrityError),
            self.engine.begin() as connection,
        ):
            raise_version(connection, version)
        self._schema = version

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        # In a process without the use of SQLite there is nothing to close.
        with suppress(LedgerUnavailableError), self._using():
            self.engine.dispose()

    def _fact(self, row: Mapping[Any, Any]) -> Fact:
        return fact_of(row, self.shown, self.dialect)

    def _using(self) -> AbstractContextManager[None]:
        return using_sqlite(self.shown) if self._in_file else nullcontext()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn the database's errors into this package's."""
        if self._path is not None and file_identity(self._path) != self._file:
            raise LedgerUnavailableError(
                f"The file of the ledger {self.shown} was removed or replaced while it was open. "
                "New facts would be lost, so nothing is submitted. Restore the file, or run again: "
                "the next process opens the file that is there then."
            )
        try:
            with self._using():
                yield
        except LedgerError:
            raise
        except (sa.exc.SQLAlchemyError, ImportError, OSError, UnicodeDecodeError) as error:
            raise failure(error, self.shown) from error
