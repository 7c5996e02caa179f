"""Ledgers in memory, which processes share, lose, and find restored from an older copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from session_block.errors import LedgerUnavailableError
from session_block.ledger.schema import FIRST_SCHEMA_VERSION, Fact

if TYPE_CHECKING:
    from .world import Process

Facts = dict[tuple[str, str], Fact]


class Disk:
    """The place of one ledger. Its content may be lost; who has it open does not see that.

    Attributes:
        written_at: The moment of each fact, by no machine's clock.
    """

    def __init__(self) -> None:
        self.facts: Facts = {}
        self.written_at: dict[tuple[str, str], float] = {}
        self.version = FIRST_SCHEMA_VERSION

    def copy(self) -> Disk:
        """Return a copy of what it holds now."""
        other = Disk()
        other.facts, other.version = dict(self.facts), self.version
        return other


class SimulatedStore:
    """One process's connection to a ledger; see :class:`session_block.ledger.store.Store`."""

    shared = True
    dialect = "postgresql"
    shown = "simulated"

    def __init__(self, process: Process, disk: Disk) -> None:
        self._process = process
        self._disk = disk

    def insert(self, fact: Fact) -> bool:
        """Insert a fact unless its key is taken."""
        fault = self._process.world.ledger(self._process, f"write {fact.key}")
        if fault == "ledger lost before":
            raise _unavailable()
        at = (fact.experiment, fact.key)
        inserted = self._disk.facts.setdefault(at, fact) is fact
        if inserted:
            self._disk.written_at[at] = self._process.world.now
        self._process.world.after(self._process)
        if fault == "ledger lost after":
            raise _unavailable()
        return inserted

    def get(self, experiment: str, key: str) -> Fact | None:
        """Return one fact."""
        self._read(f"read {key}")
        return self._disk.facts.get((experiment, key))

    def facts(self, experiment: str, prefixes: tuple[str, ...]) -> list[Fact]:
        """Return facts, oldest first."""
        self._read(f"read {', '.join(prefixes)}")
        found = [
            fact
            for (owner, key), fact in self._disk.facts.items()
            if owner == experiment and key.startswith(prefixes)
        ]
        return sorted(found, key=lambda fact: (fact.created_at, fact.key))

    def latest(self, experiment: str, prefix: str, most: int) -> list[Fact]:
        """Return the latest facts, oldest first."""
        return self.facts(experiment, (prefix,))[-most:]

    def count(self, experiment: str, prefix: str, before: str | None) -> int:
        """Count keys."""
        self._read(f"count {prefix}")
        return sum(
            owner == experiment and key.startswith(prefix) and (before is None or key < before)
            for owner, key in self._disk.facts
        )

    def everything(self) -> Iterator[Fact]:
        """Yield all facts."""
        yield from list(self._disk.facts.values())

    def schema_version(self) -> int:
        """Return the schema version."""
        return self._disk.version

    def require_schema(self, version: int) -> None:
        """Raise the schema version."""
        self._disk.version = max(self._disk.version, version)

    def close(self) -> None:
        """There is nothing to close."""

    def _read(self, what: str) -> None:
        if self._process.world.ledger(self._process, what) is not None:
            raise _unavailable()


def _unavailable() -> LedgerUnavailableError:
    return LedgerUnavailableError("The simulated ledger did not answer.")
