"""Move to another store: copy all facts of a ledger, as they are."""

from __future__ import annotations

from dataclasses import dataclass

from session_block.ledger import Ledger


@dataclass(frozen=True)
class Copied:
    """What became of the facts of a ledger that was copied.

    Attributes:
        copied: So many are new in the other one.
        present: So many were there already.
    """

    copied: int
    present: int


def copy_ledger(source: Ledger, target: Ledger) -> Copied:
    """Copy all facts of a ledger into another one, and change nothing in the first.

    It can be interrupted, and run again: what is there already is left as it is. Limit: facts that
    are created meanwhile may be missed. Copy while no experiment runs, and use only the other one
    from then on.

    Raises:
        InvalidInputError: The other ledger holds another fact in the place of one.
        LedgerError: A ledger did not answer, or a fact is damaged; those before it are copied.
    """
    new = [target.take(fact) for fact in source.everything()]
    return Copied(sum(new), len(new) - sum(new))
