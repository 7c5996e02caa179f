"""When to look at a job: shortly before its end, as the jobs before it have shown when that is.

Every look costs a request, and every moment between a job's end and the look that sees it is one
for which an active session is billed.
"""

from __future__ import annotations

import statistics
import threading
from collections import defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from session_block.client.jobs import Duration

SLOWEST_SECONDS = 2.0
"""A job is looked at at least so often: somebody may have cancelled it, or closed its session."""

_FASTEST_SECONDS = 0.004
_FIRST_SECONDS = 0.02
_SHARE = 0.1
"""The pause before the next look at an unknown job, as a share of its time so far."""

_REMEMBERED = 5
_STEP = 0.005
"""The least distance of two looks around the expected end, as a share of the time until then."""

_LOOKS = 2
"""How many looks in vain are few enough."""

_GROWTH = 0.15
"""How much further apart the looks are, as a share of the time since the first one."""


@dataclass(frozen=True)
class Expectation:
    """When a job may end, in seconds after it was submitted.

    Attributes:
        earliest: The first time that is worth a look.
        step: The distance of the next look from that one; the later, the further apart they are.
    """

    earliest: float
    step: float


class PollSchedule:
    """Learns how long jobs take, each like its like, and says when to look at the next one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: defaultdict[Hashable, deque[Duration]] = defaultdict(
            lambda: deque(maxlen=_REMEMBERED)
        )
        self._lead: defaultdict[Hashable, float] = defaultdict(float)

    def learn(self, like: Hashable, duration: Duration) -> None:
        """Take note of how long a job took.

        Args:
            like: What it has in common with those that take as long.
            duration: How long it took.
        """
        with self._lock:
            self._seen[like].append(duration)

    def looked(self, like: Hashable, in_vain: int) -> None:
        """Take note of how often a job was seen pending before it was seen to have ended.

        A first look that comes too late is billed, one that comes too early costs a request: what
        lies between the platform's times and this process's is found by trial.
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
        """Return when a job may end that is like some before; ``None`` where there was none."""
        with self._lock:
            seen, lead, step = list(self._seen[like]), self._lead[like], self._step(like)
        if not seen:
            return None
        # A session's first job has waited for the session; the next one may not have to.
        queued = min(one.queued for one in seen) if len(seen) > 1 else 0.0
        earliest = queued + min(one.ran for one in seen)
        return Expectation(max(0.0, earliest - lead), step)


def until_first_look(expected: Expectation | None, elapsed: float) -> float:
    """Return how many seconds to wait for the first look at a job; 0 where that is due.

    Args:
        expected: When the job may end, if that is known.
        elapsed: Seconds since it was submitted.
    """
    due = _FIRST_SECONDS if expected is None else expected.earliest
    return min(max(0.0, due - elapsed), SLOWEST_SECONDS)


def until_next_look(expected: Expectation | None, elapsed: float) -> float:
    """Return how many seconds to wait for the next look.

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
