"""Which experiment a name stands for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import quote
from uuid import uuid4

from session_block.errors import InvalidInputError
from session_block.ledger import Fact, Ledger
from session_block.request import MAX_TAG_LENGTH

MAX_NAME_LENGTH = 120
_NAMES = "@names"
"""The pseudo-experiment whose facts say which UIDs a name has had."""


@dataclass(frozen=True)
class Identity:
    """An experiment's name, its number among those of that name, and its unique ID.

    Attributes:
        resumed: The experiment existed before it was opened now.
    """

    name: str
    number: int
    uid: str
    resumed: bool = False

    def __str__(self) -> str:
        return f"{self.name!r} (number {self.number})" if self.number > 1 else repr(self.name)

    @property
    def uid_tag(self) -> str:
        """The tag by which all jobs of this experiment, and no others, are found."""
        return f"qs-uid:{self.uid}"

    @property
    def tags(self) -> list[str]:
        """The tags that all jobs of this experiment bear: its name, for people, and its UID."""
        tag = f"qs-exp:{self.name}" + (f"#{self.number}" if self.number > 1 else "")
        if len(tag) > MAX_TAG_LENGTH:
            tag = f"{tag[: MAX_TAG_LENGTH - 17]}~{hashlib.sha256(tag.encode()).hexdigest()[:16]}"
        return [tag, self.uid_tag]


def identify(
    ledger: Ledger, name: str | None, *, fresh: bool = False, flow_run_id: str | None = None
) -> Identity:
    """Return the experiment that a name stands for, minting it when it is new.

    Args:
        ledger: Where names are kept.
        name: The user's name; ``None`` for the flow run's ID.
        fresh: Start the next experiment of this name, unless this very flow run already did.
        flow_run_id: The outermost flow run, if there is one.

    Raises:
        InvalidInputError: There is no name, or it cannot be one.
    """
    name = _checked(flow_run_id if name is None else name)
    prefix = f"name/{quote(name, safe='')}/"
    while True:
        known = sorted(
            ledger.facts(_NAMES, prefix), key=lambda fact: int(fact.key.rpartition("/")[2])
        )
        latest = known[-1] if known else None
        if latest is not None and not _must_be_new(latest, flow_run_id, fresh=fresh):
            return Identity(name, len(known), latest.body["uid"], resumed=True)
        fact, ours = ledger.create(
            _NAMES,
            f"{prefix}{len(known) + 1}",
            {"uid": uuid4().hex[:16], "flow_run_id": flow_run_id},
        )
        if ours:
            return Identity(name, len(known) + 1, fact.body["uid"])


def _must_be_new(latest: Fact, flow_run_id: str | None, *, fresh: bool) -> bool:
    same_run = flow_run_id is not None and latest.body["flow_run_id"] == flow_run_id
    return fresh and not same_run


def _checked(name: str | None) -> str:
    if name is None:
        raise InvalidInputError(
            "Outside a flow run an experiment needs a name, by which it is found again: "
            "experiment('h2-scan')."
        )
    if not name.strip() or len(quote(name, safe="")) > MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidInputError(
            f"{name!r} cannot name an experiment: use 1 to {MAX_NAME_LENGTH} printable characters "
            "(fewer, where they are not ASCII)."
        )
    return name
