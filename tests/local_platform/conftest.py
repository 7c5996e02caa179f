"""A real platform process for the whole run, and the real client connected to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from qiskit_ibm_runtime import QiskitRuntimeService

from session_block import local_platform

from .support import raw_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from qiskit_ibm_runtime import IBMBackend

    from session_block.local_platform import PlatformInfo


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformInfo]:
    """A platform of exact expectation values, stopped when the tests are over.

    Its sessions soon leave their backend to the next test's.
    """
    state_dir = tmp_path_factory.mktemp("platform")
    yield local_platform.start(state_dir, interactive_seconds=1)
    local_platform.stop(state_dir)


@pytest.fixture(scope="session")
def connect() -> Callable[..., QiskitRuntimeService]:
    """A function that connects the client to a platform by arguments."""

    def connected(info: PlatformInfo, **arguments: str) -> QiskitRuntimeService:
        account = {"token": info.token, "url": info.url, "instance": info.instance}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in local_platform.service_environment(info.origin).items():
                patch.setenv(name, value)
            return QiskitRuntimeService(channel="ibm_quantum_platform", **{**account, **arguments})

    return connected


@pytest.fixture(scope="session")
def service(
    platform: PlatformInfo, connect: Callable[..., QiskitRuntimeService]
) -> QiskitRuntimeService:
    """The client, connected to the shared platform."""
    return connect(platform)


@pytest.fixture(scope="session")
def backend(service: QiskitRuntimeService) -> IBMBackend:
    """The smallest backend of the shared platform."""
    return service.backend("ibm_manila")


@pytest.fixture
def api(platform: PlatformInfo) -> Iterator[httpx.Client]:
    """Plain HTTP to the shared platform's API, with credentials."""
    with raw_client(platform) as client:
        yield client


FIRST_TIER = ("test_client.py", "test_jobs.py", "test_process.py", "test_sessions.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the platform's fidelity to the rest; that it serves the client at all comes first."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name not in FIRST_TIER:
            item.add_marker(pytest.mark.rest)
