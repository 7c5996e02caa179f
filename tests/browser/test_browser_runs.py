"""A deployment from Prefect's UI: started, watched, read, cancelled; counted at the platform."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx
import pytest
from pages import new_page, start_run
from playwright.sync_api import Browser, Locator, Page, expect
from prefect import get_client
from prefect_helpers import eventually, flow_run, in_state
from support import BACKEND, Platform, tagged

pytestmark = [pytest.mark.rest, pytest.mark.shares_names]

DEPLOYMENT = "vqe/h2-nightly"
EXPERIMENT = "started-in-the-ui"
EVALUATIONS = 10
CANCELLATION_SECONDS = 15.0
"""Ten, and what a loaded machine adds."""


@contextmanager
def _in_maintenance(platform: Platform) -> Iterator[None]:
    """Start no jobs, so that a run is seen going for as long as a page takes to show it."""
    fault = platform.admin.add_fault(kind="maintenance", backend=BACKEND)
    try:
        yield
    finally:
        platform.admin.clear_faults(fault)


@pytest.fixture(scope="module")
def started(
    browser: Browser,
    ui: str,
    slow_platform: Platform,
    worker: object,  # noqa: ARG001 - it runs it
) -> UUID:
    """A run that was started with the deployment's parameter form, and was seen going."""
    given = {"seed": 11, "maxiter": EVALUATIONS, "experiment": EXPERIMENT}
    with new_page(browser) as page:
        run_id = start_run(page, ui, DEPLOYMENT, "from-the-form", **given)
        eventually(lambda: _jobs(slow_platform, EXPERIMENT), seconds=60, what="a job is submitted")
        with _in_maintenance(slow_platform):
            _tab(page, ui, run_id, "Task Runs")
            expect(_state(page, "Running")).to_be_visible()
            expect(page.get_by_role("link", name=re.compile("^evaluation ")).first).to_be_visible()
    return run_id


def _jobs(platform: Platform, experiment: str) -> list[dict[str, Any]]:
    """Return an experiment's jobs, as the platform's server has seen them."""
    return [job for job in platform.admin.jobs() if tagged(job, experiment)]


def _tab(page: Page, ui: str, run_id: UUID, name: str) -> None:
    page.goto(f"{ui}/runs/flow-run/{run_id}")
    page.get_by_role("tab", name=name, exact=True).click()


def _state(page: Page, name: str) -> Locator:
    return page.locator("span, div").filter(has_text=re.compile(rf"^{name}$")).first


def test_the_form_s_values_are_the_run_s(started: UUID) -> None:
    """What is typed and chosen in the form is what the flow is called with."""
    parameters = flow_run(started).parameters
    assert parameters["block"] == "quantum-session"
    assert parameters["seed"] == 11
    assert parameters["experiment"] == EXPERIMENT
    assert parameters["optimizer_options"]["maxiter"] == EVALUATIONS


def test_a_run_s_page_shows_its_jobs(
    page: Page, ui: str, slow_platform: Platform, started: UUID
) -> None:
    """The page shows a task run for each job that the server counts, and the log names them."""
    eventually(in_state(started, "Completed"), seconds=60, what="the run is completed")
    jobs = _jobs(slow_platform, EXPERIMENT)
    assert len(jobs) == EVALUATIONS
    _tab(page, ui, started, "Task Runs")
    expect(_state(page, "Completed")).to_be_visible()
    expect(page.get_by_text(f"{EVALUATIONS} Task runs").first).to_be_visible()

    page.get_by_role("tab", name="Logs", exact=True).click()
    told = page.get_by_text(re.compile(r"Job \S+ is submitted")).first
    assert told.inner_text().split()[1] in {job["id"] for job in jobs}


