"""The page on which people watch the platform."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import HTMLResponse

_HTML = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}


def page() -> HTMLResponse:
    """Return the page, which loads nothing from elsewhere."""
    return HTMLResponse(_HTML, headers=_HEADERS)
