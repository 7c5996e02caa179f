"""A quota of jobs: each number is given once, so that processes cannot exceed it together."""

from __future__ import annotations

from collections.abc import Iterable

from session_block.records.journal import Journal
from session_block.records.keys import Ticket, TicketVoid


class JobQuota:
    """Counts jobs within one scope of a ledger: each intent takes the next number.

    Whether a number is within a limit depends only on the lower ones, which all exist when it is
    given, and those among them that made no job only grow more. So whoever asks, and when, at most
    the limit's number of jobs is let through.

    Args:
        journal: Of the experiment, or of what else is counted.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._numbers: dict[str, int] = {}

    def take(self, holder: str) -> int:
        """Give a holder the next number, unless it has one; return its number."""
        if holder in self._numbers:
            return self._numbers[holder]
        number = self._journal.count(Ticket) + 1
        while True:
            ticket, _ = self._journal.record(Ticket(ticket=number, holder=holder))
            if ticket.holder == holder:
                self._numbers[holder] = number
                return number
            number += 1

    def rank(self, number: int) -> int:
        """Return how many jobs there are up to this number, void ones left out."""
        return number - self._journal.count_before(TicketVoid, number)

    def used(self) -> int:
        """Return how many jobs there are, void ones left out."""
        return self._journal.count(Ticket) - self._journal.count(TicketVoid)

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
        for ticket in self._journal.all(Ticket):
            self._numbers[ticket.holder] = ticket.ticket
        for holder in with_job:
            self.take(holder)
        for holder in without_job:
            self.void(holder)

    def _void(self, number: int) -> None:
        self._journal.record(TicketVoid(ticket=number))
