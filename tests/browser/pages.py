"""What a visitor does on the pages of Prefect's UI."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from playwright.sync_api import Locator, Page

T = TypeVar("T")


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
            here.click()
            page.get_by_role("option", name=str(value), exact=True).click()
        else:
            here.fill(str(value))


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
    page.get_by_label("Select a block").click()
    page.get_by_role("option", name=name, exact=True).click()


def save(page: Page) -> None:
    """Save the form, and wait until the page shows what was saved."""
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(re.compile(r"/blocks/block/[0-9a-f-]{36}$"))
