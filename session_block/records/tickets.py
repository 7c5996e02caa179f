"""Numbers that are given once each, so that concurrent processes cannot pass a limit together."""

from __future__ import annotations

from collections.abc import Iterable

from session_block.ledger.store import Ledger

_TICKET = "ticket/"
_VOID = "ticket-void/"


class Tickets:
    """Counts jobs within one scope of a ledger: each intent takes the next number.

    Whether a number is within a limit depends only on the lower ones, which all exist when it is
    given, and those among them that made no job only grow more. So whoever asks, and when, at most
    the limit's number of jobs is let through.

    Args:
        ledger: Where the numbers are given.
        scope: The experiment, or what else is counted, under whose name they are kept.
    """

    def __init__(self, ledger: Ledger, scope: str) -> None:
        self._ledger = ledger
        self._scope = scope
        self._numbers: dict[str, int] = {}

    def take(self, holder: str) -> int:
        """Give a holder the next number, unless it has one; return its number."""
        if holder in self._numbers:
            return self._numbers[holder]
        number = self._ledger.count(self._scope, _TICKET) + 1
        while True:
            fact, _ = self._ledger.create(self._scope, _key(_TICKET, number), {"holder": holder})
            if fact.body["holder"] == holder:
                self._numbers[holder] = number
                return number
            number += 1

    def rank(self, number: int) -> int:
        """Return how many jobs there are up to this number, void ones left out."""
        return number - self._ledger.count(self._scope, _VOID, before=_key(_VOID, number))

    def used(self) -> int:
        """Return how many jobs there are, void ones left out."""
        return self._ledger.count(self._scope, _TICKET) - self._ledger.count(self._scope, _VOID)

    def void(self, holder: str) -> None:
        """Note that a holder made no job, and never will."""
        if holder in self._numbers:
            self._void(self._numbers[holder])

    def reconcile(self, with_job: Iterable[str], without_job: Iterable[str]) -> None:
        """Make good what a process left undone that died, or that had no limit to keep.

        Args:
            with_job: Holders that certainly have made a job.
            without_job: Holders that certainly have made none.
        """
        for fact in self._ledger.facts(self._scope, _TICKET):
            self._numbers[fact.body["holder"]] = int(fact.key.removeprefix(_TICKET))
        for holder in with_job:
            self.take(holder)
        for holder in without_job:
            self.void(holder)

    def _void(self, number: int) -> None:
        self._ledger.create(self._scope, _key(_VOID, number), {})


def _key(prefix: str, number: int) -> str:
    return f"{prefix}{number:09d}"
