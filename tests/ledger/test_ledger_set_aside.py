"""A damaged ledger goes out of the way when it is told to, and is rebuilt from the platform."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from qiskit import QuantumCircuit
from support import Platform

from session_block import QuantumSession
from session_block.errors import InvalidInputError, LedgerDamagedError
from session_block.ledger.store import Ledger, _opened, set_aside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a ledger of one fact, closed in good order, and give its file."""
    path = tmp_path / "ledger.db"
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        ledger.create("uid", "experiment", {})
    return path


def _circuit() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    return circuit


def test_set_aside_it_is_rebuilt_from_the_platform(
    block: QuantumSession, platform: Platform, tmp_path: Path
) -> None:
    """A damaged ledger stops an experiment before any request; set aside, its job is found."""
    name = f"damaged {uuid4()}"
    first = block.experiment(name)
    job = first.submit_sampler([_circuit()], shots=8)
    block.ledger().close()
    _opened.cache_clear()
    (tmp_path / "ledger.db").write_bytes(b"damaged")
    before = platform.stats()["requests"]
    with pytest.raises(LedgerDamagedError, match="nothing is submitted without it"):
        block.experiment(name)
    after = platform.stats()["requests"]
    assert {path for path in after if after[path] != before.get(path, 0)} <= {"GET /_local/stats"}
    set_aside(f"sqlite:///{tmp_path / 'ledger.db'}")
    again = block.experiment(name)
    assert again.submit_sampler([_circuit()], shots=8).job_id == job.job_id
    assert again.uid == first.uid
    assert platform.jobs_of(first.uid) == 1
    again.cancel_session()


def test_set_aside_keeps_all_and_starts_anew(path: Path) -> None:
    """The old ledger gets a dated name, journal and all, and can still be read there."""
    url = f"sqlite:///{path}"
    with closing(Ledger(url)) as ledger:
        ledger.create("uid", "sealed", {})
        assert path.with_name("ledger.db-wal").stat().st_size > 0
        moved = set_aside(url)
    assert moved.name.startswith("ledger.db.set-aside-20")
    with closing(Ledger(url)) as ledger:
        assert ledger.facts("uid") == []
    with closing(Ledger(f"sqlite:///{moved}")) as ledger:
        assert len(ledger.facts("uid")) == 2
    assert set_aside(url) != moved
    with pytest.raises(InvalidInputError, match="There is no ledger"):
        set_aside(url)
    with pytest.raises(InvalidInputError, match="Only an SQLite ledger"):
        set_aside("postgresql://user:hunter2@host/db")


def test_set_aside_that_was_cut_off_is_finished(path: Path) -> None:
    """Killed after the database was renamed, the journal is refused, and goes the same way."""
    url = f"sqlite:///{path}"
    path.rename(path.with_name("ledger.db.set-aside-1"))
    path.with_name("ledger.db-wal").write_bytes(b"facts")
    with pytest.raises(LedgerDamagedError, match="journal"):
        Ledger(url)
    journal = set_aside(url)
    assert journal.with_name(f"{journal.name}-wal").read_bytes() == b"facts"
    Ledger(url).close()
