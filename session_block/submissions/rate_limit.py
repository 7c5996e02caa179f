"""Submit no faster than the platform accepts jobs: the limit is learnt from refusals, or set."""

from __future__ import annotations

import logging
import threading
from collections import deque

from session_block.environment.environment import Environment

WINDOW_SECONDS = 60.0
FORGET_SECONDS = 600.0
"""A learnt limit is dropped after this time without a refusal."""

_FIRST_PAUSE_SECONDS = 1.0
_logger = logging.getLogger(__name__)


class RateLimiter:
    """Spaces the submissions of one process to one instance.

    Args:
        environment: Gives clock and pause.
        per_minute: A fixed limit; ``None`` to go as fast as the platform allows.
    """

    def __init__(self, environment: Environment, per_minute: int | None = None) -> None:
        self._environment = environment
        self._fixed = per_minute
        self._learnt: int | None = None
        self._refused_at = 0.0
        self._not_before = 0.0
        self._refusals = 0
        self._sent: deque[float] = deque()
        self._lock = threading.Lock()

    @property
    def per_minute(self) -> int | None:
        """How many submissions per minute are let through now; ``None`` for no limit."""
        limits = [limit for limit in (self._fixed, self._learnt) if limit is not None]
        return min(limits, default=None)

    def wait(self, subject: str) -> None:
        """Wait until the next submission may be sent; it counts as sent from then on."""
        logged = False
        while (pause := self._pause()) > 0:
            if not logged:
                _logger.warning(
                    "%s waits %.1f s: the platform takes %s submissions a minute.",
                    subject,
                    pause,
                    self.per_minute or "only so many",
                )
                logged = True
            self._environment.pause(pause)

    def refused(self, retry_after_seconds: float | None) -> None:
        """Note that the platform refused a submission because there were too many (429).

        Args:
            retry_after_seconds: How long the platform asks to wait; ``None`` if it does not say.
        """
        with self._lock:
            now = self._environment.monotonic()
            self._refusals += 1
            pause = retry_after_seconds
            if pause is None:
                pause = min(_FIRST_PAUSE_SECONDS * 2 ** (self._refusals - 1), WINDOW_SECONDS)
            self._not_before = now + pause
            self._refused_at = now
            if self._sent:
                # The platform did not accept the refused submission, so it must not count.
                self._sent.pop()
            self._drop_old(now)
            self._learnt = max(1, len(self._sent))

    def accepted(self) -> None:
        """Note that the platform accepted a submission."""
        self._refusals = 0

    def _pause(self) -> float:
        """Return the seconds to wait; if there are none, count a submission as sent."""
        with self._lock:
            now = self._environment.monotonic()
            if self._learnt is not None and now - self._refused_at > FORGET_SECONDS:
                self._learnt = None
            self._drop_old(now)
            pause = self._not_before - now
            limit = self.per_minute
            if limit is not None and len(self._sent) >= limit:
                pause = max(pause, self._sent[-limit] + WINDOW_SECONDS - now)
            if pause <= 0:
                self._sent.append(now)
            return pause

    def _drop_old(self, now: float) -> None:
        while self._sent and self._sent[0] <= now - WINDOW_SECONDS:
            self._sent.popleft()
