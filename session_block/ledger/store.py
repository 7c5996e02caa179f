"""The ledger: immutable facts, created once, never changed.

The only write is *create if absent*, which tells everybody who was first. The store is one table
over SQLAlchemy: an SQLite file (write-ahead log, full sync) by default, for the processes of one
machine on a local disk; PostgreSQL where several machines share it. A store that does not answer,
or whose answer is damaged, raises: a ledger is fail-closed, unlike a cache.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from session_block import crashpoints
from session_block.environment.environment import Environment
from session_block.errors import InvalidInputError, LedgerDamagedError
from session_block.ledger.database import DatabaseStore
from session_block.ledger.failures import cure
from session_block.ledger.schema import MAX_KEY_LENGTH, SCHEMA_VERSION, Fact
from session_block.ledger.sqlite import move_aside

__all__ = [
    "REAL",
    "SCHEMA_VERSION",
    "Fact",
    "Ledger",
    "Store",
    "open_ledger",
    "set_aside",
]

REAL = Environment(DatabaseStore)
"""The real world; everything that is not simulated runs in it."""


class Store(Protocol):
    """Where a ledger keeps its facts. All methods raise ``LedgerError`` if it does not answer.

    Attributes:
        shown: Its URL for messages, without a password.
        dialect: ``sqlite`` or ``postgresql``.
        shared: Whether several machines can use it.
    """

    shown: str

    @property
    def dialect(self) -> str: ...  # noqa: D102

    @property
    def shared(self) -> bool: ...  # noqa: D102

    def insert(self, fact: Fact) -> bool:
        """Keep a fact unless there is one in its place; say whether this call kept one."""

    def get(self, experiment: str, key: str) -> Fact | None:
        """Return one fact with its payload, or ``None``."""

    def facts(self, experiment: str, prefixes: tuple[str, ...]) -> list[Fact]:
        """Return an experiment's facts with these prefixes, without payloads, oldest first."""

    def count(self, experiment: str, prefix: str, before: str | None) -> int:
        """Return how many keys have this prefix and, if ``before`` is given, sort before it."""

    def everything(self) -> Iterator[Fact]:
        """Yield all facts with their payloads, one experiment after another."""

    def schema_version(self) -> int:
        """Return the schema version that a program must read to use this store."""

    def require_schema(self, version: int) -> None:
        """Raise the schema version, unless it is as high already."""

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""


def open_ledger(url: str) -> Ledger:
    """Return the ledger at a URL, opened once in each process.

    Raises:
        LedgerError: As :class:`Ledger` does.
    """
    return _opened(url, REAL.pid())


class Ledger:
    """A set of facts in a store. Threads may share it; a forked process opens its own.

    Its connections are closed by :meth:`close`, or when nobody holds it any more.

    Opening makes a store that does not exist, and checks one that does; an SQLite file of up to
    256 MiB is read through. Every fact bears a checksum, which is compared when it is read.

    Args:
        url: An SQLAlchemy URL, of SQLite or PostgreSQL. Its password appears in no message.
        environment: The world that opens the store, and that everything recorded here lives in.

    Raises:
        LedgerUnavailableError: The store cannot be opened.
        LedgerDamagedError: The store is damaged, or no ledger. It is left as it was.
        LedgerVersionError: The store was written by a newer version. It is left as it was.
    """

    def __init__(self, url: str, environment: Environment = REAL) -> None:
        self.environment = environment
        self._store: Store = environment.open_store(url)
        closing_when_dropped = weakref.finalize(self, self._store.close)
        closing_when_dropped.atexit = False

    def __repr__(self) -> str:
        return f"Ledger({self._store.shown})"

    @property
    def shared(self) -> bool:
        """Whether several machines can use it."""
        return self._store.shared

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
        environment = self.environment
        # As it is read back: a tuple comes back as a list.
        as_read = json.loads(json.dumps(body))
        fact = Fact(experiment, key, as_read, environment.new_id(), environment.now(), payload)
        with crashpoints.around(f"record {key.partition('/')[0]}"):
            if self._store.insert(fact):
                return fact, True
        held = self.get(experiment, key)
        if held is None:
            raise LedgerDamagedError(
                f"The ledger {self._store.shown} refused fact {key!r} of experiment {experiment} "
                f"and does not hold it. {cure(self._store.dialect)}"
            )
        return held, held.writer == fact.writer

    def schema_version(self) -> int:
        """Return the schema version that a program must read to use this ledger.

        Raises:
            LedgerError: The store did not answer.
        """
        return self._store.schema_version()

    def require_schema(self, version: int) -> None:
        """Shut out programs that do not read a schema version.

        Those that have the ledger open go on with it; they refuse it when they open it anew.

        Raises:
            LedgerError: The store did not answer.
        """
        self._store.require_schema(version)

    def get(self, experiment: str, key: str) -> Fact | None:
        """Return one fact with its payload, or ``None``.

        Raises:
            LedgerError: The store did not answer, or the fact is damaged.
        """
        return self._store.get(experiment, key)

    def facts(self, experiment: str, *prefixes: str) -> list[Fact]:
        """Return an experiment's facts, without payloads, ordered by their writers' clocks.

        Args:
            experiment: The experiment's UID.
            prefixes: Only facts whose key starts with one of these; all when none is given.

        Raises:
            LedgerError: The store did not answer, or a fact is damaged.
        """
        return self._store.facts(experiment, prefixes or ("",))

    def count(self, experiment: str, prefix: str, *, before: str | None = None) -> int:
        """Count the facts of an experiment whose keys have a prefix, without reading them.

        Args:
            experiment: The experiment's UID.
            prefix: What the keys start with.
            before: Only keys that come before this one in the order of characters.

        Raises:
            LedgerError: The store did not answer.
        """
        return self._store.count(experiment, prefix, before)

    def everything(self) -> Iterator[Fact]:
        """Yield all facts with their payloads, one experiment after another.

        Raises:
            LedgerError: The store did not answer, or a fact is damaged.
        """
        return self._store.everything()

    def take(self, fact: Fact) -> bool:
        """Keep a fact of another ledger as it is, unless it is here already.

        Returns:
            Whether it was new here.

        Raises:
            InvalidInputError: Another fact has its place.
            LedgerError: The fact was not kept, or it is not known whether it was.
        """
        if self._store.insert(fact):
            return True
        if self.get(fact.experiment, fact.key) != fact:
            raise InvalidInputError(
                f"The ledger {self._store.shown} holds another fact {fact.key!r} of experiment "
                f"{fact.experiment}, so the two were both in use. Copy into an empty ledger."
            )
        return False

    def close(self) -> None:
        """Close the store's connections."""
        self._store.close()


@dataclass(frozen=True)
class Copied:
    """What became of the facts of a ledger that was copied.

    Attributes:
        copied: How many are new in the other one.
        present: How many were there already.
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


def set_aside(url: str) -> Path:
    """Rename a damaged SQLite ledger, so that the next opening starts an empty one.

    Experiments then find their jobs by their tags; drawn values and pinned circuits are lost with
    the ledger, and a flow that depends on them stops as diverged. This is never done unasked. End
    all processes that use the ledger first: those that go on are refused.

    Returns:
        The dated new name. With its ``-wal`` beside it, it is still one SQLite database.

    Raises:
        InvalidInputError: It is no SQLite ledger, or there is none.
        OSError: It cannot be renamed.
    """
    return move_aside(url, REAL.now())


@cache
def _opened(url: str, _pid: int) -> Ledger:
    return Ledger(url)
