"""What saved Blocks said when they opened experiments: copies for when no Prefect server answers.

A copy has no secrets. It is never used where a server answers, since the Block may have changed
there.
"""

from __future__ import annotations

from dataclasses import replace

from session_block.ledger.store import Ledger, open_ledger
from session_block.ledger.urls import is_missing
from session_block.records.journal import Journal
from session_block.records.keys import BLOCKS, BlockCopy


def latest_copy(ledger: Ledger, block: str) -> BlockCopy | None:
    """Return the latest copy of a Block; ``None`` if the ledger has none."""
    journal = Journal(ledger, BLOCKS)
    return journal.get(BlockCopy, block, journal.count(BlockCopy, block))


def find_copy(ledger_url: str, block: str) -> BlockCopy | None:
    """Return the latest copy of a Block in the ledger at a URL; ``None`` if there is none.

    Args:
        ledger_url: The URL. A ledger that does not exist is not created.
        block: The Block's name, also with its type: ``quantum-session/my-block``.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    if is_missing(ledger_url):
        return None
    return latest_copy(open_ledger(ledger_url), block.rpartition("/")[2])


def keep_copy(ledger: Ledger, copy: BlockCopy) -> None:
    """Record a copy as the latest of its Block, unless that one says the same.

    If two processes record at once, one copy is dropped; the next opening with that Block keeps it.

    Args:
        ledger: Where to.
        copy: The copy; it gets the next number.
    """
    latest = latest_copy(ledger, copy.block)
    number = 0 if latest is None else latest.number
    if latest != replace(copy, number=number):
        Journal(ledger, BLOCKS).record(replace(copy, number=number + 1))
