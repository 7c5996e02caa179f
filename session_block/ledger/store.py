"""The ledger: immutable facts, created once, never changed.

The only write is *create if absent*, which tells everybody who was first. The store is one table
over SQLAlchemy: an SQLite file (write-ahead log, full sync) by default, for the processes of one
machine on a local disk; PostgreSQL where several machines share it. A store that does not answer,
or whose answer is damaged, raises: a ledger is fail-closed, unlike a cache.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from session_block import crashpoints
from session_block.errors import (
    InvalidInputError,
    LedgerDamagedError,
    LedgerError,
    LedgerUnavailableError,
)
from session_block.ledger.failures import cure, failure
from session_block.ledger.schema import (
    FIRST_SCHEMA_VERSION,
    MAX_KEY_LENGTH,
    SCHEMA_VERSION,
    Fact,
    fact_of,
    facts_table,
    open_postgresql,
    raise_version,
    read_version,
    row_of,
)
from session_block.ledger.sqlite import file_identity, open_sqlite, set_aside, sqlite_path
from session_block.ledger.urls import parsed_url

__all__ = [
    "SCHEMA_VERSION",
    "Fact",
    "Ledger",
    "open_ledger",
    "set_aside",
]

_LAST_CHARACTER = "\U0010ffff"
"""Not printable, so that no key holds it."""

# Queries are made once: to make one takes as long as to run it.
_texts = [column for column in facts_table.c if column is not facts_table.c.payload]

ONE_FACT = sa.select(facts_table).where(
    facts_table.c.experiment == sa.bindparam("experiment"),
    facts_table.c.key == sa.bindparam("key"),
)

EVERYTHING = sa.select(facts_table).order_by(facts_table.c.experiment, facts_table.c.key)

_CREATE_TRIES = 2

_AT_ONCE = 100
"""So many facts are in memory when all are read."""


def _starts_with(number: int) -> sa.ColumnElement[bool]:
    """Select the ``number``-th range of the primary key; several, complete, are as many searches.

    LIKE would ignore case in SQLite, and its wildcards are in the way.
    """
    key = facts_table.c.key
    return sa.and_(
        facts_table.c.experiment == sa.bindparam("experiment"),
        key >= sa.bindparam(f"start{number}"),
        key < sa.bindparam(f"end{number}"),
    )


def prefix_range(number: int, prefix: str) -> dict[str, str]:
    """Return the parameters of the ``number``-th range: the keys that start so."""
    return {f"start{number}": prefix, f"end{number}": f"{prefix}{_LAST_CHARACTER}"}


@cache
def facts_in(ranges: int) -> sa.Select[Any]:
    """Return the query of an experiment's facts in so many ranges, without payloads."""
    return (
        sa.select(*_texts)
        .where(sa.or_(*(_starts_with(number) for number in range(ranges))))
        .order_by(facts_table.c.created_at, facts_table.c.key)
    )


COUNT = sa.select(sa.func.count()).where(_starts_with(0))


def open_ledger(url: str) -> Ledger:
    """Return the ledger at a URL, opened once in each process.

    Raises:
        LedgerError: As :class:`Ledger` does.
    """
    return _opened(url, os.getpid())


