"""The ledger: immutable facts, created once, never changed.

The only write is *create if absent*, which tells every caller who was first. The store is one table
over SQLAlchemy: by default an SQLite file (write-ahead log, full sync) on a local disk, for the
processes of one machine; PostgreSQL if several machines share it. If the store does not answer, or
its answer is damaged, an error is raised: unlike a cache, a ledger fails closed.
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
"""The real world, for everything that is not simulated."""


class Store(Protocol):
    """The place of a ledger's facts. All methods raise ``LedgerError`` if it does not answer.

    Attributes:
        shown: The URL for messages, without a password.
        dialect: ``sqlite`` or ``postgresql``.
        shared: Whether several machines can use the store.
    """

    shown: str

    @property
    def dialect(self) -> str: ...  # noqa: D102

    @property
    def shared(self) -> bool: ...  # noqa: D102

    def insert(self, fact: Fact) -> bool:
        """Insert a fact unless its key is taken; return whether this call inserted it."""

    def get(self, experiment: str, key: str) -> Fact | None:
        """Return one fact with its payload, or ``None``."""

    def facts(self, experiment: str, prefixes: tuple[str, ...]) -> list[Fact]:
        """Return an experiment's facts with these prefixes, without payloads, oldest first."""

    def latest(self, experiment: str, prefix: str, most: int) -> list[Fact]:
        """Return the latest ``most`` facts with a prefix, without payloads, oldest first."""

    def count(self, experiment: str, prefix: str, before: str | None) -> int:
        """Return how many keys have this prefix and, if given, sort before ``before``."""

    def everything(self) -> Iterator[Fact]:
        """Yield all facts with their payloads, one experiment after another."""

    def schema_version(self) -> int:
        """Return the schema version that a program must support to use this store."""

    def require_schema(self, version: int) -> None:
        """Raise the schema version, unless it is already as high."""

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""


def open_ledger(url: str) -> Ledger:
    """Return the ledger at a URL, opened once in each process.

    Raises:
        LedgerError: See :class:`Ledger`.
    """
    return _opened(url, REAL.pid())


