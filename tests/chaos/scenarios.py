"""What is done to an experiment: the scenarios of all groups but those with several workers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .harness import Ending, Rig, Run
from .judging import Allowed, Reference, Verdict, judge

MOST_ATTEMPTS = 6
OPENING = ("open session", "record session", "POST /sessions", "look at session")

Play = Callable[[Run], list[Ending]]
"""Makes the attempts of a run, and returns how they ended; the last one ended as it ends."""


@dataclass(frozen=True)
class Scenario:
    """One run.

    Attributes:
        group: The row of the table.
        name: What is done; with the group it is unique.
        play: Makes the attempts.
        allowed: What may be besides the uninterrupted run's.
        kills: How many attempts must have been killed, else the run did not reach its points.
        strict: Every fault must have acted, or it did not either.
        judge: Counts what became of it.
        deed: What its attempts do: ``run`` the experiment, or one of the flows.
    """

    group: str
    name: str
    play: Play
    allowed: Allowed = field(default_factory=Allowed)
    kills: int = 0
    strict: bool = True
    judge: Callable[[Run, Allowed, list[Ending], Reference], Verdict] = judge
    deed: str = "run"

    @property
    def title(self) -> str:
        """Its group and name, by which ``--only`` finds it."""
        return f"{self.group}: {self.name}"


@dataclass(frozen=True)
class Attempt:
    """One attempt that is disturbed.

    Attributes:
        kill_at: Passage of a crash point at which it is killed.
        rules: Faults of the platform.
        environment: More environment variables.
        wipe: The ledger is deleted afterwards.
        copied: A copy of the ledger, which is not empty, is made beforehand.
        older: The last copy takes the ledger's place afterwards.
        kills_platform: One of the rules kills the platform, which is then started again.
        at_stop: What is done when a rule has stopped the process, before it goes on.
        block: More fields of its Block; those of the last attempt hold for all that follow.
    """

    kill_at: str | None = None
    rules: tuple[Mapping[str, Any], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    wipe: bool = False
    copied: bool = False
    older: bool = False
    kills_platform: bool = False
    at_stop: Callable[[Rig], Callable[[], None]] | None = None
    block: Mapping[str, Any] = field(default_factory=dict)


def in_turn(*attempts: Attempt, again: bool = False) -> Play:
    """Make the disturbed attempts, and then undisturbed ones until one is not killed.

    Args:
        attempts: The disturbed ones.
        again: Whether the end is an exception, and must be the same one when it is run again.
    """

    def play(run: Run) -> list[Ending]:
        endings: list[Ending] = []
        for attempt in attempts:
            endings.append(disturbed(run, attempt))
            run.clear_faults()
        while len(endings) < MOST_ATTEMPTS and (endings[-1].result is None or again):
            endings.append(run.start(block=attempts[-1].block).end())
            if again and endings[-1].error == endings[-2].error:
                break
        return endings

    return play


def disturbed(run: Run, attempt: Attempt) -> Ending:
    """Make a disturbed attempt, and return how it ended."""
    if attempt.copied:
        run.copy()
    child = run.start(
        kill_at=attempt.kill_at,
        rules=attempt.rules,
        environment=attempt.environment,
        block=attempt.block,
    )
    if attempt.kills_platform:
        run.rig.revive()
    ending = child.wait()
    if ending is None:
        done = None if attempt.at_stop is None else attempt.at_stop(run.rig)
        child.resume()
        if done is not None:
            done()
        ending = child.end()
    if attempt.wipe:
        run.wipe()
    if attempt.older:
        run.restore()
    return ending


def kill_at_request(route: str, nth: int, effect: str) -> Mapping[str, Any]:
    """Return the rule that kills the child at its n-th request of a kind."""
    method, _, path = route.partition(" ")
    where = {"method": method, "path": path, "nth": nth, "effect": effect}
    return {"kind": "signal", "pid": "child", "signal": "SIGKILL", **where}


def crash_points(reference: Reference) -> Iterator[Scenario]:
    """Yield a kill at every passage of every crash point."""
    for passage in reference.passages:
        yield Scenario(
            "crash points",
            passage,
            in_turn(Attempt(kill_at=passage)),
            Allowed(orphans=passage.startswith(OPENING)),
            kills=1,
        )


def requests(reference: Reference) -> Iterator[Scenario]:
    """Yield a kill at every request, before and after its effect."""
    for route, count in reference.requests.items():
        for nth in range(1, count + 1):
            for effect in ("before", "after"):
                yield Scenario(
                    "requests",
                    f"{route} {nth}, {effect}",
                    in_turn(Attempt(rules=(kill_at_request(route, nth, effect),))),
                    Allowed(orphans=route.startswith(OPENING)),
                    kills=1,
                )


def pairs(reference: Reference, count: int, seed: int) -> Iterator[Scenario]:
    """Yield kills at two random points of either kind, in attempts that follow each other."""
    draw = random.Random(seed)  # noqa: S311 - to be the same again
    places: list[tuple[str, Attempt]] = [
        (passage, Attempt(kill_at=passage)) for passage in reference.passages
    ] + [
        (f"{route} {nth}, {effect}", Attempt(rules=(kill_at_request(route, nth, effect),)))
        for route, most in reference.requests.items()
        for nth in range(1, most + 1)
        for effect in ("before", "after")
    ]
    for number in range(count):
        (first, one), (second, two) = draw.choice(places), draw.choice(places)
        yield Scenario(
            "random pairs",
            f"{number}: {first}; {second}",
            in_turn(one, two),
            Allowed(orphans=any(name.startswith(OPENING) for name in (first, second))),
            strict=False,
        )


def forks() -> Iterator[Scenario]:
    """Yield runs whose process is forked all the time, and killed as well in all but the first."""
    for passage in (None, "submit, after:2", "record outcome, before:4", "ask job, after:6"):

        def play(run: Run, passage: str | None = passage) -> list[Ending]:
            endings = [run.start(deed="fork", kill_at=passage).end()]
            return endings if passage is None else [*endings, run.start(deed="fork").end()]

        yield Scenario("forks", passage or "not killed", play, kills=passage is not None)


def lags(seconds: float = 0.6) -> Iterator[Scenario]:
    """Yield kills while the listing hides young jobs, by default for less than the settle window.

    Args:
        seconds: For how long.
    """
    lag = {"kind": "listing_lag", "seconds": seconds}

    for nth in (1, 4, 8):
        for point in ("submit, before", "submit, after", "record outcome, before"):
            passage = f"{point}:{nth}"
            attempts = in_turn(Attempt(kill_at=passage, rules=(lag,)), Attempt(rules=(lag,)))
            yield Scenario("listing lag", passage, attempts, kills=1)


def wiped(passages: Iterable[str]) -> Iterator[Scenario]:
    """Yield kills after which the SQLite ledger is gone."""
    for passage in passages:
        yield Scenario(
            "wiped disk",
            passage,
            in_turn(Attempt(kill_at=passage, wipe=True)),
            Allowed(sessions=2, orphans=passage.startswith(OPENING), left_open=True),
            kills=1,
        )


WIPES = (
    "submit, before:4",
    "submit, after:1",
    "submit, after:4",
    "submit, after:8",
    "record outcome, after:4",
    "ask job, after:6",
    "record result, before:4",
    "record result, after:4",
    "record sealed, before:1",
)


def older_copies() -> Iterator[Scenario]:
    """Yield kills after which the SQLite ledger is an older copy of itself, which is not empty.

    The copy was made before the experiment began, or in its middle; or it comes back twice; or
    the attempt that mends it is killed as well.
    """
    for passage in OLDER:
        lost = Attempt(kill_at=passage, copied=True, older=True)
        yield _older_copy(f"from before it began, {passage}", lost)
    for first, second in OLDER_IN_THE_MIDDLE:
        lost = Attempt(kill_at=second, copied=True, older=True)
        yield _older_copy(f"from after {first}, {second}", Attempt(kill_at=first), lost)
    for first, second in OLDER_TWICE:
        lost = Attempt(kill_at=first, copied=True, older=True)
        again = Attempt(kill_at=second, older=True)
        yield _older_copy(f"twice from before it began, {first}; {second}", lost, again)
    for passage in OLDER_MENDING:
        lost = Attempt(kill_at="submit, after:4", copied=True, older=True)
        mending = Attempt(kill_at=passage)
        yield _older_copy(f"from before it began, then mending, {passage}", lost, mending)


def _older_copy(name: str, *attempts: Attempt) -> Scenario:
    # A session that holds no job cannot be found again.
    orphans = any(str(attempt.kill_at).startswith(OPENING) for attempt in attempts)
    allowed = Allowed(orphans=orphans)
    return Scenario("older copy", name, in_turn(*attempts), allowed, kills=len(attempts))


OLDER = (
    "record session, after:1",
    "submit, before:4",
    "submit, after:4",
    "record result, after:3",
    "record sealed, before:1",
)
OLDER_IN_THE_MIDDLE = (
    ("open session, before:1", "submit, after:2"),
    ("submit, before:3", "submit, after:1"),
    ("submit, after:2", "record result, after:3"),
    ("record result, before:3", "record sealed, before:1"),
)
OLDER_TWICE = (("submit, after:2", "submit, after:2"),)
OLDER_MENDING = (
    "record intent, after:2",
    "record outcome, before:3",
    "record session-intent, after:1",
    "submit, after:1",
)
