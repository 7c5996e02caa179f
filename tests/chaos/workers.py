"""Two workers on one experiment, one of which is paused while the other takes over."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .harness import Child, Ending, Run
from .judging import Allowed
from .scenarios import Play, Scenario

DEADLINE = {"SESSION_BLOCK_SUBMIT_DEADLINE_SECONDS": "1"}
"""A paused process counts as gone after this."""

_POSTS = {"method": "POST", "path": "/jobs"}
_TAKEN_OVER = Allowed(twins=True)

_STOPS = {
    "record intent, before": Allowed(),
    "record intent, after": _TAKEN_OVER,
    "submit, before": _TAKEN_OVER,
    "submit, after": Allowed(),
    "record result, before": Allowed(),
}
"""Only who is stopped between intent and POST may make a twin: it wakes up too late."""

Starter = Callable[[Run], Child]


def paused() -> Iterator[Scenario]:
    """Yield a worker that is stopped in the middle of a POST or beside it, and goes on later.

    It goes on at the n-th POST of the worker that took over, or when that one has ended.
    """
    for nth in (1, 3, 8):
        for posts in (1, 2):
            for effect in ("before", "after"):
                name = f"stopped in POST {nth}, {effect}, until {posts} more"
                play = _takes_over(_by_platform(nth, effect), posts)
                yield Scenario("workers", name, play, _TAKEN_OVER)
            for point, allowed in _STOPS.items():
                name = f"stopped at {point}:{nth}, until {posts} more"
                play = _takes_over(_by_crash_point(f"{point}:{nth}"), posts)
                yield Scenario("workers", name, play, allowed)


def paused_openings() -> Iterator[Scenario]:
    """Yield a worker that is stopped while it opens the session; the other waits two minutes.

    The session that it has opened too late holds no job, and is closed by it.
    """
    for point in ("open session, before", "open session, after"):
        play = _takes_over(_by_crash_point(f"{point}:1"), 1)
        yield Scenario("workers", f"stopped at {point}", play, Allowed(orphans=True))


def rounds(count: int, seed: int) -> Iterator[Scenario]:
    """Yield two workers that begin at once; one is stopped, killed or left alone at random."""
    draw = random.Random(seed)  # noqa: S311 - to be the same again
    points = ("record intent", "submit", "record outcome", "ask job", "record result")
    for number in range(count):
        moment = draw.choice(("before", "after"))
        passage = f"{draw.choice(points)}, {moment}:{draw.randint(1, 8)}"
        fate = draw.choice(("alone", "killed", "stopped"))
        title = f"{number}: both at once, {'none' if fate == 'alone' else passage} {fate}"
        allowed = Allowed(twins=fate == "stopped", orphans=True)
        yield Scenario("two at once", title, _at_once(fate, passage), allowed)


def _by_platform(nth: int, effect: str) -> Starter:
    stop = {"kind": "signal", "pid": "child", "signal": "SIGSTOP", "effect": effect, **_POSTS}

    def start(run: Run) -> Child:
        return run.start(environment=DEADLINE, rules=({**stop, "nth": nth},))

    return start


def _by_crash_point(passage: str) -> Starter:
    return lambda run: run.start(environment=DEADLINE, pause_at=passage)


def _takes_over(start: Starter, posts: int) -> Play:
    def play(run: Run) -> list[Ending]:
        first = start(run)
        ending = first.wait()
        if ending is not None:
            raise RuntimeError(f"the first worker was not stopped: {ending}")
        second = run.start(environment=DEADLINE, rules=(go_on(first, posts),))
        with ThreadPoolExecutor(1) as pool:
            others = pool.submit(first.end)
            ending = second.end()
            first.resume()
            return [others.result(), ending]

    return play


def go_on(child: Child, posts: int) -> Mapping[str, Any]:
    """Return the rule that lets a stopped child go on at the n-th POST of a job from now on."""
    return {"kind": "signal", "pid": child.pid, "signal": "SIGCONT", "nth": posts, **_POSTS}


def _at_once(fate: str, passage: str) -> Play:
    def play(run: Run) -> list[Ending]:
        at = {"killed": {"kill_at": passage}, "stopped": {"pause_at": passage}}.get(fate, {})
        deadline = DEADLINE if fate == "stopped" else {}
        first = run.start(environment=deadline, **at)
        second = run.start(environment=deadline)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(second.end)
            ending = first.wait()
            if ending is None:
                # Whether the other one needs it or not: it ends, or waits for what only this one
                # can do, for no longer than the deadline.
                endings = [other.result()]
                first.resume()
                endings.append(first.end())
            else:
                endings = [ending, other.result()]
        return endings if endings[-1].result else [*endings, run.start().end()]

    return play
