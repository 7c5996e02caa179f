"""When to poll a job: just before its end, as predicted from the jobs before it.

Every poll costs a request, and an active session bills the time between a job's end and the poll
that sees it.
"""

from __future__ import annotations

import statistics
import threading
from collections import defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from session_block.client.jobs import Duration

SLOWEST_SECONDS = 2.0
"""The longest time between two polls: somebody may cancel the job or close its session."""

_FASTEST_SECONDS = 0.004
_FIRST_SECONDS = 0.02
_SHARE = 0.1
"""The pause before the next look at an unknown job, as a share of its time so far."""

_REMEMBERED = 5
_STEP = 0.005
"""The shortest time between two polls near the expected end, as a share of the time until then."""

_LOOKS = 2
"""How many polls of a pending job are few enough."""

_GROWTH = 0.15
"""How much further apart polls get, as a share of the time since the first one."""


@dataclass(frozen=True)
class Expectation:
    """When a job may end, in seconds after it was submitted.

    Attributes:
        earliest: The first time that is worth a poll.
        step: Time to the next poll; later polls are further apart.
    """

    earliest: float
    step: float


class PollSchedule:
    """Learns how long each kind of job takes, and says when to poll the next one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: defaultdict[Hashable, deque[Duration]] = defaultdict(
            lambda: deque(maxlen=_REMEMBERED)
        )
        self._lead: defaultdict[Hashable, float] = defaultdict(float)

    def learn(self, like: Hashable, duration: Duration) -> None:
        """Record how long a job took.

        Args:
            like: What it has in common with those that take as long.
            duration: How long it took.
        """
        with self._lock:
            self._seen[like].append(duration)

    def looked(self, like: Hashable, in_vain: int) -> None:
        """Record how many polls found a job pending before one found it ended.

        A first poll that comes too late is billed, one that comes too early costs a request. The
        offset between the platform's times and this process's is found by trial.
        """
        with self._lock:
            if in_vain == 0:
                self._lead[like] += 2 * self._step(like)
            elif in_vain > _LOOKS:
                self._lead[like] = max(0.0, self._lead[like] - self._step(like))

    def _step(self, like: Hashable) -> float:
        usual = statistics.median(one.ran for one in self._seen[like]) if self._seen[like] else 0.0
        return max(_FASTEST_SECONDS, _STEP * usual)

    def expectation(self, like: Hashable) -> Expectation | None:
        """Return when a job of a known kind may end; ``None`` for an unknown kind."""
        with self._lock:
            seen, lead, step = list(self._seen[like]), self._lead[like], self._step(like)
        if not seen:
            return None
        # A session's first job has waited for the session; the next one may not have to.
        queued = min(one.queued for one in seen) if len(seen) > 1 else 0.0
        earliest = queued + min(one.ran for one in seen)
        return Expectation(max(0.0, earliest - lead), step)


def until_first_look(expected: Expectation | None, elapsed: float) -> float:
    """Return the seconds to wait before the first poll of a job; 0 if it is due.

    Args:
        expected: When the job may end, if that is known.
        elapsed: Seconds since it was submitted.
    """
    due = _FIRST_SECONDS if expected is None else expected.earliest
    return min(max(0.0, due - elapsed), SLOWEST_SECONDS)


def until_next_look(expected: Expectation | None, elapsed: float) -> float:
    """Return the seconds to wait before the next poll.

    Args:
        expected: When the job may end, if that is known.
        elapsed: Seconds since it was submitted.
    """
    if expected is None:
        return min(max(elapsed * _SHARE, _FIRST_SECONDS), SLOWEST_SECONDS)
    if elapsed < expected.earliest:
        return min(expected.earliest - elapsed, SLOWEST_SECONDS)
    late = elapsed - expected.earliest
    return min(expected.step + late * _GROWTH, SLOWEST_SECONDS)
