"""What every part of an opened experiment shares."""

from __future__ import annotations

from dataclasses import dataclass, field

from session_block.environment.environment import Environment
from session_block.events import Event, EventBus, EventKind
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import Sealed
from session_block.records.versions import FIRST, Versions


@dataclass(frozen=True)
class ExperimentContext:
    """One experiment as its parts see it: who it is, its facts, and its world.

    Attributes:
        identity: Name, number and UID.
        journal: Its ledger.
        versions: Those of the rules that recognise it, for life.
        events: Where its parts publish what happens.
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
        """The world that it runs in."""
        return self.journal.environment

    @property
    def sealed(self) -> bool:
        """Whether it is finished: it answers from its records and submits nothing."""
        return self.journal.has(Sealed)

    def publish(self, kind: EventKind, subject: object, text: str = "") -> None:
        """Publish that something happened now."""
        self.events.publish(Event(kind, str(subject), text, self.environment.now()))
