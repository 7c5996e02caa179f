"""The ledger's queries. They are made once: to make one takes as long as to run it."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from session_block.ledger_schema import facts_table

_LAST_CHARACTER = "\U0010ffff"
"""Not printable, so that no key holds it."""

_texts = [column for column in facts_table.c if column is not facts_table.c.payload]


def _starts_with(number: int) -> sa.ColumnElement[bool]:
    """Select the ``number``-th range of the primary key; several, complete, are as many searches.

    LIKE would ignore case in SQLite, and its wildcards are in the way.
    """
    key = facts_table.c.key
    return sa.and_(
        facts_table.c.experiment == sa.bindparam("experiment"),
        key >= sa.bindparam(f"start{number}"),
        key < sa.bindparam(f"end{number}"),
    )


def prefix_range(number: int, prefix: str) -> dict[str, str]:
    """Return the parameters of the ``number``-th range: the keys that start so."""
    return {f"start{number}": prefix, f"end{number}": f"{prefix}{_LAST_CHARACTER}"}


@cache
def facts_in(ranges: int) -> sa.Select[Any]:
    """Return the query of an experiment's facts in so many ranges, without payloads."""
    return (
        sa.select(*_texts)
        .where(sa.or_(*(_starts_with(number) for number in range(ranges))))
        .order_by(facts_table.c.created_at, facts_table.c.key)
    )


ONE_FACT = sa.select(facts_table).where(
    facts_table.c.experiment == sa.bindparam("experiment"),
    facts_table.c.key == sa.bindparam("key"),
)
COUNT = sa.select(sa.func.count()).where(_starts_with(0))
EVERYTHING = sa.select(facts_table).order_by(facts_table.c.experiment, facts_table.c.key)
