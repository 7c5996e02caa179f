"""Negative controls: ways to break the product in the child, which the harness must notice.

They patch the process under test. The product itself has no such switch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from runtime_client import RuntimeClient

from session_block.ledger.database import DatabaseStore
from session_block.ledger.schema import facts_table
from session_block.ledger.store import Fact, Ledger
from session_block.records.places import RunPlace


def intent_after_post() -> None:
    """Write the intent only when its outcome is written: promise P3 is broken."""
    create = Ledger.create
    withheld: dict[tuple[str, str], Mapping[str, Any]] = {}

    def late(
        self: Ledger,
        experiment: str,
        key: str,
        body: Mapping[str, Any],
        payload: bytes | None = None,
    ) -> tuple[Fact, bool]:
        kind, _, rest = key.partition("/")
        if kind == "intent":
            withheld[experiment, rest] = body
            return Fact(experiment, key, body, uuid4().hex, datetime.now(UTC)), True
        if kind == "outcome" and (intent := withheld.pop((experiment, rest), None)) is not None:
            create(self, experiment, f"intent/{rest}", intent)
        return create(self, experiment, key, body, payload)

    Ledger.create = late  # type: ignore[method-assign]


def look_up_finds_nothing() -> None:
    """Let every listing of jobs be empty: promise P2 is broken."""

    def nothing(_self: RuntimeClient, *_args: Any, **_options: Any) -> dict[str, Any]:
        return {"jobs": [], "count": 0}

    RuntimeClient.jobs_get = nothing


def overwrite() -> None:
    """Turn create-if-absent into overwrite: nobody is first any more."""
    write = DatabaseStore.write

    def last_writer_wins(self: DatabaseStore, fact: Fact) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                sa.delete(facts_table).where(
                    facts_table.c.experiment == fact.experiment, facts_table.c.key == fact.key
                )
            )
        write(self, fact)

    DatabaseStore.write = last_writer_wins  # type: ignore[method-assign]


def other_places() -> None:
    """Let each process be another place: no retry finds an experiment without a name again."""
    name = RunPlace.name
    RunPlace.name = lambda self, block: name(self, f"{block} {os.getpid()}")  # type: ignore[method-assign]


CONTROLS: Mapping[str, Callable[[], None]] = {
    "intent-after-post": intent_after_post,
    "no-look-up": look_up_finds_nothing,
    "overwrite": overwrite,
    "other-places": other_places,
}


def apply(name: str | None) -> None:
    """Break the product in this process as a control says; ``None`` leaves it whole."""
    if name is not None:
        CONTROLS[name]()
