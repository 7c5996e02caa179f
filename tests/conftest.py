"""Real servers for all tests: one local platform and one Prefect server, on loopback."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

_HOME = Path(tempfile.mkdtemp(prefix="session-block-tests-"))
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "QISKIT_IBM"))]:
    del os.environ[_name]
os.environ.update(
    PREFECT_HOME=str(_HOME / "prefect"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
)

import pytest  # noqa: E402
from postgres import postgres, store_url  # noqa: E402, F401
from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402
from prefect_server import running_prefect_server  # noqa: E402
from support import BACKEND, Platform, forget_names  # noqa: E402

from session_block import QuantumSession, local_platform  # noqa: E402
from session_block.experiments.unclosed import UNCLOSED  # noqa: E402

atexit.unregister(UNCLOSED.tell)  # tests leave many sessions open on purpose


@pytest.fixture(scope="session", autouse=True)
def _home() -> Iterator[None]:
    yield
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def platform(_home: None) -> Iterator[Platform]:
    """One local platform for all tests; they tell their jobs apart by experiment.

    An idle session soon leaves its backend to the next test's.
    """
    state_dir = _HOME / "platform"
    yield _shared(local_platform.start(state_dir, interactive_seconds=1))
    local_platform.stop(state_dir)


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """The URL of a test's own ledger."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


_SHARED_PLATFORMS: set[Path] = set()
"""The state directories of platforms that several tests use."""


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """Note each platform that a module's tests share; of a session's pytest does not tell here."""
    made = yield
    state_dir = getattr(getattr(made, "info", made), "state_dir", None)
    if state_dir is not None and fixturedef.scope != "function":
        _SHARED_PLATFORMS.add(state_dir)
    return made


def _shared(info: local_platform.PlatformInfo) -> Platform:
    _SHARED_PLATFORMS.add(info.state_dir)
    return Platform(info)


@pytest.fixture(autouse=True)
def _own_names(request: pytest.FixtureRequest) -> None:
    """Leave a test's names to it: no job of an earlier test bears them any more.

    The tests of a module that look at one run together keep its names: ``shares_names``.
    """
    if request.node.get_closest_marker("shares_names") is not None:
        return
    for state_dir in _SHARED_PLATFORMS:
        forget_names(state_dir)


@pytest.fixture
def block(platform: Platform, ledger_url: str) -> QuantumSession:
    """An unsaved Block for the local platform, with a ledger of its own."""
    return QuantumSession(
        credentials=platform.credentials(),
        backend_name=BACKEND,
        max_time="1h",
        ledger_url=ledger_url,
    )


@pytest.fixture(scope="session")
def prefect_server(_home: None) -> Iterator[str]:
    """Give the API URL of a real Prefect server, which all flows and Blocks of the tests use."""
    with (
        running_prefect_server(_HOME / "prefect") as url,
        temporary_settings({PREFECT_API_URL: url}),
    ):
        yield url


@pytest.fixture
def saved_block(prefect_server: str, block: QuantumSession, request: pytest.FixtureRequest) -> str:  # noqa: ARG001
    """Save the test's Block, and give the name by which flows load it."""
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")
    block.save(name, overwrite=True)
    return name


@pytest.fixture(scope="session")
def slow_platform(_home: None) -> Iterator[Platform]:
    """A platform on which each job takes a while, so that there is a middle to interrupt."""
    state_dir = _HOME / "slow-platform"
    yield _shared(local_platform.start(state_dir, job_seconds=1.5, interactive_seconds=1))
    local_platform.stop(state_dir)


@pytest.fixture
def slow_block(slow_platform: Platform, ledger_url: str) -> QuantumSession:
    """An unsaved Block for the slow platform."""
    return QuantumSession(
        credentials=slow_platform.credentials(),
        backend_name=BACKEND,
        max_time="1h",
        ledger_url=ledger_url,
    )
