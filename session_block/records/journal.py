"""Read and write the facts of one experiment as typed records; nothing else does."""

from __future__ import annotations

from typing import TypeVar

from session_block.environment.environment import Environment
from session_block.ledger.store import Fact, Ledger
from session_block.records.keys import Kind, typed

K = TypeVar("K", bound=Kind)


class Journal:
    """A ledger, bound to one experiment or to another scope such as a Block's budget.

    Args:
        ledger: Where the facts are.
        scope: The experiment's UID, or the name of another scope.
    """

    def __init__(self, ledger: Ledger, scope: str) -> None:
        self.ledger = ledger
        self.scope = scope

    @property
    def environment(self) -> Environment:
        """The environment of the ledger."""
        return self.ledger.environment

    def __repr__(self) -> str:
        return f"Journal({self.ledger}, {self.scope!r})"

    def record(self, record: K, payload: bytes | None = None) -> tuple[K, bool]:
        """Create a fact unless there is one in its place; it is durable when this returns.

        Returns:
            The fact that the ledger now holds in that place, and whether this call created it.

        Raises:
            LedgerError: The fact was not recorded, or it is unknown whether it was.
        """
        fact, ours = self.ledger.create(self.scope, record.fact_key, record.fact_body, payload)
        return type(record).of(fact), ours

    def get(self, kind: type[K], *place: object) -> K | None:
        """Return the fact of a kind at a place, with its payload; ``None`` if there is none."""
        fact = self.ledger.get(self.scope, kind.prefix(*place))
        return None if fact is None else kind.of(fact)

    def all(self, kind: type[K], *place: object) -> list[K]:
        """Return the facts of a kind at a place given in part, oldest first, without payloads."""
        facts = self.ledger.facts(self.scope, kind.prefix(*place))
        return [kind.of(fact) for fact in facts]

    def latest(self, kind: type[K], most: int) -> list[K]:
        """Return the latest ``most`` facts of a kind, oldest first, without payloads."""
        facts = self.ledger.latest(self.scope, kind.prefix(), most)
        return [kind.of(fact) for fact in facts]

    def several(self, *kinds: type[Kind], at: object = None) -> list[Kind]:
        """Return the facts of several kinds, oldest first, without payloads.

        Args:
            kinds: The kinds of facts.
            at: The first part of their place; ``None`` for all places.
        """
        place = () if at is None else (at,)
        facts = self.ledger.facts(self.scope, *(kind.prefix(*place) for kind in kinds))
        return [record for fact in facts if isinstance(record := typed(fact), kinds)]

    def everything(self) -> list[tuple[Fact, Kind | None]]:
        """Return all facts with their records, oldest first; ``None`` for a newer version's."""
        return [(fact, typed(fact)) for fact in self.ledger.facts(self.scope)]

    def count(self, kind: type[Kind], *place: object) -> int:
        """Return how many facts of a kind there are at a place given in part."""
        return self.ledger.count(self.scope, kind.prefix(*place))

    def count_before(self, kind: type[Kind], *place: object) -> int:
        """Return how many facts of a kind come before a place given in full."""
        return self.ledger.count(self.scope, kind.prefix(), before=kind.prefix(*place))

    def has(self, kind: type[Kind], *place: object) -> bool:
        """Whether there is a fact of a kind at a place given in full; does not read its payload."""
        return self.count(kind, *place) > 0
