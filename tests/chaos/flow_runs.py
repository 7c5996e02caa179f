"""Kills of flow runs whose experiments have no names, and which are run again until they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .flows import PROGRAMS
from .judging import Allowed, Reference
from .scenarios import OPENING, Attempt, Play, Scenario, in_turn, kill_at_request

_READS = ("connect", "list jobs", "look at session", "ask job", "fetch result")
"""A kill here leaves what one after the last effect before it leaves."""

_CALL = "record subflow"
_WRITES = ("POST /sessions", "POST /jobs", "PATCH /sessions/{session_id}")
_EVERY = {"subflows": 5, "two Blocks": 1}
"""One kill in so many: a run of the tree takes long."""


@dataclass(frozen=True)
class _Kills:
    """The scenarios of one flow."""

    deed: str

    def after_effects(self, passages: Sequence[str]) -> Iterator[Scenario]:
        """Yield kills after effects."""
        for passage in passages:
            yield self._scenario(passage, passage, in_turn(Attempt(kill_at=passage)))

    def at_requests(self, counts: Mapping[str, int]) -> Iterator[Scenario]:
        """Yield kills at the last request of each kind that has an effect, before and after it."""
        for route in _WRITES:
            for effect in ("before", "after"):
                attempt = Attempt(rules=(kill_at_request(route, counts[route], effect),))
                name = f"{route} {counts[route]}, {effect}"
                yield self._scenario(name, route, in_turn(attempt))

    def at_calls(self, calls: int) -> Iterator[Scenario]:
        """Yield kills before a call is recorded, and after it in an attempt that goes on."""
        for nth in range(1, 1 + calls):
            here = Attempt(kill_at=f"{_CALL}, before:{nth}")
            yield self._scenario(f"{_CALL}, before:{nth}", _CALL, in_turn(here))
            first, then = f"submit, after:{2 * nth}", f"{_CALL}, after:{nth}"
            twice = in_turn(Attempt(kill_at=first), Attempt(kill_at=then))
            yield self._scenario(f"{first}; {then}", _CALL, twice, kills=2)

    def _scenario(self, name: str, place: str, play: Play, *, kills: int = 1) -> Scenario:
        sessions = PROGRAMS[self.deed].experiments
        allowed = Allowed(sessions=sessions, orphans=place.startswith(OPENING))
        return Scenario(self.deed, name, play, allowed, kills=kills, deed=self.deed)


def flow_runs(deed: str, reference: Reference) -> Iterator[Scenario]:
    """Yield kills of a flow at its crash points, and at its requests to the platform."""
    kills = _Kills(deed)
    effects = [
        passage
        for passage in reference.passages
        if ", after:" in passage and not passage.startswith((*_READS, _CALL))
    ]
    yield from kills.after_effects(effects[:: _EVERY[deed]])
    yield from kills.at_requests(reference.requests)
    yield from kills.at_calls(sum(one.startswith(f"{_CALL}, after") for one in reference.passages))
