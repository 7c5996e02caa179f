"""Every fault of the local platform in every phase of an experiment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .attempt import BACKEND
from .harness import Rig
from .judging import Allowed
from .scenarios import Attempt, Scenario, in_turn

PHASES: Mapping[str, tuple[str, str, int]] = {
    "connect": ("GET", "/backends", 1),
    "look back": ("GET", "/jobs", 1),
    "open": ("POST", "/sessions", 1),
    "submit": ("POST", "/jobs", 3),
    "wait": ("GET", "/jobs/{job_id}", 5),
    "fetch": ("GET", "/jobs/{job_id}/results", 3),
    "close": ("PATCH", "/sessions/{session_id}", 1),
}
"""The request of each phase that is hit; an opening looks back at what its ledger may have lost."""

_MOMENT_SECONDS = 0.5
_EFFECTS = ("before", "after")
_PAGE = "<html><head><title>Request blocked</title></head></html>"
_DOWN = frozenset({"ConnectionFailedError"})

Rule = Mapping[str, Any]


def faults() -> Iterator[Scenario]:
    """Yield one scenario for each fault in each phase in which it can be."""
    for phase, (method, path, nth) in PHASES.items():
        where = {"method": method, "path": path, "nth": nth}
        for name, rules, allowed in _single(phase):
            yield _scenario(
                phase, name, Attempt(rules=tuple({**where, **r} for r in rules)), allowed
            )
        stop = {"kind": "signal", "pid": "child", "signal": "SIGSTOP", **where}
        yield _scenario(
            phase, "maintenance", Attempt(rules=(stop,), at_stop=_maintenance), Allowed()
        )
        for effect in _EFFECTS:
            crash = {"kind": "signal", "pid": "platform", "signal": "SIGKILL", "effect": effect}
            yield _scenario(
                phase,
                f"platform killed, {effect}",
                Attempt(rules=({**crash, **where},), kills_platform=True),
                _when_unreachable(phase),
            )
    yield from _lost_answers()
    yield from _ended()


def _scenario(phase: str, name: str, attempt: Attempt, allowed: Allowed) -> Scenario:
    again = allowed.error is not None
    return Scenario("faults", f"{name} × {phase}", in_turn(attempt, again=again), allowed)


def _single(phase: str) -> Iterator[tuple[str, tuple[Rule, ...], Allowed]]:
    """Yield the faults that are one rule about one request."""
    unreachable = _when_unreachable(phase)
    for status in (500, 502, 503):
        for effect in _EFFECTS:
            # IBM's client sends again what was answered with 5xx, and that may be a second job.
            again = effect == "after"
            allowed = Allowed(twins=again and phase == "submit", orphans=again and phase == "open")
            rule = {"kind": "status", "status": status, "effect": effect}
            yield f"{status}, {effect}", (rule,), allowed
    yield "429", ({"kind": "status", "status": 429, "retry_after": 1},), unreachable
    for effect in _EFFECTS:
        yield f"drop, {effect}", ({"kind": "drop", "effect": effect},), unreachable
    yield "delay", ({"kind": "delay", "seconds": _MOMENT_SECONDS},), Allowed()
    yield "truncate", ({"kind": "truncate", "bytes": 5},), unreachable
    yield "expired tokens", ({"kind": "expire_tokens"},), unreachable
    if phase == "submit":
        refused = Allowed(raises=frozenset({"SubmissionRejectedError"}))
        yield "401", ({"kind": "status", "status": 401},), Allowed()
        yield "403", ({"kind": "status", "status": 403},), refused
        yield "400", ({"kind": "status", "status": 400},), refused
        for effect in _EFFECTS:
            for status in (402, 408, 409, 423, 451, 499):
                rule = {"kind": "status", "status": status, "effect": effect}
                yield f"{status}, {effect}", (rule,), Allowed()
            page = {"kind": "status", "status": 403, "body": _PAGE, "effect": effect}
            yield f"a firewall's page, {effect}", (page,), Allowed()
    if phase == "fetch":
        yield "204", ({"kind": "status", "status": 204, "times": 2},), Allowed()


def _when_unreachable(phase: str) -> Allowed:
    """What is allowed where the client does not try again: the next attempt goes on."""
    if phase in ("connect", "look back", "open"):
        return Allowed(raises=_DOWN, orphans=phase == "open")
    return Allowed()


def _lost_answers() -> Iterator[Scenario]:
    """Yield faults of the listing, which is asked only once an answer was lost."""
    submit = {"method": "POST", "path": "/jobs", "nth": 3}
    # The first listing is that of the opening.
    listing = {"method": "GET", "path": "/jobs", "nth": 2}
    faults: Mapping[str, Rule] = {
        "listing lag": {"kind": "listing_lag", "seconds": 0.6},
        "wrong count": {"kind": "wrong_count", "add": 1000, "times": None},
        "count too small": {"kind": "wrong_count", "add": -1, "times": None},
        "listing 500": {"kind": "status", "status": 500, **listing},
        "listing 429": {"kind": "status", "status": 429, "retry_after": 1, **listing},
        "listing dropped": {"kind": "drop", **listing},
        "listing truncated": {"kind": "truncate", "bytes": 5, "times": 2, **listing},
        "listing delayed": {"kind": "delay", "seconds": _MOMENT_SECONDS, **listing},
        "listing, expired tokens": {"kind": "expire_tokens", **listing},
    }
    for name, rule in faults.items():
        for effect in _EFFECTS:
            drop = {"kind": "drop", "effect": effect, **submit}
            yield _scenario(
                "look up", f"{name}, lost {effect}", Attempt(rules=(drop, rule)), Allowed()
            )


def _ended() -> Iterator[Scenario]:
    """Yield jobs and sessions that the platform ends."""
    submit = {"method": "POST", "path": "/jobs", "nth": 3}
    for state, error in (("failed", "JobFailedError"), ("cancelled", "JobCancelledError")):
        rule = {"kind": "end_job", "state": state, "reason": "as the fault wants it", "nth": 3}
        allowed = Allowed(error=error, submissions=3)
        yield _scenario("submit", f"job {state}", Attempt(rules=(rule,)), allowed)
    in_two = Allowed(sessions=2, replaced=True)
    for by in ("max_time", "close", "cancel"):
        end = {"kind": "end_session", "by": by}
        close = {**end, "method": "PATCH", "path": "/sessions/{session_id}"}
        yield _scenario("close", f"session ends by {by}", Attempt(rules=(close,)), Allowed())
    end = {"kind": "end_session", "by": "max_time"}
    yield _scenario(
        "submit", "session ends by max_time", Attempt(rules=({**end, **submit},)), in_two
    )
    look = {**end, "method": "GET", "path": "/sessions/{session_id}"}
    for phase, passage in (
        ("submit, before", "submit, before:4"),
        ("submit, after", "submit, after:4"),
        ("wait", "ask job, before:5"),
        ("fetch", "fetch result, before:4"),
    ):
        # The next attempt looks at the session when it reattaches to it.
        attempts = in_turn(Attempt(kill_at=passage), Attempt(rules=(look,)))
        name = f"by max_time, killed at {phase}"
        yield Scenario("ended sessions", name, attempts, in_two, kills=1)


def _maintenance(rig: Rig) -> Callable[[], None]:
    """Pause the backend while the process is stopped, and for a moment after."""
    fault = rig.platform.add_fault(kind="maintenance", backend=BACKEND)

    def end() -> None:
        time.sleep(_MOMENT_SECONDS)
        rig.platform.clear_faults(fault)

    return end
