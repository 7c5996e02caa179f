"""Which experiment a name stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote
from uuid import uuid4

from session_block.errors import InvalidInputError
from session_block.ledger.store import Fact, Ledger
from session_block.tags import name_tag, uid_tag

MAX_NAME_LENGTH = 120
_NAMES = "@names"
"""The pseudo-experiment whose facts say which UIDs a name has had."""


@dataclass(frozen=True)
class Identity:
    """An experiment's name, its number among those of that name, and its unique ID.

    Attributes:
        resumed: The experiment existed before it was opened now.
        lost: The ledger had lost it; it was found by its jobs at the platform.
    """

    name: str
    number: int
    uid: str
    resumed: bool = False
    lost: bool = False

    def __str__(self) -> str:
        return f"{self.name!r} (number {self.number})" if self.number > 1 else repr(self.name)

    @property
    def tags(self) -> list[str]:
        """The tags that all jobs of this experiment bear: its name, for people, and its UID."""
        return [name_tag(self.name), uid_tag(self.uid)]


def identify(
    ledger: Ledger,
    name: str | None,
    *,
    fresh: bool = False,
    uid: str | None = None,
    flow_run_id: str | None = None,
    find_lost: Callable[[str], Sequence[str]] = lambda _: (),
) -> Identity:
    """Return the experiment that a name stands for, minting it when it is new.

    Args:
        ledger: Where names are kept.
        name: The user's name; ``None`` for the flow run's ID.
        fresh: Start the next experiment of this name.
        uid: Take the experiment of this name that has this UID.
        flow_run_id: The outermost flow run, if there is one. What it once opened by a name is what
            it opens ever after, so that its retries go on with it.
        find_lost: Returns the UIDs of the experiments whose jobs bear a name at the platform. Asked
            only if the ledger knows no name at all, as after the loss of a disk.

    Raises:
        InvalidInputError: There is no name, it cannot be one, or an empty ledger finds several
            experiments of this name.
    """
    name = _checked(flow_run_id if name is None else name)
    names = _Names(ledger, name, find_lost)
    if flow_run_id is None or uid is not None:
        return names.identity(*names.choose(fresh=fresh, uid=uid))
    key = f"run/{flow_run_id}/{quote(name, safe='')}"
    chosen = ledger.get(_NAMES, key)
    if chosen is not None:
        return names.identity(chosen, existed=True)
    fact, existed = names.choose(fresh=fresh, uid=None)
    chosen, _ = ledger.create(_NAMES, key, fact.body)
    return names.identity(chosen, existed=existed)


class _Names:
    """What a name has stood for."""

    def __init__(
        self, ledger: Ledger, name: str, find_lost: Callable[[str], Sequence[str]]
    ) -> None:
        self._ledger = ledger
        self._name = name
        self._prefix = f"name/{quote(name, safe='')}/"
        self._find_lost = find_lost

    def identity(self, fact: Fact, existed: bool) -> Identity:
        return Identity(
            self._name,
            int(fact.body["number"]),
            fact.body["uid"],
            resumed=existed,
            lost=bool(fact.body.get("lost")),
        )

    def choose(self, *, fresh: bool, uid: str | None) -> tuple[Fact, bool]:
        """Return what the name now stands for, and whether that existed before."""
        while True:
            known = self._ledger.facts(_NAMES, self._prefix)
            if uid is not None:
                chosen = next((fact for fact in known if fact.body["uid"] == uid), None)
                if chosen is not None:
                    return chosen, True
            latest = max(known, key=lambda fact: int(fact.body["number"]), default=None)
            if latest is not None and not fresh and uid is None:
                return latest, True
            number = 1 if latest is None else int(latest.body["number"]) + 1
            found = uid or (None if fresh or known else self._lost_uid())
            body = {"uid": found or uuid4().hex[:16], "number": number, "lost": bool(found)}
            fact, ours = self._ledger.create(_NAMES, f"{self._prefix}{number}", body)
            if ours:
                return fact, bool(found)

    def _lost_uid(self) -> str | None:
        """Return the UID that an empty ledger finds under the name at the platform."""
        if self._ledger.facts(_NAMES):
            return None
        uids = self._find_lost(self._name)
        if len(uids) > 1:
            raise InvalidInputError(
                f"The ledger is empty, and the platform shows jobs of {len(uids)} experiments "
                f"named {self._name!r}: {', '.join(uids)}. Go on with one of them by uid=, or "
                "start anew with fresh=True."
            )
        return uids[0] if uids else None


def opened_by(ledger: Ledger, flow_run_id: str) -> list[Identity]:
    """Return the experiments that an outermost flow run has opened."""
    prefix = f"run/{flow_run_id}/"
    return [
        Identity(
            unquote(fact.key.removeprefix(prefix)),
            int(fact.body["number"]),
            fact.body["uid"],
            resumed=True,
        )
        for fact in ledger.facts(_NAMES, prefix)
    ]


def flow_runs_of(ledger: Ledger, uid: str) -> list[str]:
    """Return the IDs of the outermost flow runs that have opened an experiment, oldest first."""
    return [
        fact.key.split("/")[1] for fact in ledger.facts(_NAMES, "run/") if fact.body["uid"] == uid
    ]


def known_experiments(ledger: Ledger) -> list[Identity]:
    """Return every experiment that a ledger knows by a name, oldest first."""
    return [
        Identity(
            unquote(fact.key.split("/")[1]),
            int(fact.body["number"]),
            fact.body["uid"],
            resumed=True,
            lost=bool(fact.body.get("lost")),
        )
        for fact in ledger.facts(_NAMES, "name/")
    ]


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
