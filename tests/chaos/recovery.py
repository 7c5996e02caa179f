"""Kills of an attempt that is mending what an earlier one, or the platform, has left behind.

It passes points that the uninterrupted run never does: it reattaches, abandons, adopts, restores,
cancels twins, replaces sessions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from session_block.crashpoints import CRASH_LOG

from .harness import Rig
from .judging import Allowed, Reference
from .reference import numbered
from .scenarios import OPENING, Attempt, Scenario, in_turn

_SUBMIT = {"method": "POST", "path": "/jobs", "nth": 3}
_LOOK = {"method": "GET", "path": "/sessions/{session_id}"}


@dataclass(frozen=True)
class _Mess:
    """What is mended: attempts, in the last of which that is done, and what it may leave."""

    attempts: tuple[Attempt, ...]
    allowed: Allowed = field(default_factory=Allowed)
    group: str = "recovery"


_MESSES: Mapping[str, _Mess] = {
    "an unsent job": _Mess((Attempt(kill_at="submit, before:4"), Attempt())),
    "an unrecorded job": _Mess((Attempt(kill_at="submit, after:4"), Attempt())),
    "a twin": _Mess(
        (Attempt(rules=({"kind": "status", "status": 500, "effect": "after", **_SUBMIT},)),),
        Allowed(twins=True),
    ),
    "a lost answer": _Mess((Attempt(rules=({"kind": "drop", "effect": "after", **_SUBMIT},)),)),
    "an ended session": _Mess(
        (
            Attempt(kill_at="submit, after:4"),
            Attempt(rules=({"kind": "end_session", "by": "max_time", **_LOOK},)),
        ),
        Allowed(sessions=2, replaced=True),
    ),
}
_ROLLOVER = Allowed(sessions=2, replaced=True)
_ROLLOVERS = {
    "a session that ends by max_time": _Mess(
        (Attempt(rules=({"kind": "end_session", "by": "max_time", **_SUBMIT},)),),
        _ROLLOVER,
        "rollover",
    )
}
_MODES = {
    f"{mode} mode": _Mess(
        (Attempt(kill_at="submit, after:4", block={"mode": mode}), Attempt(block={"mode": mode})),
        group="modes",
    )
    for mode in ("batch", "job")
}
_WIPED = _Mess(
    (Attempt(kill_at="submit, after:4", wipe=True), Attempt()),
    Allowed(sessions=2, left_open=True),
)


def recoveries(rig: Rig, reference: Reference, *, wipe: bool) -> Iterator[Scenario]:
    """Yield a kill at the first passage of each point, and at each of those that are new.

    Args:
        rig: On which it is found out what the mending attempt passes.
        reference: The uninterrupted run, whose points are not new.
        wipe: Whether the ledger is a file that can be deleted.
    """
    usual = {_point(passage) for passage in reference.passages}
    # As many jobs as it needs, so that one which is counted and not made would be missed.
    budget = {"max_jobs": len(reference.submissions)}
    messes = {
        **_MESSES,
        **_ROLLOVERS,
        **_MODES,
        "a tight budget": _Mess((Attempt(block=budget),), group="budget"),
        "an unsent job of a tight budget": _Mess(
            (Attempt(kill_at="submit, before:4", block=budget), Attempt(block=budget)),
            group="budget",
        ),
        **({"a lost ledger": _WIPED} if wipe else {}),
    }
    for name, mess in messes.items():
        for passage in _passages(rig, mess):
            if _point(passage) in usual and not passage.endswith(":1"):
                continue
            *before, mending = mess.attempts
            orphans = mess.allowed.orphans or passage.startswith(OPENING)
            yield Scenario(
                mess.group,
                f"from {name}, {passage}",
                in_turn(*before, replace(mending, kill_at=passage)),
                replace(mess.allowed, orphans=orphans),
                kills=len(mess.attempts),
                # A kill may come before the fault's request does.
                strict=False,
            )


def _passages(rig: Rig, mess: _Mess) -> tuple[str, ...]:
    """Return what the last attempt passes when it is not killed."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "passages"
        *before, mending = mess.attempts
        in_turn(*before, replace(mending, environment={CRASH_LOG: str(log)}))(rig.begin("mended"))
        return numbered(log.read_text("utf-8").splitlines())


def _point(passage: str) -> str:
    return passage.rpartition(":")[0]
