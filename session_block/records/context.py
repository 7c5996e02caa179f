"""Hold what all parts of an opened experiment share."""

from __future__ import annotations

from dataclasses import dataclass, field

from session_block.environment.environment import Environment
from session_block.events import Event, EventBus, EventKind
from session_block.records.chapters import is_sealed
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.versions import FIRST, Versions


@dataclass(frozen=True)
class ExperimentContext:
    """One experiment as its parts see it: its identity, its facts and its environment.

    Attributes:
        identity: Name, number and UID.
        journal: Its facts in the ledger.
        versions: The versions of the rules that recognise it, fixed for life.
        events: Where its parts publish events.
    """

    identity: Identity
    journal: Journal
    versions: Versions = FIRST
    events: EventBus = field(default_factory=EventBus)

    @property
    def uid(self) -> str:
        """The experiment's unique ID."""
        return self.identity.uid

    @property
    def environment(self) -> Environment:
        """The environment that it runs in."""
        return self.journal.environment

    @property
    def sealed(self) -> bool:
        """Whether it is finished: it answers from its records and submits nothing."""
        return is_sealed(self.journal)

    def publish(self, kind: EventKind, subject: object, text: str = "") -> None:
        """Publish an event that happened now."""
        self.events.publish(Event(kind, str(subject), text, self.environment.now()))
