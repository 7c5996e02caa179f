"""Two workers on one experiment in different PID namespaces, as in two containers of one machine.

Both have the same host name and boot, and neither sees the other's process. So one that is stopped,
or dead, must not be taken for dead before its deadline.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from .harness import APART, ATTEMPT_SECONDS, Child, Ending, Run
from .scenarios import Play, Scenario
from .workers import DEADLINE, go_on

_WAITS = "cannot be seen from here"
"""What a worker logs that waits for another one's deadline."""

_LINES = 50
_LOOK_SECONDS = 0.1
_WAITING_SECONDS = 4.0
"""So long it must go on waiting: longer than the settle window, after which it would submit."""


def why_not() -> str | None:
    """Return why no process can be started in a PID namespace of its own; ``None`` if it can."""
    try:
        tried = subprocess.run([*APART, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return f"there is no {APART[0]}"
    return tried.stderr.strip() or None if tried.returncode else None


def apart() -> Iterator[Scenario]:
    """Yield a worker that is stopped, or killed, and another one in another PID namespace.

    With the default deadline the other waits until the first one goes on; with a short one it takes
    over from the dead one.
    """
    for passage, inside in (
        ("record intent, after:1", True),
        ("submit, before:3", True),
        ("submit, before:3", False),
    ):
        where = "inside" if inside else "outside"
        play = _waits(passage, inside=inside)
        yield Scenario("namespaces", f"stopped {where} at {passage}, then goes on", play)
    for passage in ("record intent, after:3", "submit, before:8", "submit, after:3"):
        play = _inherits(passage)
        yield Scenario("namespaces", f"stopped inside at {passage}, then killed", play, kills=1)


def _waits(passage: str, *, inside: bool) -> Play:
    def play(run: Run) -> list[Ending]:
        first = _stopped(run, passage, inside=inside)
        # If the other one submits in its place, it goes on at once, and too late.
        second = run.start(apart=not inside, rules=(go_on(first, 1),))
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(second.end)
            _until_it_waits(second)
            first.resume()
            return [first.end(), other.result()]

    return play


def _inherits(passage: str) -> Play:
    def play(run: Run) -> list[Ending]:
        first = _stopped(run, passage, inside=True)
        first.kill()
        return [first.end(), run.start(environment=DEADLINE).end()]

    return play


def _stopped(run: Run, passage: str, *, inside: bool) -> Child:
    """Start a worker, and return it when it is stopped."""
    child = run.start(pause_at=passage, apart=inside)
    ending = child.wait()
    if ending is not None:
        raise RuntimeError(f"the first worker was not stopped: {ending}")
    return child


def _until_it_waits(child: Child) -> None:
    """Return when a worker has waited for a while, or has ended because it does not wait."""
    end = time.monotonic() + ATTEMPT_SECONDS
    while not child.ended and time.monotonic() < end:
        if _WAITS in child.tail(_LINES):
            time.sleep(_WAITING_SECONDS)
            return
        time.sleep(_LOOK_SECONDS)
