"""Makes the pictures of ``docs/images``: ``make pictures``.

They show what is there: the real UI in a real browser, on a run by a real worker.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from uuid import UUID

import pytest
from pages import aside, choose_credentials, fill, new_page, start_run
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect_helpers import CHECKOUT, eventually, in_state
from support import Platform

from session_block import IBMSessionCredentials, QuantumSession, local_platform

IMAGES = CHECKOUT / "docs" / "images"
MAX_BYTES = 200_000
RUN = "tuesday-night"
EXPERIMENT = "h2-equilibrium"
ON_QPU = "Running on QPU"


@pytest.fixture(scope="module")
def slow_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose jobs take so long that their states are seen."""
    state_dir = tmp_path_factory.mktemp("platform")
    yield Platform(local_platform.start(state_dir, job_seconds=20.0))
    local_platform.stop(state_dir)


def _task_run_states(run_id: UUID) -> set[str]:
    only = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        return {run.state_name or "" for run in client.read_task_runs(flow_run_filter=only)}


def _take(page: Page, name: str) -> None:
    """Take a picture of the window, in as few colours as a page has."""
    page.wait_for_timeout(1000)  # pictures and animations come to rest
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(128)
    IMAGES.mkdir(exist_ok=True)
    file = IMAGES / f"{name}.png"
    picture.save(file, optimize=True)
    assert file.stat().st_size < MAX_BYTES, file


def test_block(page: Page, ui: str, prefect_server: str) -> None:  # noqa: ARG001
    """The form of the Block."""

    def prepare() -> None:
        QuantumSession.register_type_and_schema()
        IBMSessionCredentials(token_secret="ibm-api-key").save("our-account", overwrite=True)

    aside(prepare)
    page.goto(f"{ui}/blocks/catalog/quantum-session/create")
    page.get_by_label("Name", exact=True).fill("nightly")
    choose_credentials(page, "IBMSessionCredentials", "our-account")
    values = {"backend_name": "ibm_fez", "max_time": "2h", "max_jobs": 500, "max_usage": "20m"}
    fill(page, QuantumSession.model_json_schema(), values)
    page.get_by_label("Name", exact=True).scroll_into_view_if_needed()
    _take(page, "block")


@pytest.mark.usefixtures("worker")
def test_run(browser: Browser, page: Page, ui: str, slow_platform: Platform) -> None:
    """A run while it goes, its report, its events, and the deployments."""
    run_id = start_run(page, ui, "vqe/h2-nightly", RUN, seed=11, maxiter=10, experiment=EXPERIMENT)
    eventually(lambda: slow_platform.jobs_named(EXPERIMENT) > 5, seconds=240, what="jobs")
    eventually(lambda: ON_QPU in _task_run_states(run_id), seconds=60, what="a job on the QPU")
    page.reload()
    page.get_by_role("tab", name="Task Runs").click()
    expect(page.get_by_text(ON_QPU).first).to_be_visible()
    _take(page, "flow-run")

    eventually(in_state(run_id, "Completed"), seconds=240, what="it is completed")
    for scheme in ("light", "dark"):
        with new_page(browser, color_scheme=scheme) as there:
            there.set_viewport_size({"width": 1280, "height": 1640})
            there.goto(f"{ui}/runs/flow-run/{run_id}")
            there.get_by_role("tab", name="Artifacts").click()
            there.get_by_text("experiment-").first.click()
            there.locator("a[href*='/artifacts/artifact/']").first.click()
            expect(there.get_by_role("img", name="convergence")).to_be_visible()
            _take(there, f"report-{scheme}")

    page.goto(f"{ui}/events")
    page.get_by_text("All event types").click()
    page.get_by_role("option", name="session-block.*", exact=True).click()
    page.keyboard.press("Escape")
    _take(page, "events")

    page.set_viewport_size({"width": 1280, "height": 480})
    page.goto(f"{ui}/deployments")
    expect(page.get_by_text("max-cut-nightly")).to_be_visible()
    _take(page, "deployments")


@pytest.mark.usefixtures("worker")
def test_parameters(page: Page, ui: str) -> None:
    """The form of a deployment's parameters."""
    page.goto(f"{ui}/deployments")
    page.get_by_role("link", name="h2-nightly").click()
    page.get_by_role("button", name="Run").click()
    page.get_by_role("menuitem", name="Custom run").click()
    expect(page.get_by_text("hamiltonian")).to_be_visible()
    _take(page, "parameters")
