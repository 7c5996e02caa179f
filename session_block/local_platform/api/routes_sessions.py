"""Session and batch operations: open, get, stop accepting jobs or accept them again, cancel."""

from __future__ import annotations

from typing import Any, get_args

from session_block.local_platform.api.http import Call, Operation, optional_text, whole_number
from session_block.local_platform.api.routes_backends import owned
from session_block.local_platform.errors import bad_request, open_plan, unknown_mode
from session_block.local_platform.workloads.session_lifecycle import HowToEnd, SessionMode
from session_block.local_platform.workloads.sessions import details

_MODES: tuple[SessionMode, ...] = get_args(SessionMode)
_WAYS_TO_END: tuple[HowToEnd, ...] = get_args(HowToEnd)


def _open(call: Call) -> dict[str, Any]:
    content = call.json_object()
    mode = _mode(content)
    instance = call.instance
    if content.get("instance") not in (None, instance.crn):
        raise bad_request("instance is not the instance of the Service-CRN header")
    settings = call.platform.identity.settings
    refuses = settings.open_plan_sessions == "refuse"
    if mode == "dedicated" and not instance.allows_sessions and refuses:
        raise open_plan()
    backend = optional_text(content, "backend") or optional_text(content, "backend_name")
    if backend is not None:
        owned(call, backend)
    longest = instance.max_ttl
    max_ttl = whole_number(content.get("max_ttl", longest), "max_ttl", 1, longest)
    # Spec: interactive_ttl <= active_ttl <= max_ttl, and that active_ttl is max_ttl by default.
    active_ttl = content.get("active_ttl")
    if active_ttl is not None:
        active_ttl = whole_number(active_ttl, "active_ttl", 1, max_ttl)
    longest_active = active_ttl or max_ttl
    interactive_ttl = whole_number(
        content.get("interactive_ttl", min(settings.interactive_seconds, longest_active)),
        "interactive_ttl",
        1,
        longest_active,
    )
    session = call.platform.sessions.open(
        mode=mode,
        backend=backend,
        instance=instance.crn,
        account=call.account.id,
        max_ttl=max_ttl,
        interactive_ttl=interactive_ttl,
        active_ttl=active_ttl,
        pending_seconds=settings.pending_seconds,
    )
    call.platform.engine.wake()
    return _details(call, session.id)


def _mode(content: dict[str, Any]) -> SessionMode:
    mode = content.get("mode")
    if not isinstance(mode, str):
        raise bad_request(f"mode must be one of {', '.join(_MODES)}")
    known = next((one for one in _MODES if one == mode), None)
    if known is None:
        raise unknown_mode()
    return known


def _get(call: Call) -> dict[str, Any]:
    return _details(call, call.path["session_id"])


def _update(call: Call) -> None:
    session_id = call.path["session_id"]
    # An unknown session is reported before a bad body.
    call.platform.sessions.get(session_id, call.instance.crn)
    accepting = call.json_object().get("accepting_jobs")
    if not isinstance(accepting, bool):
        raise bad_request("accepting_jobs must be true or false")
    if accepting:
        call.platform.accept_again(session_id)
    else:
        call.platform.end_session(session_id, "close")


def _close(call: Call) -> None:
    session_id = call.path["session_id"]
    call.platform.sessions.get(session_id, call.instance.crn)
    call.platform.end_session(session_id, "cancel")


def _end(call: Call) -> None:
    by = call.json_object().get("by")
    how = next((way for way in _WAYS_TO_END if way == by), None)
    if how is None:
        raise bad_request(f"by must be one of {', '.join(_WAYS_TO_END)}")
    call.platform.end_session(call.path["session_id"], how)


def _details(call: Call, session_id: str) -> dict[str, Any]:
    session, facts = call.platform.sessions.get(session_id, call.instance.crn)
    return details(session, facts, call.platform.clock.now())


OPERATIONS = (
    Operation("POST", "/sessions", _open),
    Operation("GET", "/sessions/{session_id}", _get),
    Operation("PATCH", "/sessions/{session_id}", _update),
    Operation("DELETE", "/sessions/{session_id}/close", _close),
)
LOCAL = (
    Operation(
        "POST",
        "/_local/sessions/{session_id}/end",
        _end,
        needs_token=False,
        needs_instance=False,
    ),
)
