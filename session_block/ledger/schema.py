"""The ledger's tables: create them, and check that they are whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from session_block.errors import LedgerDamagedError, LedgerVersionError
from session_block.ledger.failures import cure

SCHEMA_VERSION = 2
"""The newest that this program reads: 1 at first; 2 says that there are experiments whose rules
older programs do not know (see :mod:`session_block.records.versions`). The tables are alike."""

FIRST_SCHEMA_VERSION = 1

MAX_KEY_LENGTH = 255

_CREATION_LOCK = 0x514C6467
"""The PostgreSQL advisory lock that is held while the tables are created."""

_metadata = sa.MetaData()

_Text = sa.String(MAX_KEY_LENGTH).with_variant(
    sa.String(MAX_KEY_LENGTH, collation="C"), "postgresql"
)
"""Text that is compared character by character, so that a prefix is a range of the primary key."""

_schema = sa.Table(
    "session_block_schema",
    _metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)

facts_table = sa.Table(
    "session_block_facts",
    _metadata,
    sa.Column("experiment", sa.String(64), primary_key=True),
    sa.Column("key", _Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("writer", sa.String(32), nullable=False),
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("checksum", sa.BigInteger, nullable=False),
    sa.Column("payload_checksum", sa.BigInteger, nullable=True),
    sa.Column("payload", sa.LargeBinary, nullable=True),
)


@dataclass(frozen=True)
class Fact:
    """One immutable record of a ledger."""

    experiment: str
    key: str
    body: Mapping[str, Any]
    writer: str
    created_at: datetime
    payload: bytes | None = field(default=None, repr=False)


def row_of(fact: Fact) -> dict[str, Any]:
    """Return the row that holds a fact, with checksums that reveal damage."""
    body = json.dumps(fact.body, sort_keys=True)
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


def checksum(*texts: str) -> int:
    """Return what tells a damaged row from a whole one; databases notice damage only by chance."""
    return zlib.crc32("\0".join(texts).encode())


def create_tables(connection: sa.Connection) -> None:
    """Make an empty ledger, within the connection's transaction."""
    _metadata.create_all(connection)
    connection.execute(_schema.insert().values(version=FIRST_SCHEMA_VERSION))


def read_version(connection: sa.Connection) -> int:
    """Return the schema version of a ledger that is whole."""
    return int(connection.execute(sa.select(sa.func.max(_schema.c.version))).scalar_one())


def raise_version(connection: sa.Connection, version: int) -> None:
    """Make programs that do not read a schema version refuse the ledger, from when they open it."""
    if read_version(connection) < version:
        connection.execute(_schema.insert().values(version=version))


def has_ledger(connection: sa.Connection, shown: str) -> bool:
    """Whether the database holds a ledger. Reads only.

    Args:
        connection: To the database.
        shown: The ledger as messages name it.

    Raises:
        LedgerVersionError: A newer version has made it.
        LedgerDamagedError: A part of it is missing.
    """
    inspector = sa.inspect(connection)
    missing = sorted(set(_metadata.tables) - set(inspector.get_table_names()))
    if len(missing) == len(_metadata.tables):
        return False
    if not missing:
        version = connection.scalar(sa.select(sa.func.max(_schema.c.version)))
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise LedgerVersionError(
                f"The ledger {shown} has schema version {version}; this version of the package "
                f"reads up to {SCHEMA_VERSION}. Upgrade prefect-quantum-sessions. The ledger is as "
                "it was."
            )
        for table in _metadata.sorted_tables:
            columns = {column["name"] for column in inspector.get_columns(table.name)}
            missing += [
                f"{table}.{column.name}" for column in table.c if column.name not in columns
            ]
        if not isinstance(version, int):
            missing.append("the schema version")
    if missing:
        raise LedgerDamagedError(
            f"The ledger {shown} lacks {', '.join(missing)}. {cure(connection.dialect.name)}"
        )
    return True


def open_postgresql(url: sa.URL, shown: str) -> sa.Engine:
    """Return an engine for a ledger in a database, where it is made unless it exists.

    Of several processes that would make it at once, one does and the others wait.

    Raises:
        LedgerError: There is a ledger that cannot be used.
    """
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"client_encoding": "utf8"},  # a database of no encoding hands out bytes
    )
    try:
        with engine.begin() as connection:
            if not has_ledger(connection, shown):
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION_LOCK)))
                if not has_ledger(connection, shown):
                    create_tables(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine
