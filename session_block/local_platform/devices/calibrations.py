"""Calibrations of the backends: the recorded ones, and later ones made on this platform."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from session_block.local_platform.clock import iso
from session_block.local_platform.devices import drift, recordings
from session_block.local_platform.errors import bad_request

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.workloads.store import Store

_CACHED = 16

Gate = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Calibration:
    """One calibration of a backend. Number 0 is the unchanged recording, with its own date."""

    id: str
    number: int
    created_at: float
    faulty_qubits: tuple[int, ...] = ()
    faulty_gates: tuple[Gate, ...] = ()


class Calibrations:
    """The calibrations of all backends, kept in the store.

    ``properties(backend, recording, calibration)`` returns the recorded properties with the
    changes of the calibration. Callers must not modify them.
    """

    def __init__(self, store: Store, clock: Clock, seed: int) -> None:
        self._store = store
        self._clock = clock
        self._seed = seed
        # Safe to cache, because a calibration never changes.
        self.properties = lru_cache(maxsize=_CACHED)(self._properties)

    def make(
        self, backend: str, faulty_qubits: Sequence[int], faulty_gates: Sequence[Gate]
    ) -> Calibration:
        """Calibrate a backend now, and mark the faulty qubits and gates as not operational."""
        changes = {"faulty_qubits": list(faulty_qubits), "faulty_gates": list(faulty_gates)}
        row = (str(uuid.uuid4()), backend, self._clock.now(), json.dumps(changes))
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO calibrations (id, backend, created_at, changes) VALUES (?, ?, ?, ?)",
                row,
            )
            return self._made(db, backend)[-1]

    def current(self, backend: str, recording: str) -> Calibration:
        """Return the latest calibration of a backend."""
        return self._all(backend, recording)[-1]

    def before(self, backend: str, recording: str, moment: float) -> Calibration | None:
        """Return the latest calibration made at or before a moment (Unix seconds), or None."""
        all_of_it = self._all(backend, recording)
        return next((one for one in reversed(all_of_it) if one.created_at <= moment), None)

    def find(self, backend: str, recording: str, calibration_id: str) -> Calibration:
        """Return a calibration of a backend by its ID.

        Raises:
            ApiError: 400 if the backend does not have this calibration.
        """
        for calibration in self._all(backend, recording):
            if calibration.id == calibration_id:
                return calibration
        raise bad_request(f"backend {backend} has no calibration {calibration_id!r}")

    def _properties(self, backend: str, recording: str, calibration: Calibration) -> dict[str, Any]:
        recorded = recordings.properties(recording)
        moment = iso(calibration.created_at)
        if calibration.number == 0 or moment is None:
            return recorded
        number = calibration.number
        changed = drift.drifted(recorded, seed=self._seed, backend=backend, number=number)
        changed = drift.dated(changed, moment)
        return drift.faulty(changed, calibration.faulty_qubits, calibration.faulty_gates)

    def _all(self, backend: str, recording: str) -> list[Calibration]:
        with self._store.reading() as db:
            return [_recorded(backend, recording), *self._made(db, backend)]

    @staticmethod
    def _made(db: sqlite3.Connection, backend: str) -> list[Calibration]:
        rows = db.execute(
            "SELECT * FROM calibrations WHERE backend=? ORDER BY rowid", (backend,)
        ).fetchall()
        return [_from_row(row, number) for number, row in enumerate(rows, start=1)]


def _recorded(backend: str, recording: str) -> Calibration:
    date = recordings.properties(recording)["last_update_date"]
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{backend}/{recording}/{date}")
    return Calibration(str(identity), 0, datetime.fromisoformat(date).timestamp())


def _from_row(row: sqlite3.Row, number: int) -> Calibration:
    changes = json.loads(row["changes"])
    return Calibration(
        id=row["id"],
        number=number,
        created_at=row["created_at"],
        faulty_qubits=tuple(changes["faulty_qubits"]),
        faulty_gates=tuple((name, tuple(qubits)) for name, qubits in changes["faulty_gates"]),
    )
