"""The ledger's tables: how they are created, and how damage is detected."""

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
"""The newest version that this program reads. Version 2 means that the ledger has experiments with
rules that older programs do not know (see :mod:`session_block.records.versions`). The tables of 1
and 2 are the same."""

FIRST_SCHEMA_VERSION = 1

MAX_KEY_LENGTH = 255

_CREATION_LOCK = 0x514C6467
"""The PostgreSQL advisory lock that a process holds while it creates the tables."""

_metadata = sa.MetaData()

_Text = sa.String(MAX_KEY_LENGTH).with_variant(
    sa.String(MAX_KEY_LENGTH, collation="C"), "postgresql"
)
"""Text compared by code point, so that keys with one prefix are a range of the primary key."""

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
    """One immutable fact of an experiment.

    Attributes:
        experiment: The experiment's UID.
        key: What the fact is about; unique in the experiment.
        body: JSON values.
        writer: A random token of the call that created it.
        created_at: When it was created, by the writer's clock.
        payload: Bytes such as a result; ``None`` if there is none, or it was not read.

    Examples:
        >>> fact = ledger.facts(experiment.uid)[0]
        >>> fact.key, fact.created_at.tzname()
        ('experiment', 'UTC')
    """

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
        row: The row, with its payload or without.
        shown: The ledger's name in messages.
        dialect: The database's dialect.

    Raises:
        LedgerDamagedError: The row differs from what was written.
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
    """Return a row's checksum; databases themselves detect damage only by chance."""
    return zlib.crc32("\0".join(texts).encode())


def create_tables(connection: sa.Connection) -> None:
    """Create an empty ledger, within the connection's transaction."""
    _metadata.create_all(connection)
    connection.execute(_schema.insert().values(version=FIRST_SCHEMA_VERSION))


def read_version(connection: sa.Connection) -> int:
    """Return the schema version of a complete ledger."""
    return int(connection.execute(sa.select(sa.func.max(_schema.c.version))).scalar_one())


def raise_version(connection: sa.Connection, version: int) -> None:
    """Make programs that do not support a schema version refuse the ledger when they open it."""
    if read_version(connection) < version:
        connection.execute(_schema.insert().values(version=version))


def has_ledger(connection: sa.Connection, shown: str) -> bool:
    """Whether the database holds a ledger. Reads only.

    Args:
        connection: Connection to the database.
        shown: The ledger's name in messages.

    Raises:
        LedgerVersionError: A newer version of the package wrote it.
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
                f"reads up to {SCHEMA_VERSION}. Upgrade prefect-quantum-sessions. The ledger was "
                "not changed."
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
    """Return an engine for a ledger in a database; create the ledger if there is none.

    If several processes create it at once, one does and the others wait.

    Raises:
        LedgerError: The database's ledger cannot be used.
    """
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"client_encoding": "utf8"},  # with SQL_ASCII, text would be bytes
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
