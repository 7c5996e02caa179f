"""Prefect's UI in a real browser: Debian's Chromium, with real servers and a real worker behind."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from chromium import CHROMIUM, chromium
from pages import PATIENCE_MILLISECONDS, aside, new_page
from playwright.sync_api import Browser, Page, expect
from prefect import get_client
from prefect_helpers import prefect_cli, working
from support import BACKEND, Platform

from session_block import QuantumSession, local_platform


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless. While it lives its thread has an event loop: see ``aside``."""
    if CHROMIUM is None:
        pytest.skip("No Chromium: `make browser` installs it, or says what to install.")
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with chromium() as launched:
        yield launched


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page of a fresh visitor."""
    with new_page(browser) as opened:
        yield opened


@pytest.fixture(scope="module")
def ui(prefect_server: str) -> str:
    """The address of Prefect's UI, which new visitors see."""
    return prefect_server.removesuffix("/api") + "/v2"


@pytest.fixture(scope="module")
def slow_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose jobs take so long that a run is seen going."""
    state_dir = tmp_path_factory.mktemp("slow-platform")
    yield Platform(local_platform.start(state_dir, job_seconds=0.3))
    local_platform.stop(state_dir)


@pytest.fixture(scope="module")
def deployed(
    prefect_server: str,  # noqa: ARG001 - where they are made
    slow_platform: Platform,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """The deployments of ``deployments/prefect.yaml``, and the Block that they name."""
    block = QuantumSession(
        credentials=slow_platform.credentials(),
        backend_name=BACKEND,
        max_time="1h",
        ledger_url=f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}",
    )
    aside(lambda: block.save("quantum-session", overwrite=True))
    prefect_cli("work-pool", "create", "quantum", "--type", "process", "--overwrite")
    prefect_cli("--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
    yield
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)


@pytest.fixture(scope="module")
def worker(
    deployed: None,  # noqa: ARG001 - it makes the pool
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[psutil.Process]:
    """A real process worker for the deployments' pool."""
    with working(tmp_path_factory.mktemp("worker")) as running:
        yield running