def test_the_report_names_session_and_jobs(
    page: Page, ui: str, slow_platform: Platform, started: UUID
) -> None:
    """The run's artifact names what the server has seen, and its figure is drawn."""
    eventually(in_state(started, "Completed"), seconds=60, what="the run is completed")
    _tab(page, ui, started, "Artifacts")
    page.get_by_text(re.compile("^experiment-[0-9a-f]+$")).click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    jobs = _jobs(slow_platform, EXPERIMENT)
    [session_id] = {job["session_id"] for job in jobs}
    expect(page.get_by_text(session_id).first).to_be_visible()
    for job in jobs:
        expect(page.get_by_role("link", name=job["id"])).to_be_visible()
    figure = page.get_by_role("img", name="convergence")
    expect(figure).to_be_visible()
    assert figure.evaluate("picture => picture.naturalWidth") > 0


def test_the_event_feed_tells_of_sessions(
    page: Page, ui: str, prefect_server: str, started: UUID
) -> None:
    """The events of the run are in the feed, under their own names, with the run beside them."""

    def closed() -> list[dict[str, Any]]:
        only = {
            "event": {"name": ["session-block.session.closed"]},
            "related": {"id": [f"prefect.flow-run.{started}"]},
        }
        found = httpx.post(f"{prefect_server}/events/filter", json={"filter": only})
        return list(found.json()["events"])

    eventually(closed, seconds=90, what="the server knows that the session is closed")
    now = datetime.now(UTC)  # by itself the feed ends with the minute before this one
    search = {
        "events": json.dumps(["session-block.session.*"]),
        "rangeType": "range",
        "start": (now - timedelta(hours=1)).isoformat(),
        "end": (now + timedelta(minutes=1)).isoformat(),
    }
    page.goto(f"{ui}/events?{urlencode(search)}")
    expect(page.get_by_text("session-block.session.closed").first).to_be_visible()
    expect(page.get_by_text("session-block.session.opened").first).to_be_visible()
    expect(page.get_by_text("from-the-form").first).to_be_visible()
    expect(page.get_by_text("prefect.flow-run")).to_have_count(0)


@pytest.mark.usefixtures("deployed")
def test_a_schedule_is_switched_on_and_off(page: Page, ui: str) -> None:
    """The deployment's schedule is off, and the switch on its page turns it on and off."""
    with get_client(sync_client=True) as client:
        deployment_id = client.read_deployment_by_name(DEPLOYMENT).id

        def active() -> bool:
            return client.read_deployment(deployment_id).schedules[0].active

        page.goto(f"{ui}/deployments/deployment/{deployment_id}")
        switch = page.get_by_role("switch")
        expect(switch).to_have_attribute("aria-checked", "false")
        switch.click()
        expect(switch).to_have_attribute("aria-checked", "true")
        eventually(active, seconds=10, what="the schedule is active")
        switch.click()
        expect(switch).to_have_attribute("aria-checked", "false")
        eventually(lambda: not active(), seconds=10, what="the schedule is not active")


@pytest.mark.usefixtures("worker")
def test_a_run_cancelled_in_the_ui_leaves_no_bill(
    page: Page, ui: str, slow_platform: Platform
) -> None:
    """The page's button closes the session at the platform, and cancels what was pending there."""
    run_id = start_run(page, ui, DEPLOYMENT, "cancelled-in-the-ui", maxiter=200)
    name = str(run_id)
    eventually(lambda: len(_jobs(slow_platform, name)) >= 3, seconds=60, what="jobs are submitted")
    with _in_maintenance(slow_platform):
        page.reload()
        expect(_state(page, "Running")).to_be_visible()
        page.get_by_role("button", name="Open menu").click()
        page.get_by_role("menuitem", name="Cancel").click()
        page.get_by_role("button", name="Cancel Flow Run").click()
    cancelled_at = time.monotonic()

    def session_state() -> str:
        session_id = _jobs(slow_platform, name)[0]["session_id"]
        sessions = {session["id"]: session for session in slow_platform.admin.sessions()}
        return str(sessions[session_id]["state"])

    eventually(lambda: session_state() == "closed", seconds=60, what="the session is closed")
    assert time.monotonic() - cancelled_at < CANCELLATION_SECONDS
    eventually(in_state(run_id, "Cancelled"), seconds=60, what="the run is cancelled")
    expect(_state(page, "Cancelled")).to_be_visible()
    assert {job["state"] for job in _jobs(slow_platform, name)} <= {"completed", "cancelled"}
