"""The platform's only source of time. It can run faster, stand still, and be advanced.

At its natural speed it is the machine's wall clock plus all the seconds it was advanced. At any
other speed, and while it is being advanced, it is *held*: when something is due on the platform,
the clock waits at that moment until it is done, however long the machine takes. This includes the
simulation of a circuit. So the recorded times depend on the requests, not on the speed of the
machine.

It shows whole microseconds, as the API writes them. A moment therefore stays the same when the
platform stores it, writes it out, and a client sends it back.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NATURAL = 1.0
_DIGITS = 6
_STEP = 1e-6


@dataclass(frozen=True)
class Reading:
    """The time a clock showed at a moment of the machine's wall clock, to continue from later."""

    moment: float
    wall: float
    scale: float


class Clock:
    """Seconds since the Unix epoch, as the platform counts them."""

    def __init__(self, scale: float = NATURAL, last: Reading | None = None) -> None:
        """Continue from the last reading; the time since then counts only at natural speed."""
        self._changed = threading.Condition()
        self._advancing = threading.Lock()
        self._scale = scale
        self._wall = time.time()
        self._moment = self._wall
        if last is not None:
            unwatched = self._wall - last.wall if last.scale == scale == NATURAL else 0.0
            self._moment = last.moment + unwatched
        self._hold = self._moment
        self._target: float | None = None
        self._pins = 0
        self._stopped = False

    @property
    def scale(self) -> float:
        """How many seconds pass per second of the machine's clock."""
        return self._scale

    def now(self) -> float:
        """Return the current moment."""
        with self._changed:
            return self._now()

    def reading(self) -> Reading:
        """Return what the clock shows, to be stored."""
        with self._changed:
            return Reading(self._now(), time.time(), self._scale)

    def pin(self) -> float:
        """Return now, and hold the clock there until the engine has looked again.

        For changes that the engine must act on at the moment they happen.
        """
        with self._changed:
            now = self._now()
            self._pins += 1
            self._hold = min(self._hold, now)
            return now

    def look(self) -> tuple[int, float]:
        """Return a mark for :meth:`release`, and now; the clock is held there until its release."""
        with self._changed:
            # Keep fractions of a microsecond: without them a slow clock would never move.
            exact = self._exact()
            now = _rounded(exact)
            self._hold = min(self._hold, max(now, exact))
            return self._pins, now

    def release(self, mark: int, hold: float) -> bool:
        """Let a held clock run until ``hold``. Return False if it was pinned since the mark."""
        with self._changed:
            if mark != self._pins:
                return False
            self._moment, self._wall = self._exact(), time.time()
            self._hold = _at_or_after(hold)
            if self._target is not None and hold > self._target:
                self._moment, self._target = self._target, None
                self._changed.notify_all()
            return True

    def seconds_until(self, moment: float) -> float:
        """Return the machine's seconds until a moment, or infinity if it will not come."""
        with self._changed:
            ahead = moment - self._now()
            if ahead <= 0:
                return 0.0
            return ahead / self._scale if self._scale else math.inf

    def advance(self, seconds: float, wake_engine: Callable[[], None]) -> float:
        """Advance by some seconds, through everything due in them, and return the new moment."""
        with self._advancing, self._changed:
            self._moment, self._wall = self._exact(), time.time()
            self._hold = min(self._hold, self._moment)
            self._target = _rounded(_rounded(self._moment) + seconds)
            self._pins += 1
            wake_engine()
            self._changed.wait_for(lambda: self._target is None or self._stopped)
            return self._now()

    def stop(self) -> None:
        """Release the callers of :meth:`advance`: no engine moves the clock any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _now(self) -> float:
        return _rounded(self._exact())

    def _exact(self) -> float:
        # Only the shown time is rounded. Continuing from a rounded time would make the clock slow.
        if self._target is not None:
            return max(self._moment, min(self._hold, self._target))
        free = self._moment + (time.time() - self._wall) * self._scale
        if self._scale == NATURAL:
            return free
        return max(self._moment, min(free, self._hold))


def _rounded(moment: float) -> float:
    return round(moment, _DIGITS)


def _at_or_after(moment: float) -> float:
    """Return a moment rounded up to a whole microsecond, so that nothing is carried out early."""
    whole = _rounded(moment)
    return whole if whole >= moment else _rounded(moment + _STEP)


def iso(moment: float | None) -> str | None:
    """Return a moment as IBM writes it (real: UTC, microseconds, ``Z``), or None for None."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
