"""What only this platform has: its health, its counts, what it saw, its faults and its page."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from session_block.local_platform.api import observation
from session_block.local_platform.api.http import Call, Operation
from session_block.local_platform.api.page import page
from session_block.local_platform.errors import bad_request
from session_block.local_platform.faults.admission import add_faults

MAX_PAGE = 200
DEFAULT_PAGE = 50
MAX_OFFSET = 2_147_483_647


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
    return observation.jobs(call.platform, *_span(call))


def _sessions(call: Call) -> dict[str, Any]:
    return observation.sessions(call.platform, *_span(call))


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
