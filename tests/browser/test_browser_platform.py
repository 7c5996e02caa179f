"""The local platform's own page in a browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from session_block.local_platform import LocalPlatform


def test_the_page_knows_its_owner_until_the_server_ends(page: Page) -> None:
    """It opens with a key, which its tab alone keeps, and which no later server of the port takes.

    A page that is refused says what to do, and sends the old key no more.
    """
    with LocalPlatform() as platform:
        page.goto(platform.info.page)
        expect(page.get_by_text("ibm_fez")).to_be_visible()
        page.reload()
        expect(page.get_by_text("ibm_fez")).to_be_visible()
        assert page.url == f"{platform.info.origin}/"
        assert page.evaluate("localStorage.length") == 0
        first = platform.info
        platform.restart()
        assert platform.info.origin == first.origin
        expect(page.get_by_role("status")).to_contain_text("open it anew with 'session-block")
        assert page.evaluate("sessionStorage.length") == 0
        page.goto(platform.info.page)
        expect(page.get_by_text("ibm_fez")).to_be_visible()
        expect(page.get_by_role("status")).to_be_empty()
