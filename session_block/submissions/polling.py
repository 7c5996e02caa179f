"""Decide when to look at a job: shortly before its end, as predicted from earlier jobs.

Every look costs a request. An active session is billed for the time between a job's end and the
look that sees it.
"""

from __future__ import annotations

import statistics
import threading
from collections import defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from session_block.client.jobs import Duration

SLOWEST_SECONDS = 2.0
"""The longest pause between looks: somebody may have cancelled the job or closed its session."""

_FASTEST_SECONDS = 0.004
_FIRST_SECONDS = 0.02
_SHARE = 0.1
"""The pause between looks at an unknown kind of job, as a share of the time since it was sent."""

_REMEMBERED = 5
"""How many recent jobs of each kind are remembered."""

_STEP = 0.005
"""The shortest pause between two looks near the expected end, as a share of the usual run time."""

_LOOKS = 2
"""How many early looks are acceptable; after more, the first look at the next job comes later."""

_GROWTH = 0.15
"""How much the pauses grow, as a share of the time since the expected end."""


@dataclass(frozen=True)
class Expectation:
    """When a job may end, in seconds after it was submitted.

    Attributes:
        earliest: The first time that is worth a look.
        step: The pause after that first look. Later pauses grow.
    """

    earliest: float
    step: float


class PollSchedule:
    """Learns how long each kind of job takes, and says when to look at the next one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: defaultdict[Hashable, deque[Duration]] = defaultdict(
            lambda: deque(maxlen=_REMEMBERED)
        )
        self._lead: defaultdict[Hashable, float] = defaultdict(float)

    def learn(self, like: Hashable, duration: Duration) -> None:
        """Note how long a job took.

        Args:
            like: A key that it shares with jobs that take about as long.
            duration: How long it took.
        """
        with self._lock:
            self._seen[like].append(duration)

    def looked(self, like: Hashable, in_vain: int) -> None:
        """Note how often a job was seen pending before it was seen to have ended.

        If the first look comes too late, the session is billed longer; if it comes too early, it
        costs a request. The offset between the platform's times and this process's is not known, so
        the lead is adjusted by trial.

        Args:
            like: A key that it shares with jobs that take about as long.
            in_vain: How many looks found the job still pending.
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
        """Return when a job of this kind may end; ``None`` if none of its kind is known yet."""
        with self._lock:
            seen, lead, step = list(self._seen[like]), self._lead[like], self._step(like)
        if not seen:
            return None
        # The only job seen so far may have waited for the session to start; the next one may not.
        queued = min(one.queued for one in seen) if len(seen) > 1 else 0.0
        earliest = queued + min(one.ran for one in seen)
        return Expectation(max(0.0, earliest - lead), step)


def until_first_look(expected: Expectation | None, elapsed: float) -> float:
    """Return how many seconds to wait before the first look at a job; 0 if it is due.

    Args:
        expected: When the job may end, if that is known.
        elapsed: Seconds since it was submitted.
    """
    due = _FIRST_SECONDS if expected is None else expected.earliest
    return min(max(0.0, due - elapsed), SLOWEST_SECONDS)


def until_next_look(expected: Expectation | None, elapsed: float) -> float:
    """Return how many seconds to wait before the next look.

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
