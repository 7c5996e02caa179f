"""Real servers for all tests: one local platform and one Prefect server, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HOME = Path(tempfile.mkdtemp(prefix="session-block-tests-"))
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "QISKIT_IBM"))]:
    del os.environ[_name]
os.environ.update(
    PREFECT_HOME=str(_HOME / "prefect"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
)

import httpx  # noqa: E402
import pytest  # noqa: E402
from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402

from session_block import LocalPlatformCredentials, QuantumSession, local_platform  # noqa: E402

BACKEND = "ibm_manila"


@dataclass(frozen=True)
class Platform:
    """The local platform of the tests, and what it has counted."""

    info: local_platform.PlatformInfo

    def stats(self) -> dict[str, Any]:
        """Return what the server has seen."""
        return httpx.get(f"{self.info.origin}/_local/stats").json()

    def jobs_of(self, uid: str) -> int:
        """Return how many jobs bear an experiment's tag, whatever became of them."""
        return self.stats()["jobs"]["by_tag"].get(f"qs-uid:{uid}", 0)

    def sessions(self) -> int:
        """Return how many sessions were ever opened."""
        return self.stats()["sessions"]["total"]

    def credentials(self) -> LocalPlatformCredentials:
        """Return the Block that finds this platform."""
        return LocalPlatformCredentials(state_dir=self.info.state_dir)


@pytest.fixture(scope="session", autouse=True)
def _home() -> Iterator[None]:
    yield
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def platform(_home: None) -> Iterator[Platform]:
    """One local platform for all tests; they tell their jobs apart by experiment."""
    state_dir = _HOME / "platform"
    yield Platform(local_platform.start(state_dir))
    local_platform.stop(state_dir)


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """A new ledger's URL."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def block(platform: Platform, ledger_url: str) -> QuantumSession:
    """An unsaved Block for the local platform, with a ledger of its own."""
    return QuantumSession(
        credentials=platform.credentials(),
        backend_name=BACKEND,
        max_time="1h",
        ledger_url=ledger_url,
    )


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Any, *, seconds: float, what: str) -> Any:
    """Return the first true value of ``condition()``; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"Waited {seconds:g} s in vain: {what}")


@pytest.fixture(scope="session")
def prefect_server(_home: None) -> Iterator[str]:
    """Give the API URL of a real Prefect server, which all flows and Blocks of the tests use."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = (_HOME / "prefect-server.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def healthy() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/health").is_success
        return False

    try:
        wait_until(healthy, seconds=90, what="the Prefect server answers")
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        log.close()


@pytest.fixture
def saved_block(prefect_server: str, block: QuantumSession, request: pytest.FixtureRequest) -> str:  # noqa: ARG001
    """Save the test's Block, and give the name by which flows load it."""
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")
    block.save(name, overwrite=True)
    return name
