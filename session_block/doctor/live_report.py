"""Pure: compare what a live check found with what this package and its local platform assume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from session_block.client.failures import SESSION_CLOSED_CODE

FORMAT = "session-block-live-check"
FORMAT_VERSION = 1
INTERACTIVE_SECONDS = 60
_BAD_REQUEST = 400
_SESSION_STATES = {"open", "active", "pending_inactive", "inactive", "pending_closed", "closed"}
_JOB_STATES = {"Queued", "Running", "Completed", "Failed", "Cancelled"}

LEFT_OPEN = (
    "What a job reports that is queued when its session reaches its longest time",
    "For how long the listing by tags can hide a job on a bad day",
)


def report_of(
    *,
    versions: Mapping[str, str],
    experiment: str,
    found: Mapping[str, Any],
    states: Mapping[str, Sequence[Mapping[str, Any]]],
    fields: Mapping[str, Sequence[str]],
    timings: Mapping[str, float],
    assumptions: Sequence[Mapping[str, Any]],
    error: str | None,
) -> dict[str, Any]:
    """Return the report, as JSON values. It holds no secrets.

    Its ``states`` are in the order in which they were seen, ``after_seconds`` counted from the
    start. ``fields`` are those of the platform's answers. ``timings`` are in seconds, by this
    machine's clock unless their name says otherwise. ``assumptions`` are what was assumed, what was
    found, and whether they agree (``null``: not seen). ``left_open`` is what was not checked.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "made_at": datetime.now(UTC).isoformat(),
        "versions": dict(versions),
        "experiment": experiment,
        "found": dict(found),
        "states": {what: list(seen) for what, seen in states.items()},
        "fields": {what: list(names) for what, names in fields.items()},
        "timings": dict(timings),
        "assumptions": list(assumptions),
        "left_open": list(LEFT_OPEN),
        "error": error,
    }


def disagreements(report: Mapping[str, Any]) -> list[str]:
    """Return as text where a report's platform differs from what is assumed."""
    return [
        f"{one['what']}: assumed {one['assumed']}, found {one['found']}"
        for one in report["assumptions"]
        if one["agrees"] is False
    ]


def compared(
    found: Mapping[str, Any], states: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Return each assumption with what was found."""
    sessions = [one["state"] for one in states["session"]]
    jobs = [one["state"] for one in states["job"]]
    late = found.get("late_submission", {})
    listed, settle = found.get("listed_after_seconds"), found.get("settle_seconds")
    asked = found.get("asked_max_time")
    return [
        _same("state of a session before its first job", "open", sessions[0] if sessions else None),
        _same(
            "state of a session while its job runs",
            "active",
            found.get("session_state_while_running"),
        ),
        _known("states of a session", _SESSION_STATES, sessions),
        _known("states of a job", _JOB_STATES, jobs),
        _same("state after a close without jobs left", "closed", found.get("state_after_close")),
        _same("a job for a closed session is refused", True, late.get("refused")),
        _same("HTTP status of that refusal", _BAD_REQUEST, late.get("http_status")),
        _same("code of that refusal", SESSION_CLOSED_CODE, late.get("code")),
        _same("what the refusal is taken for", "session-closed", late.get("cause")),
        {
            "what": "seconds until the listing by tags shows a job, at most",
            "assumed": settle,
            "found": listed,
            "agrees": None if listed is None or settle is None else listed <= settle,
        },
        _same(
            "idle time of a session in seconds",
            INTERACTIVE_SECONDS,
            found.get("interactive_timeout"),
        ),
        _same(
            "idle time of a batch in seconds",
            INTERACTIVE_SECONDS,
            found.get("batch_interactive_timeout"),
        ),
        _same("longest time of the session, as asked", asked, found.get("max_time")),
        _told("usage of a closed session in seconds", found.get("session_usage")),
        _told("usage of a finished job in seconds", found.get("job_usage")),
    ]


def _same(what: str, assumed: Any, found: Any) -> dict[str, Any]:
    agrees = None if found is None else found == assumed
    return {"what": what, "assumed": assumed, "found": found, "agrees": agrees}


def _known(what: str, known: set[str], seen: Sequence[str]) -> dict[str, Any]:
    agrees = set(seen) <= known if seen else None
    return {"what": what, "assumed": sorted(known), "found": list(seen), "agrees": agrees}


def _told(what: str, found: Any) -> dict[str, Any]:
    return {
        "what": what,
        "assumed": "a number",
        "found": found,
        "agrees": None if found is None else isinstance(found, int | float),
    }
