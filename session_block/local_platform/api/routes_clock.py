"""The platform's clock: what it shows, and how to advance it."""

from __future__ import annotations

from typing import Any

from session_block.local_platform.api.http import Call, Operation
from session_block.local_platform.clock import iso
from session_block.local_platform.errors import bad_request

MOST_SECONDS = 366 * 86_400
# The year 9000: dates have four digits for the year.
LAST_MOMENT = 221_845_392_000.0


def _show(call: Call) -> dict[str, Any]:
    return _described(call, call.platform.clock.now())


def _advance(call: Call) -> dict[str, Any]:
    seconds = call.json_object().get("advance")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise bad_request("advance must be a number of seconds")
    if not 0 <= seconds <= MOST_SECONDS:
        raise bad_request(f"advance must be from 0 to {MOST_SECONDS} seconds")
    if call.platform.clock.now() + seconds > LAST_MOMENT:
        raise bad_request("the clock stops in the year 9000: use a new state directory")
    return _described(call, call.platform.advance(float(seconds)))


def _described(call: Call, moment: float) -> dict[str, Any]:
    return {"now": iso(moment), "moment": moment, "scale": call.platform.clock.scale}


LOCAL = (
    Operation("GET", "/_local/clock", _show, needs_token=False, needs_instance=False),
    Operation("POST", "/_local/clock", _advance, needs_token=False, needs_instance=False),
)
