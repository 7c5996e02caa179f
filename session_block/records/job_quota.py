"""Count jobs by unique numbers, so that concurrent processes cannot exceed a limit together."""

from __future__ import annotations

from collections.abc import Iterable

from session_block.records.journal import Journal
from session_block.records.keys import Ticket, TicketVoid


class JobQuota:
    """Counts jobs within one scope of a ledger: each intent takes the next number.

    Whether a number is within a limit depends only on the lower numbers. They all exist when it is
    given, and the number of void ones among them can only grow. So no more jobs than the limit
    pass, whoever asks and whenever.

    Args:
        journal: The journal of the experiment, or of another scope such as a Block's budget.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._numbers: dict[str, int] = {}

    def take(self, holder: str) -> int:
        """Return the number of a holder; give it the next one if it has none."""
        if holder in self._numbers:
            return self._numbers[holder]
        number = self._journal.count(Ticket) + 1
        while True:
            taken, _ = self._journal.record(Ticket(ticket=number, holder=holder))
            if taken.holder == holder:
                self._numbers[holder] = number
                return number
            number += 1

    def rank(self, number: int) -> int:
        """Return how many jobs there are up to and including this number, without void ones."""
        return number - self._journal.count_before(TicketVoid, number)

    def used(self) -> int:
        """Return how many jobs there are, without void ones."""
        return self._journal.count(Ticket) - self._journal.count(TicketVoid)

    def void(self, holder: str) -> None:
        """Note that a holder made no job and never will; ignore one without a number."""
        if holder in self._numbers:
            self._void(self._numbers[holder])

    def reconcile(self, with_job: Iterable[str], without_job: Iterable[str]) -> None:
        """Count what was left uncounted by a process that died or that had no limit.

        Args:
            with_job: Holders that certainly made a job.
            without_job: Holders that certainly made none.
        """
        for taken in self._journal.all(Ticket):
            self._numbers[taken.holder] = taken.ticket
        for holder in with_job:
            self.take(holder)
        for holder in without_job:
            self.void(holder)

    def _void(self, number: int) -> None:
        self._journal.record(TicketVoid(ticket=number))
