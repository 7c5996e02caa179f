"""Sessions and batches: open, look, stop accepting, cancel."""

from __future__ import annotations

from typing import Any

from session_block.local_platform.backends import find
from session_block.local_platform.errors import bad_request
from session_block.local_platform.http import Call, Operation, optional_text, whole_number
from session_block.local_platform.lifecycle import (
    DEFAULT_INTERACTIVE_TTL,
    DEFAULT_MAX_TTL,
    MAX_TTL_LIMIT,
)
from session_block.local_platform.sessions import details


def _open(call: Call) -> dict[str, Any]:
    content = call.json_object()
    mode = content.get("mode")
    if mode not in ("dedicated", "batch"):
        raise bad_request("mode must be dedicated or batch")
    instance = content.get("instance")
    if instance is not None and instance != call.platform.accounts.instance:
        raise bad_request("instance is not the instance of the Service-CRN header")
    backend = optional_text(content, "backend") or optional_text(content, "backend_name")
    if backend is not None:
        find(backend)
    max_ttl = whole_number(content.get("max_ttl", DEFAULT_MAX_TTL), "max_ttl", 1, MAX_TTL_LIMIT)
    interactive_ttl = whole_number(
        content.get("interactive_ttl", min(DEFAULT_INTERACTIVE_TTL, max_ttl)),
        "interactive_ttl",
        1,
        max_ttl,
    )
    session = call.platform.sessions.open(
        mode=mode,
        backend=backend,
        instance=call.platform.accounts.instance,
        max_ttl=max_ttl,
        interactive_ttl=interactive_ttl,
    )
    return _details(call, session.id)


def _get(call: Call) -> dict[str, Any]:
    return _details(call, call.path["session_id"])


def _update(call: Call) -> None:
    session_id = call.path["session_id"]
    # An unknown session is reported before a bad body.
    call.platform.sessions.get(session_id)
    if call.json_object().get("accepting_jobs") is not False:
        raise bad_request("accepting_jobs must be false: a session cannot be reopened")
    call.platform.sessions.stop_accepting(session_id)


def _close(call: Call) -> None:
    call.platform.sessions.cancel(call.path["session_id"])


def _details(call: Call, session_id: str) -> dict[str, Any]:
    session, facts = call.platform.sessions.get(session_id)
    return details(session, facts, call.platform.clock.now())


OPERATIONS = (
    Operation("POST", "/sessions", _open),
    Operation("GET", "/sessions/{session_id}", _get),
    Operation("PATCH", "/sessions/{session_id}", _update),
    Operation("DELETE", "/sessions/{session_id}/close", _close),
)
