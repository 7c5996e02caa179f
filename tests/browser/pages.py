"""What a visitor does on the pages of Prefect's UI."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from playwright.sync_api import Browser, Locator, Page, Response, Route, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from prefect import get_client

import session_block
from session_block.blocks.credentials import LOGO_URL

T = TypeVar("T")

BUSY_TRIES = 10
OPENINGS = 5

_RUN = re.compile(r"/runs/flow-run/([0-9a-f-]{36})")


PATIENCE_MILLISECONDS = 60_000
"""The page shows within this time what it is expected to, also on a loaded machine."""


@contextmanager
def new_page(browser: Browser, **context: object) -> Iterator[Page]:
    """Give a page that reaches this machine only; the Blocks' logo comes from this checkout."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, **context) as opened:
        opened.set_default_timeout(PATIENCE_MILLISECONDS)
        opened.route("**/*", _keep_on_this_machine)
        try:
            yield opened.new_page()
        finally:
            opened.unroute_all(behavior="ignoreErrors")  # the page may be asking something still


def _keep_on_this_machine(route: Route) -> None:
    if route.request.url == str(LOGO_URL):
        route.fulfill(path=Path(session_block.__file__).parent / "logo.png")
    elif urlsplit(route.request.url).hostname not in {"127.0.0.1", None}:
        route.abort()
    elif route.request.method == "GET":
        route.continue_()
    else:
        _ask_again_while_busy(route)


def _ask_again_while_busy(route: Route) -> None:
    """Send a change again after a 503, as Prefect's clients do; its pages leave it to the visitor.

    On SQLite the server answers so at once where another request has written meanwhile. It may
    also close an idle connection just as this one is sent on it; a browser then sends once more.
    """
    response = route.fetch(max_retries=BUSY_TRIES)
    for _ in range(BUSY_TRIES):
        if response.status != HTTPStatus.SERVICE_UNAVAILABLE:
            break
        response = route.fetch(max_retries=BUSY_TRIES)
    route.fulfill(response=response)


def aside(call: Callable[[], T]) -> T:
    """Call in another thread: in the browser's there is an event loop, which Prefect notices."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, call).result()


def field(page: Page, label: str) -> Locator:
    """Return the input of a form's field."""
    return page.get_by_label(re.compile(rf"^(Select )?{re.escape(label)}( \(Optional\))?$"))


def fill(page: Page, schema: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Fill in the fields of a Block's form; a ``bool`` is switched to, another choice chosen."""
    for name, value in values.items():
        described = schema["properties"][name]
        here = field(page, described["title"])
        if described["type"] == "boolean":
            here.set_checked(value)
        elif "enum" in described:
            choose(page, here, str(value))
        else:
            here.fill(str(value))


def choose(page: Page, here: Locator, name: str) -> None:
    """Choose from a list. One that is clicked while the form is drawn anew may not open."""
    option = page.get_by_role("option", name=name, exact=True)
    for _ in range(OPENINGS):
        if here.get_attribute("aria-expanded") != "true":
            here.click()
        with suppress(PlaywrightTimeout):
            option.click(timeout=PATIENCE_MILLISECONDS / OPENINGS)
            return
    raise AssertionError(f"no list offers {name!r}")


def shown(page: Page, schema: Mapping[str, Any], name: str) -> str | bool:
    """Return what a form's field shows: of a switch its position, else its text."""
    described = schema["properties"][name]
    here = field(page, described["title"])
    if described["type"] == "boolean":
        return here.is_checked()
    return here.inner_text() if "enum" in described else here.input_value()


def choose_credentials(page: Page, kind: str, name: str) -> None:
    """Choose the saved credentials of a Quantum Session."""
    page.get_by_role("tab", name=kind).click()
    choose(page, page.get_by_label("Select a block"), name)


def save(page: Page) -> None:
    """Save the form, and wait until the server has what was saved.

    A click on a form that is just being drawn anew is lost, and a visitor clicks once more.
    """
    button = page.get_by_role("button", name="Save", exact=True)
    for _ in range(OPENINGS):
        with suppress(PlaywrightTimeout):
            patience = PATIENCE_MILLISECONDS / OPENINGS
            with page.expect_response(_saves_a_block, timeout=patience) as saved:
                button.click()
            assert saved.value.ok, f"{saved.value.status}: {saved.value.text()}"
            return
    raise AssertionError(f"nothing is saved; the page shows {page.inner_text('body')!r}")


def _saves_a_block(response: Response) -> bool:
    method, path = response.request.method, urlsplit(response.url).path
    return (method == "POST" and path.endswith("/block_documents/")) or (
        method == "PATCH" and "/block_documents/" in path
    )


def start_run(page: Page, ui: str, deployment: str, run_name: str, **parameters: object) -> UUID:
    """Start a run of a deployment with its parameter form, go to its page, and return its ID."""
    with get_client(sync_client=True) as client:
        deployment_id = client.read_deployment_by_name(deployment).id
    page.goto(f"{ui}/deployments/deployment/{deployment_id}/run")
    page.get_by_label("Run Name").fill(run_name)
    for name, value in parameters.items():
        parameter = _parameter(page, name)
        parameter.wait_for()
        if parameter.get_by_role("tab").count():  # the first one takes a value
            parameter.get_by_role("tab").first.click()
        parameter.locator("input, textarea").last.fill(str(value))
        expect(parameter.locator("input, textarea").last).to_have_value(str(value))
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()
    page.wait_for_url(_RUN)
    found = _RUN.search(page.url)
    assert found is not None
    return UUID(found[1])


def _parameter(page: Page, name: str) -> Locator:
    label = page.locator("label", has_text=re.compile(rf"^{name}( \(Optional\))?$"))
    return label.locator("xpath=ancestor::div[contains(@class, 'group')][1]")
