"""Operations that IBM does not have: health, clock, statistics, listings, faults, the page."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.responses import HTMLResponse, Response

from session_block.local_platform.api import observation
from session_block.local_platform.api.fault_rules import add_faults
from session_block.local_platform.api.http import Call, Operation
from session_block.local_platform.clock import iso
from session_block.local_platform.errors import bad_request

MOST_SECONDS = 366 * 86_400

# The start of the year 9000, since the year in a date must have four digits.
LAST_MOMENT = 221_845_392_000.0

_HTML = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}

MAX_PAGE = 200

DEFAULT_PAGE = 50

MAX_OFFSET = 2_147_483_647


def _show_clock(call: Call) -> dict[str, Any]:
    return _clock_shown(call, call.platform.clock.now())


def _advance_clock(call: Call) -> dict[str, Any]:
    seconds = call.json_object().get("advance")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise bad_request("advance must be a number of seconds")
    if not 0 <= seconds <= MOST_SECONDS:
        raise bad_request(f"advance must be from 0 to {MOST_SECONDS} seconds")
    if call.platform.clock.now() + seconds > LAST_MOMENT:
        raise bad_request("the clock stops in the year 9000: use a new state directory")
    return _clock_shown(call, call.platform.advance(float(seconds)))


def _clock_shown(call: Call, moment: float) -> dict[str, Any]:
    return {"now": iso(moment), "moment": moment, "scale": call.platform.clock.scale}


def page() -> HTMLResponse:
    """Return the page. It loads nothing from other hosts."""
    return HTMLResponse(_HTML, headers=_HEADERS)


def _health(call: Call) -> dict[str, Any]:
    identity = call.platform.identity
    return {
        "status": "ok",
        "id": identity.id,
        "pid": os.getpid(),
        "settings": asdict(identity.settings),
    }


def _stats(call: Call) -> dict[str, Any]:
    return call.platform.stats.report()


def _jobs(call: Call) -> dict[str, Any]:
    return observation.jobs(call.platform, *_span(call), call.text_query("find") or "")


def _sessions(call: Call) -> dict[str, Any]:
    return observation.sessions(call.platform, *_span(call), call.text_query("find") or "")


def _backends(call: Call) -> dict[str, Any]:
    return observation.backends(call.platform)


def _add_faults(call: Call) -> dict[str, Any]:
    content = call.json_object()
    try:
        added = add_faults(call.platform, content, call.peer)
    except ValueError as error:
        raise bad_request(str(error)) from None
    return {"faults": added} if "faults" in content else added[0]


def _faults(call: Call) -> dict[str, Any]:
    return {"faults": call.platform.faults.report()}


def _clear_faults(call: Call) -> None:
    call.platform.faults.clear()
    call.platform.engine.wake()


def _remove_fault(call: Call) -> None:
    call.platform.faults.remove(call.path["fault_id"])
    call.platform.engine.wake()


def _page(_call: Call) -> Response:
    return page()


def _span(call: Call) -> tuple[int, int]:
    limit = call.number_query("limit", 1, MAX_PAGE, DEFAULT_PAGE)
    return limit, call.number_query("offset", 0, MAX_OFFSET, 0)


LOCAL = tuple(
    Operation(method, path, handler, needs_token=False, needs_instance=False)
    for method, path, handler in (
        ("GET", "/", _page),
        ("GET", "/_local/health", _health),
        ("GET", "/_local/clock", _show_clock),
        ("POST", "/_local/clock", _advance_clock),
        ("GET", "/_local/stats", _stats),
        ("GET", "/_local/jobs", _jobs),
        ("GET", "/_local/sessions", _sessions),
        ("GET", "/_local/backends", _backends),
        ("POST", "/_local/faults", _add_faults),
        ("GET", "/_local/faults", _faults),
        ("DELETE", "/_local/faults", _clear_faults),
        ("DELETE", "/_local/faults/{fault_id}", _remove_fault),
    )
)
