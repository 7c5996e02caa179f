"""The platform's durable state: one SQLite file, fully synced, that survives ``kill -9``."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    instance TEXT NOT NULL,
    account TEXT NOT NULL,
    state TEXT NOT NULL,
    mode TEXT NOT NULL,
    backend TEXT,
    created_at REAL NOT NULL,
    due_at REAL,
    active_since REAL,
    active_seconds REAL NOT NULL DEFAULT 0,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS sessions_by_due ON sessions (due_at);
CREATE INDEX IF NOT EXISTS sessions_by_state ON sessions (state, backend);
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    instance TEXT NOT NULL,
    account TEXT NOT NULL,
    program TEXT NOT NULL,
    backend TEXT NOT NULL,
    session_id TEXT,
    state TEXT NOT NULL,
    tags TEXT NOT NULL,
    created_at REAL NOT NULL,
    running_at REAL,
    finished_at REAL,
    usage_seconds REAL NOT NULL DEFAULT 0,
    reason TEXT,
    reason_code INTEGER,
    reason_solution TEXT,
    estimated_seconds REAL,
    cost INTEGER,
    private INTEGER NOT NULL DEFAULT 0,
    runtime TEXT,
    log_level TEXT,
    calibration_id TEXT,
    ending TEXT,
    caller TEXT,
    deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_session ON jobs (session_id);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, backend);
CREATE TABLE IF NOT EXISTS payloads (
    job_id TEXT PRIMARY KEY,
    params TEXT NOT NULL,
    result TEXT
);
CREATE TABLE IF NOT EXISTS requests (
    route TEXT PRIMARY KEY,
    count INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS calibrations (
    id TEXT PRIMARY KEY,
    backend TEXT NOT NULL,
    created_at REAL NOT NULL,
    changes TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS faults (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    rule TEXT NOT NULL,
    seen INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS usage_limits (
    instance TEXT PRIMARY KEY,
    seconds INTEGER
);
CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    moment REAL NOT NULL,
    wall REAL NOT NULL,
    scale REAL NOT NULL
);
"""
_LATER_COLUMNS = {"jobs": {"reason_solution": "TEXT", "estimated_seconds": "REAL"}}
"""Columns that files of earlier versions lack. Earlier versions can still read a file with them."""
_NEXT_ARRIVAL = """
    SELECT 1 + MAX(
        (SELECT COALESCE(MAX(seq), 0) FROM sessions), (SELECT COALESCE(MAX(seq), 0) FROM jobs)
    )
"""


class Store:
    """One connection to the state file, used by one thread at a time.

    Raises:
        RuntimeError: The file was written by another version of the platform.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise RuntimeError(
                f"{path} has schema version {version}, but this platform knows only "
                f"{SCHEMA_VERSION}: use the version that wrote it, or another state directory"
            )
        self._connection.executescript(_SCHEMA)
        self._add_later_columns()
        self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _add_later_columns(self) -> None:
        for table, columns in _LATER_COLUMNS.items():
            known = {row["name"] for row in self._connection.execute(f"PRAGMA table_info({table})")}
            for name, kind in columns.items():
                if name not in known:
                    self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for one atomic change: durable on exit, undone on an exception."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for queries that see one state and change nothing."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        with self._lock:
            self._connection.close()


def next_arrival(db: sqlite3.Connection) -> int:
    """Return the ``seq`` of the next session or job; both share one numbering."""
    (number,) = db.execute(_NEXT_ARRIVAL).fetchone()
    return int(number)
