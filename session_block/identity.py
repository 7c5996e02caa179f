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
        fresh: Start the next experiment of this name.
        flow_run_id: The outermost flow run, if there is one. What it once opened by a name is what
            it opens ever after, so that its retries go on with it.

    Raises:
        InvalidInputError: There is no name, or it cannot be one.
    """
    name = _checked(flow_run_id if name is None else name)
    quoted = quote(name, safe="")
    if flow_run_id is None:
        return _identity(name, *_latest_or_new(ledger, quoted, fresh=fresh))
    chosen = ledger.get(_NAMES, f"run/{flow_run_id}/{quoted}")
    if chosen is not None:
        return _identity(name, chosen, existed=True)
    fact, existed = _latest_or_new(ledger, quoted, fresh=fresh)
    chosen, _ = ledger.create(_NAMES, f"run/{flow_run_id}/{quoted}", fact.body)
    return _identity(name, chosen, existed=existed)


def _latest_or_new(ledger: Ledger, quoted: str, *, fresh: bool) -> tuple[Fact, bool]:
    """Return what a name now stands for, and whether that existed before."""
    prefix = f"name/{quoted}/"
    while True:
        known = ledger.facts(_NAMES, prefix)
        latest = max(known, key=lambda fact: int(fact.body["number"]), default=None)
        if latest is not None and not fresh:
            return latest, True
        number = 1 if latest is None else int(latest.body["number"]) + 1
        body = {"uid": uuid4().hex[:16], "number": number}
        fact, ours = ledger.create(_NAMES, f"{prefix}{number}", body)
        if ours:
            return fact, False


def _identity(name: str, fact: Fact, existed: bool) -> Identity:
    return Identity(name, int(fact.body["number"]), fact.body["uid"], resumed=existed)


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
