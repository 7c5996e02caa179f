"""Fixtures for tests on the real Prefect server, with flows run in this process and by a worker."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from qiskit_ibm_runtime import QiskitRuntimeService, Session

if TYPE_CHECKING:
    from support import Platform


@pytest.fixture
def quick_flows(prefect_server: str) -> Iterator[None]:  # noqa: ARG001 - flows need the server
    """Flows of this process send no heartbeat: to end its thread takes a second of every flow."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
    APILogWorker.drain_all()  # while the server still answers


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect here what Prefect leaves open, and not in other tests."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def service(platform: Platform) -> QiskitRuntimeService:
    """The client, connected to the tests' platform beside the experiments."""
    return platform.credentials().get_client()


@pytest.fixture
def session_state(service: QiskitRuntimeService) -> Callable[[str], str]:
    """A function that asks the platform for a session's state."""

    def state(session_id: str) -> str:
        details: dict[str, Any] = Session.from_id(session_id, service).details() or {}
        return str(details["state"])

    return state
