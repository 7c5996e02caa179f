"""Shared by the tests of orphan sessions."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime import RuntimeJobV2, Session
from support import BACKEND, Platform

from session_block.client import BackendChoice, Connection
from session_block.crashpoints import CRASH_AT
from session_block.ledger.store import Ledger
from session_block.local_platform import Admin
from session_block.pubs.request import sampler_request
from session_block.records.identity import identify
from session_block.records.journal import Journal
from session_block.records.keys import Sender, SessionIntent
from session_block.records.sender import sending
from session_block.records.sessions import read_sessions

_max_times = itertools.count(4001)

_OPEN = """
import sys
from session_block import LocalPlatformCredentials, QuantumSession
state_dir, ledger_url, backend, max_time, name = sys.argv[1:]
QuantumSession(
    credentials=LocalPlatformCredentials(state_dir=state_dir),
    backend_name=backend,
    max_time=int(max_time),
    ledger_url=ledger_url,
).experiment(name).open_session()
"""


def own_max_time() -> int:
    """Return a max time that no other test uses, since all tests share one platform."""
    return next(_max_times)


def die_while_opening(
    platform: Platform, ledger_url: str, max_time: int, experiment: str = "cut off"
) -> str:
    """Kill a process after the platform opened its session; return the session's ID."""
    arguments = (str(platform.info.state_dir), ledger_url, BACKEND, str(max_time), experiment)
    before = set(sessions_at(platform))
    ran = subprocess.run(
        [sys.executable, "-c", _OPEN, *arguments],
        env={**os.environ, CRASH_AT: "open session, after:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    [session_id] = set(sessions_at(platform)) - before
    return session_id


def intend(
    ledger: Ledger, connection: Connection, max_time: int | None, name: str = "cut off", **more: Any
) -> str:
    """Record the intent of a sender that is gone, and return its experiment's UID."""
    with sending(ledger.environment) as gone:
        return intend_as(gone, ledger, connection, max_time, name, **more)


def intend_as(
    sender: Sender,
    ledger: Ledger,
    connection: Connection,
    max_time: int | None,
    name: str,
    **more: Any,
) -> str:
    """Record a sender's intent as the sender does, and return its experiment's UID."""
    uid = identify(ledger, name).uid
    journal = Journal(ledger, uid)
    asked = {"backend": BACKEND, "instance": connection.instance, "mode": "session", **more}
    number = len(read_sessions(journal)) + 1
    journal.record(
        SessionIntent(number=number, url=None, max_time_seconds=max_time, sender=sender, **asked)
    )
    return uid


def sessions_at(platform: Platform) -> Mapping[str, Mapping[str, Any]]:
    """Return the latest sessions as the server has them, by ID."""
    return {one["id"]: one for one in Admin.of(platform.info).sessions()}


def closings(platform: Platform) -> int:
    """Return how many requests to close or cancel a session the server has seen."""
    return _requests(platform, "PATCH /sessions") + cancellations(platform)


def cancellations(platform: Platform) -> int:
    """Return how many requests to cancel a session the server has seen."""
    return _requests(platform, "DELETE /sessions")


def open_as_colleague(connection: Connection, max_time: int) -> Session:
    """Open a session that no ledger knows."""
    return connection.sessions.open(BackendChoice(BACKEND), max_time)


def send_job(connection: Connection, session: Session, tags: list[str]) -> RuntimeJobV2:
    """Run a small job in a session."""
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    device = connection.backends.get(BackendChoice(BACKEND))
    return sampler_request([transpile(circuit, device)], shots=10).send(session, tags)


def _requests(platform: Platform, route: str) -> int:
    counts: Mapping[str, int] = platform.stats()["requests"]
    return sum(count for name, count in counts.items() if name.startswith(route))