class Ledger:
    """A set of facts in a store. Threads may share it; a forked process opens its own.

    Its connections are closed by :meth:`close`, or when the object is garbage-collected.

    Opening creates the store if it does not exist, and checks it if it does. An SQLite file of up
    to 256 MiB is read completely. Every fact has a checksum, which is checked when it is read.

    Args:
        url: An SQLAlchemy URL for SQLite or PostgreSQL. Its password appears in no message.
        environment: Opens the store, and gives clock, pauses and IDs to all that use the ledger.

    Raises:
        LedgerUnavailableError: The store cannot be opened.
        LedgerDamagedError: The store is damaged, or not a ledger. It is left unchanged.
        LedgerVersionError: The store was written by a newer version. It is left unchanged.

    Examples:
        >>> from pathlib import Path
        >>> url = f"sqlite:///{Path.cwd()}/my-ledger.db"
        >>> ledger = Ledger(url)
        >>> fact, is_new = ledger.create("a-uid", "note/1", {"text": "cooled down"})
        >>> ledger.get("a-uid", "note/1").body
        {'text': 'cooled down'}
        >>> block = QuantumSession(credentials=LocalPlatformCredentials(), ledger_url=url)
    """

    def __init__(self, url: str, environment: Environment = REAL) -> None:
        self.environment = environment
        self._store: Store = environment.open_store(url)
        closing_when_dropped = weakref.finalize(self, self._store.close)
        closing_when_dropped.atexit = False

    def __repr__(self) -> str:
        return f"Ledger({self._store.shown})"

    def __str__(self) -> str:
        return f"The ledger {self.shown}"

    @property
    def shown(self) -> str:
        """Its URL, without a password.

        Examples:
            >>> ledger.shown
            'sqlite:////.../ledger.db'
        """
        return self._store.shown

    @property
    def shared(self) -> bool:
        """Whether several machines can use the ledger.

        Examples:
            >>> ledger.shared  # PostgreSQL is
            False
        """
        return self._store.shared

    def create(
        self,
        experiment: str,
        key: str,
        body: Mapping[str, Any],
        payload: bytes | None = None,
    ) -> tuple[Fact, bool]:
        """Create a fact unless it exists; it is durable when this returns.

        If the answer is lost, the write is tried again; it recognises its own fact by its writer
        token.

        Returns:
            The fact that the ledger now has under this key, and whether this call created it.

        Raises:
            InvalidInputError: The key is longer than 255 characters, or not printable.
            LedgerError: The fact was not created, or nobody knows whether it was.

        Examples:
            >>> first, was_first = ledger.create("a-uid", "winner", {"name": "Ada"})
            >>> second, was_second = ledger.create("a-uid", "winner", {"name": "Bob"})
            >>> second.body, was_second
            ({'name': 'Ada'}, False)
        """
        if len(key) > MAX_KEY_LENGTH or not key.isprintable():
            raise InvalidInputError(
                f"{key!r} cannot be the key of a fact: use up to {MAX_KEY_LENGTH} printable "
                "characters."
            )
        environment = self.environment
        # So that the creator gets what later readers get: JSON turns tuples into lists.
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
        """Return the schema version that a program must support to use this ledger.

        Raises:
            LedgerError: The store did not answer.

        Examples:
            >>> experiment.versions.schema <= ledger.schema_version()
            True
        """
        return self._store.schema_version()

    def require_schema(self, version: int) -> None:
        """Shut out programs that do not support a schema version.

        A program that has the ledger open continues; it refuses the ledger at its next opening.

        Raises:
            LedgerError: The store did not answer.

        Examples:
            >>> from pathlib import Path
            >>> ledger = Ledger(f"sqlite:///{Path.cwd()}/for-newer-programs.db")
            >>> ledger.require_schema(2)
            >>> ledger.schema_version()
            2
        """
        self._store.require_schema(version)

    def get(self, experiment: str, key: str) -> Fact | None:
        """Return one fact with its payload, or ``None``.

        Raises:
            LedgerError: The store did not answer, or the fact is damaged.

        Examples:
            >>> ledger.get(experiment.uid, "experiment").body["name"]
            'example'
            >>> ledger.get(experiment.uid, "nothing") is None
            True
        """
        return self._store.get(experiment, key)

    def facts(self, experiment: str, *prefixes: str) -> list[Fact]:
        """Return an experiment's facts, without payloads, ordered by their writers' clocks.

        Args:
            experiment: The experiment's UID.
            prefixes: Only facts whose key starts with one of these; all when none is given.

        Raises:
            LedgerError: The store did not answer, or a fact is damaged.

        Examples:
            >>> recorded = ledger.create("my-notebook", "note/1", {"text": "warm day"})
            >>> [fact.key for fact in ledger.facts("my-notebook", "note/")]
            ['note/1']
        """
        return self._store.facts(experiment, prefixes or ("",))

    def latest(self, experiment: str, prefix: str, most: int) -> list[Fact]:
        """Return the latest facts whose keys have a prefix, as :meth:`facts` does; reads no others.

        Args:
            experiment: The experiment's UID.
            prefix: What the keys start with.
            most: How many facts to return at most.

        Raises:
            LedgerError: The store did not answer, or a fact is damaged.

        Examples:
            >>> for day in (1, 2, 3):
            ...     recorded = ledger.create("my-diary", f"note/{day}", {})
            >>> [fact.key for fact in ledger.latest("my-diary", "note/", 2)]
            ['note/2', 'note/3']
        """
        return self._store.latest(experiment, prefix, most)

    def count(self, experiment: str, prefix: str, *, before: str | None = None) -> int:
        """Count the facts of an experiment whose keys have a prefix, without reading them.

        Args:
            experiment: The experiment's UID.
            prefix: What the keys start with.
            before: Count only keys before this one, in code point order.

        Raises:
            LedgerError: The store did not answer.

        Examples:
            >>> recorded = ledger.create("my-counted-notes", "note/1", {})
            >>> ledger.count("my-counted-notes", "note/")
            1
        """
        return self._store.count(experiment, prefix, before)

    def everything(self) -> Iterator[Fact]:
        """Yield all facts with their payloads, one experiment after another.

        Raises:
            LedgerError: The store did not answer, or a fact is damaged.

        Examples:
            >>> uids = {fact.experiment for fact in ledger.everything()}
            >>> experiment.uid in uids
            True
        """
        return self._store.everything()

    def take(self, fact: Fact) -> bool:
        """Copy a fact of another ledger unchanged, unless it is here already.

        Returns:
            Whether it was new here.

        Raises:
            InvalidInputError: A different fact has the same key.
            LedgerError: The fact was not copied, or nobody knows whether it was.

        Examples:
            >>> from pathlib import Path
            >>> copy = Ledger(f"sqlite:///{Path.cwd()}/copy.db")
            >>> fact = ledger.get(experiment.uid, "experiment")
            >>> copy.take(fact), copy.take(fact)
            (True, False)
        """
        if self._store.insert(fact):
            return True
        if self.get(fact.experiment, fact.key) != fact:
            raise InvalidInputError(
                f"The ledger {self._store.shown} holds another fact {fact.key!r} of experiment "
                f"{fact.experiment}, so both ledgers were in use. Copy into an empty ledger."
            )
        return False

    def close(self) -> None:
        """Close the store's connections.

        Examples:
            >>> from pathlib import Path
            >>> ledger = Ledger(f"sqlite:///{Path.cwd()}/closed.db")
            >>> ledger.close()
            >>> ledger.count("nobody", "")  # it opens again when it is used
            0
        """
        self._store.close()


@dataclass(frozen=True)
class Copied:
    """The result of copying a ledger.

    Attributes:
        copied: How many facts are new in the target.
        present: How many facts the target had already.
    """

    copied: int
    present: int


def copy_ledger(source: Ledger, target: Ledger) -> Copied:
    """Copy all facts of a ledger into another one; the source is not changed.

    An interrupted copy can be run again: facts that the target has already are left unchanged.
    Limit: facts created during the copy may be missed. Copy while no experiment runs, and use only
    the target from then on.

    Raises:
        InvalidInputError: The target has a different fact under the same key.
        LedgerError: A ledger did not answer, or a fact is damaged; the facts before it are copied.
    """
    target.require_schema(source.schema_version())
    new = [target.take(fact) for fact in source.everything()]
    return Copied(sum(new), len(new) - sum(new))


def set_aside(url: str) -> Path:
    """Rename a damaged SQLite ledger, so that the next opening starts an empty one.

    Experiments then find their jobs by their tags. Drawn values and pinned circuits are lost, and a
    flow that depends on them stops as diverged. The package never does this by itself. First end
    all processes that use the ledger: those that continue get errors.

    Returns:
        The new path, with date and time. Its ``-wal`` is renamed too, so it is still a complete
        SQLite database.

    Raises:
        InvalidInputError: It is not an SQLite ledger, or there is no ledger.
        OSError: It cannot be renamed.

    Examples:
        >>> from pathlib import Path
        >>> file = Path("damaged.db").absolute()
        >>> written = file.write_text("no ledger at all")
        >>> set_aside(f"sqlite:///{file}").name
        'damaged.db...'
        >>> Ledger(f"sqlite:///{file}").count("nobody", "")  # a new one
        0
    """
    return move_aside(url, REAL.now())


@cache
def _opened(url: str, _pid: int) -> Ledger:
    return Ledger(url)
