"""A fact, and the row of the ledger that holds it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from session_block.errors import LedgerDamagedError
from session_block.ledger_failures import cure
from session_block.ledger_schema import checksum


@dataclass(frozen=True)
class Fact:
    """One thing that is so, and stays so."""

    experiment: str
    key: str
    body: Mapping[str, Any]
    writer: str
    created_at: datetime
    payload: bytes | None = field(default=None, repr=False)


def row_of(fact: Fact, body: str) -> dict[str, Any]:
    """Return the row that holds a fact, with the checksums by which damage is noticed.

    Args:
        fact: The fact.
        body: Its body as JSON.
    """
    created_at = fact.created_at.isoformat()
    return {
        "experiment": fact.experiment,
        "key": fact.key,
        "body": body,
        "writer": fact.writer,
        "created_at": created_at,
        "checksum": checksum(fact.experiment, fact.key, body, fact.writer, created_at),
        "payload_checksum": _payload_checksum(fact.payload),
        "payload": fact.payload,
    }


def fact_of(row: Mapping[Any, Any], shown: str, dialect: str) -> Fact:
    """Return the fact that a row holds.

    Args:
        row: With its payload or without.
        shown: The ledger as messages name it.
        dialect: Of its database.

    Raises:
        LedgerDamagedError: It is not as it was written.
    """
    texts = [row[name] for name in ("experiment", "key", "body", "writer", "created_at")]
    whole = (
        all(isinstance(text, str) for text in texts)
        and row["checksum"] == checksum(*texts)
        and ("payload" not in row or row["payload_checksum"] == _payload_checksum(row["payload"]))
    )
    if not whole:
        raise LedgerDamagedError(
            f"Fact {row['key']!r} of experiment {row['experiment']} in the ledger "
            f"{shown} is not as it was written. {cure(dialect)}"
        )
    return Fact(
        experiment=row["experiment"],
        key=row["key"],
        body=json.loads(row["body"]),
        writer=row["writer"],
        created_at=datetime.fromisoformat(row["created_at"]),
        payload=row.get("payload"),
    )


def _payload_checksum(payload: bytes | None) -> int | None:
    return None if payload is None else zlib.crc32(payload)
