"""Hold what all parts of an opened experiment share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from session_block.environment.environment import Environment
from session_block.events import Event, EventBus, EventKind
from session_block.records.chapters import is_sealed
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.versions import FIRST, Versions
from session_block.tags import SubmissionTag, owner_digest


@dataclass(frozen=True)
class ExperimentContext:
    """One experiment as its parts see it: its identity, its facts and its environment.

    Attributes:
        identity: Name, number and UID.
        journal: Its facts in the ledger.
        versions: The versions of the rules that recognise it, fixed for life.
        events: Where its parts publish events.
        owner: Whose its jobs are, as the Block names it; ``None`` for the account's identity.
        taken: The experiment was another owner's, and was taken by its UID.
    """

    identity: Identity
    journal: Journal
    versions: Versions = FIRST
    events: EventBus = field(default_factory=EventBus)
    owner: str | None = None
    taken: bool = False

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

    def owner_digest(self, account: str | None) -> str | None:
        """Return what this opening's jobs say of their owner; ``None`` if it is unknown.

        Args:
            account: The account's identity, as the platform gives it.
        """
        owner = self.owner or account
        return None if owner is None else owner_digest(owner)

    def is_anothers(self, tags: Iterable[str], account: str | None) -> bool:
        """Whether a job of this experiment is another owner's, so that its session is too.

        In a flow run without a name nobody else can have submitted it.

        Args:
            tags: The job's tags.
            account: The account's identity, as the platform gives it.
        """
        parsed = (SubmissionTag.parse(tag) for tag in tags)
        tag = next((one for one in parsed if one is not None and one.uid == self.uid), None)
        if tag is None or not self.identity.named:
            return False
        own = self.owner_digest(account)
        if self.taken:
            return own is None or tag.owner != own
        return None not in {own, tag.owner} and tag.owner != own

    def publish(self, kind: EventKind, subject: object, text: str = "") -> None:
        """Publish an event that happened now."""
        self.events.publish(Event(kind, str(subject), text, self.environment.now()))