class Ledger:
    """A set of facts in a database. Threads may share it; a forked process opens its own.

    Its connections are closed by :meth:`close`, or when nobody holds it any more.

    Opening makes a store that does not exist, and checks one that does; an SQLite file of up to
    256 MiB is read through. Every fact bears a checksum, which is compared when it is read.

    Args:
        url: An SQLAlchemy URL, of SQLite or PostgreSQL. Its password appears in no message.

    Raises:
        LedgerUnavailableError: The store cannot be opened.
        LedgerDamagedError: The store is damaged, or no ledger. It is left as it was.
        LedgerVersionError: The store was written by a newer version. It is left as it was.
    """

    def __init__(self, url: str) -> None:
        parsed = parsed_url(url)
        self._shown = str(parsed.set(query={}))
        self._path: Path | None = None
        self._file: tuple[int, int] | None = None
        with self._store():
            if parsed.get_backend_name() == "sqlite":
                self._engine = open_sqlite(parsed, self._shown)
                self._path = sqlite_path(parsed)
                self._file = file_identity(self._path)
            else:
                self._engine = open_postgresql(parsed, self._shown)
        self._schema = FIRST_SCHEMA_VERSION
        closing_when_dropped = weakref.finalize(self, self._engine.dispose)
        closing_when_dropped.atexit = False

    def __repr__(self) -> str:
        return f"Ledger({self._shown})"

    @property
    def shared(self) -> bool:
        """Whether several machines can use it."""
        return self._path is None

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

        Raises:
            InvalidInputError: The key is longer than 255 characters, or not printable.
            LedgerError: The fact was not created, or it is not known whether it was.
        """
        if len(key) > MAX_KEY_LENGTH or not key.isprintable():
            raise InvalidInputError(
                f"{key!r} cannot be the key of a fact: use up to {MAX_KEY_LENGTH} printable "
                "characters."
            )
        text = json.dumps(body, sort_keys=True)
        fact = Fact(experiment, key, json.loads(text), uuid4().hex, datetime.now(UTC), payload)
        with self._store(), crashpoints.around(f"record {key.partition('/')[0]}"):
            for tries_left in reversed(range(_CREATE_TRIES)):
                try:
                    self._insert(fact, text)
                except sa.exc.IntegrityError:
                    break
                except sa.exc.OperationalError:
                    if not tries_left:
                        raise
                else:
                    return fact, True
        held = self.get(experiment, key)
        if held is None:
            raise LedgerDamagedError(
                f"The ledger {self._shown} refused fact {key!r} of experiment {experiment} and "
                f"does not hold it. {cure(self._engine.dialect.name)}"
            )
        return held, held.writer == fact.writer

    def schema_version(self) -> int:
        """Return which schema version a program must read to use this ledger.

        Raises:
            LedgerError: The store did not answer.
        """
        with self._store(), self._engine.connect() as connection:
            return read_version(connection)

    def require_schema(self, version: int) -> None:
        """Make sure that no program uses this ledger that does not read a schema version.

        Those that have it open go on with it; they refuse it when they open it anew.

        Raises:
            LedgerError: The store did not answer.
        """
        if version <= self._schema:
            return
        # Somebody else may do so at the same moment.
        with (
            self._store(),
            suppress(sa.exc.IntegrityError),
            self._engine.begin() as connection,
        ):
            raise_version(connection, version)
        self._schema = version

    def _fact(self, row: Mapping[Any, Any]) -> Fact:
        return fact_of(row, self._shown, self._engine.dialect.name)

    def _insert(self, fact: Fact, body: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(facts_table.insert(), row_of(fact, body))

    def get(self, experiment: str, key: str) -> Fact | None:
        """Return one fact with its payload, or ``None``.

        Raises:
            LedgerError: The store did not answer, or the fact is damaged.
        """
        with self._store(), self._engine.connect() as connection:
            found = connection.execute(ONE_FACT, {"experiment": experiment, "key": key})
            row = found.mappings().one_or_none()
        return None if row is None else self._fact(row)

    def facts(self, experiment: str, *prefixes: str) -> list[Fact]:
        """Return an experiment's facts, without payloads, ordered by their writers' clocks.

        Args:
            experiment: The experiment's UID.
            prefixes: Only facts whose key starts with one of these; all when none is given.

        Raises:
            LedgerError: The store did not answer, or a fact is damaged.
        """
        asked = prefixes or ("",)
        sought = {"experiment": experiment}
        for number, prefix in enumerate(asked):
            sought |= prefix_range(number, prefix)
        with self._store(), self._engine.connect() as connection:
            rows = connection.execute(facts_in(len(asked)), sought).mappings().all()
        return [self._fact(row) for row in rows]

    def count(self, experiment: str, prefix: str, *, before: str | None = None) -> int:
        """Return how many facts of an experiment have a key that starts so, without reading them.

        Args:
            experiment: The experiment's UID.
            prefix: What the keys start with.
            before: Only keys that come before this one in the order of characters.

        Raises:
            LedgerError: The store did not answer.
        """
        sought = {"experiment": experiment, **prefix_range(0, prefix)}
        if before is not None:
            sought["end0"] = min(sought["end0"], before)
        with self._store(), self._engine.connect() as connection:
            return int(connection.execute(COUNT, sought).scalar_one())

    def everything(self) -> Iterator[Fact]:
        """Yield all facts with their payloads, those of one experiment after another.

        Raises:
            LedgerError: The store did not answer, or a fact is damaged.
        """
        with self._store(), self._engine.connect() as connection:
            rows = connection.execution_options(yield_per=_AT_ONCE).execute(EVERYTHING)
            for row in rows.mappings():
                yield self._fact(row)

    def take(self, fact: Fact) -> bool:
        """Keep a fact of another ledger as it is, unless it is here already.

        Returns:
            Whether it was not.

        Raises:
            InvalidInputError: Another fact has its place.
            LedgerError: The fact was not kept, or it is not known whether it was.
        """
        with self._store():
            try:
                self._insert(fact, json.dumps(fact.body, sort_keys=True))
            except sa.exc.IntegrityError:
                pass
            else:
                return True
        held = self.get(fact.experiment, fact.key)
        if held != fact:
            raise InvalidInputError(
                f"The ledger {self._shown} holds another fact {fact.key!r} of experiment "
                f"{fact.experiment}, so the two were both in use. Copy into an empty ledger."
            )
        return False

    def close(self) -> None:
        """Close the store's connections."""
        self._engine.dispose()

    @contextmanager
    def _store(self) -> Iterator[None]:
        if self._path is not None and file_identity(self._path) != self._file:
            raise LedgerUnavailableError(
                f"The file of the ledger {self._shown} was removed or replaced while it was open. "
                "What is written now would be lost, so nothing is submitted. Restore the file, or "
                "run again: the next process opens what is there then."
            )
        try:
            yield
        except LedgerError:
            raise
        except (sa.exc.SQLAlchemyError, ImportError, OSError, UnicodeDecodeError) as error:
            raise failure(error, self._shown) from error


@dataclass(frozen=True)
class Copied:
    """What became of the facts of a ledger that was copied.

    Attributes:
        copied: So many are new in the other one.
        present: So many were there already.
    """

    copied: int
    present: int


def copy_ledger(source: Ledger, target: Ledger) -> Copied:
    """Copy all facts of a ledger into another one, and change nothing in the first.

    It can be interrupted, and run again: what is there already is left as it is. Limit: facts that
    are created meanwhile may be missed. Copy while no experiment runs, and use only the other one
    from then on.

    Raises:
        InvalidInputError: The other ledger holds another fact in the place of one.
        LedgerError: A ledger did not answer, or a fact is damaged; those before it are copied.
    """
    target.require_schema(source.schema_version())
    new = [target.take(fact) for fact in source.everything()]
    return Copied(sum(new), len(new) - sum(new))


@cache
def _opened(url: str, _pid: int) -> Ledger:
    return Ledger(url)
