"""Two workers on one experiment, counted at the platform; two ledgers on one platform."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from postgres import Postgres
from qiskit import QuantumCircuit
from support import BACKEND, Platform

from session_block import QuantumSession
from session_block.client import Connection
from session_block.ledger.store import Ledger

pytestmark = pytest.mark.rest

_WORKER = """
import json, sys
from qiskit import QuantumCircuit
from session_block import LocalPlatformCredentials, QuantumSession

state_dir, backend, ledger_url, name = sys.argv[1:]
block = QuantumSession(
    credentials=LocalPlatformCredentials(state_dir=state_dir),
    backend_name=backend,
    ledger_url=ledger_url,
)
circuit = QuantumCircuit(2)
circuit.sx(0)
circuit.measure_all()
experiment = block.experiment(name)
print(json.dumps({"uid": experiment.uid}), flush=True)
for label in map(str.strip, sys.stdin):
    job = experiment.submit_sampler([circuit], shots=16, label=label)
    counts = experiment.fetch_result(job)[0].data.meas.get_counts()
    told = {"job": job.job_id, "generation": job.generation, "counts": counts}
    print(json.dumps(told), flush=True)
block.ledger().close()
"""


class _Worker:
    """A process that submits what it is told, and answers with what it got."""

    def __init__(self, platform: Platform, ledger_url: str, name: str) -> None:
        arguments = [platform.info.state_dir, BACKEND, ledger_url, name]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, label: str) -> None:
        """Have the worker submit; it has not done so when this returns."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{label}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return its next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"The worker ended with status {self._process.wait()}"
        return dict(json.loads(line))

    def end(self) -> None:
        """Let the worker end by itself, in good order."""
        self._process.communicate()
        assert self._process.returncode == 0


@pytest.fixture(params=[20, pytest.param(200, marks=pytest.mark.nightly)])
def rounds(request: pytest.FixtureRequest) -> int:
    """Give a sample of the rounds, or all of them."""
    return int(request.param)


def _race(platform: Platform, ledger_url: str, rounds: int) -> None:
    """Have two processes submit the same requests at the same moments, and count the jobs."""
    name = f"race {uuid4()}"
    workers = [_Worker(platform, ledger_url, name) for _ in range(2)]
    (uid,) = {worker.answer()["uid"] for worker in workers}
    jobs = []
    for number in range(rounds):
        for worker in workers:
            worker.tell(f"request {number}")
        first, second = (worker.answer() for worker in workers)
        assert first == second
        jobs.append(first["job"])
    for worker in workers:
        worker.end()
    made = {
        tag: count
        for tag, count in platform.stats()["jobs"]["by_tag"].items()
        if tag.startswith(f"qs-sub:{uid}.")
    }
    with closing(Ledger(ledger_url)) as ledger:
        kinds = Counter(fact.key.partition("/")[0] for fact in ledger.facts(uid))
    told = (platform.jobs_of(uid), len(set(jobs)), len(made), max(made.values()))
    assert told == (rounds, rounds, rounds, 1)
    assert (kinds["intent"], kinds["outcome"], kinds["result"]) == (rounds, rounds, rounds)
    assert kinds["twin"] == kinds["hold"] == 0


def test_two_workers_on_postgresql_make_each_job_once(
    platform: Platform, postgres: Postgres, rounds: int
) -> None:
    """P1, P2: 0 double, 0 lost; both get the one job's result, in one session."""
    sessions = platform.sessions()
    _race(platform, postgres.new_store(), rounds)
    assert platform.sessions() == sessions + 1


def test_two_workers_on_sqlite_make_each_job_once(platform: Platform, ledger_url: str) -> None:
    """The same with the embedded ledger, which processes of one machine may share."""
    _race(platform, ledger_url, 20)


@pytest.fixture
def blocks(
    slow_platform: Platform, store_url: str, tmp_path: Path
) -> Iterator[list[QuantumSession]]:
    """Two Blocks for one platform, each with a ledger of its own."""
    blocks = [
        QuantumSession(
            credentials=slow_platform.credentials(), backend_name=BACKEND, ledger_url=url
        )
        for url in (store_url, f"sqlite:///{tmp_path / 'other.db'}")
    ]
    yield blocks
    for block in blocks:
        block.ledger().close()


def test_two_ledgers_never_touch_each_others_jobs(
    blocks: list[QuantumSession], slow_platform: Platform
) -> None:
    """Experiments of one name are two: neither submits, adopts nor cancels the other's jobs."""
    name = f"shared {uuid4()}"
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    for block in blocks:
        block.experiment("an earlier one of this ledger")
    mine, theirs = (block.experiment(name) for block in blocks)
    assert mine.uid != theirs.uid
    own = [mine.submit_sampler([circuit], shots=8) for _ in range(2)]
    others = [theirs.submit_sampler([circuit], shots=8) for _ in range(2)]
    assert len({job.job_id for job in own + others}) == 4
    mine.cancel_session()
    connection = Connection(slow_platform.credentials().account())
    assert "CANCELLED" in {connection.jobs.get(job.job_id).status() for job in own}
    assert "CANCELLED" not in {connection.jobs.get(job.job_id).status() for job in others}
    assert [theirs.fetch_result(job)[0].data.meas.num_shots for job in others] == [8, 8]
    assert (slow_platform.jobs_of(mine.uid), slow_platform.jobs_of(theirs.uid)) == (2, 2)
    theirs.cancel_session()
