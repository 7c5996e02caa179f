"""Submit no faster than the platform accepts jobs: the limit is learnt from refusals, or set."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque

from session_block.client.failures import LONGEST_RETRY_AFTER_SECONDS
from session_block.environment.environment import Environment

WINDOW_SECONDS = 60.0
FORGET_SECONDS = 180.0
"""A learnt limit is dropped after this time without a refusal."""

TELLING = 5
"""How many submissions in a minute before a refusal are taken for the platform's limit.

After fewer, a refusal may have another cause. IBM documents five a minute [docs]; no public record
shows that it is enforced [real].
"""

_FIRST_PAUSE_SECONDS = 1.0
_TRUSTED = 4
"""After so many refusals in a row, a short ``Retry-After`` is no longer taken at its word."""

_logger = logging.getLogger(__name__)


class RateLimiter:
    """Spaces the submissions of one process to one instance.

    After a refusal it waits as long as the platform asks, and then goes on as before, because a
    session that waits is paid for. It takes the number of submissions in the last minute for the
    platform's limit only if they were as many as IBM's, or if a refusal follows another within a
    minute although a submission was accepted in between. It doubles the limit with each minute
    without a refusal, until it drops it.

    Args:
        environment: Gives clock and pause.
        per_minute: A fixed limit; ``None`` to go as fast as the platform allows.
    """

    def __init__(self, environment: Environment, per_minute: int | None = None) -> None:
        self._environment = environment
        self._fixed = per_minute
        self._learnt: int | None = None
        self._refused_at = -math.inf
        self._asked = 0.0
        self._not_before = 0.0
        self._refusals = 0
        self._sent: deque[float] = deque()
        self._lock = threading.Lock()

    @property
    def per_minute(self) -> int | None:
        """How many submissions per minute are let through now; ``None`` for no limit."""
        limits = [limit for limit in (self._fixed, self._learnt_now()) if limit is not None]
        return min(limits, default=None)

    @property
    def pause_seconds(self) -> float:
        """How long the next submission would have to wait now."""
        with self._lock:
            return max(self._pause(), 0.0)

    def wait(self, subject: str) -> None:
        """Wait until the next submission may be sent; it counts as sent from then on."""
        logged = False
        while (pause := self._take()) > 0:
            if not logged:
                _logger.warning(
                    "%s waits %.1f s: the platform takes %s submissions a minute%s.",
                    subject,
                    pause,
                    self.per_minute or "only so many",
                    " and has just refused one" if self._refusals else "",
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
            again = not self._refusals and now - self._refused_at - self._asked < WINDOW_SECONDS
            self._refusals += 1
            pause = self._pause_after(retry_after_seconds)
            self._not_before = now + pause
            if self._sent:
                # The platform did not accept the refused submission, so it must not count.
                self._sent.pop()
            self._drop_old(now)
            if again or len(self._sent) >= TELLING:
                self._learnt = max(1, len(self._sent))
            self._refused_at, self._asked = now, pause

    def accepted(self) -> None:
        """Note that the platform accepted a submission."""
        self._refusals = 0

    def _pause_after(self, asked: float | None) -> float:
        """Return the seconds to wait after a refusal: those asked for, longer if that was in vain.

        Args:
            asked: What the platform asks for; ``None`` if it does not say.
        """
        in_vain = self._refusals - (1 if asked is None else _TRUSTED)
        own = 0.0 if in_vain < 0 else min(_FIRST_PAUSE_SECONDS * 2**in_vain, WINDOW_SECONDS)
        if asked is None:
            return own
        if asked > LONGEST_RETRY_AFTER_SECONDS:
            _logger.warning(
                "The platform asks to wait %.0f s before the next submission. It is tried again "
                "after %.0f s. To stop instead, end the run: nothing is lost, and the next run "
                "goes on. 'session-block sessions list' shows the sessions that are open.",
                asked,
                LONGEST_RETRY_AFTER_SECONDS,
            )
        return max(min(asked, LONGEST_RETRY_AFTER_SECONDS), own)

    def _take(self) -> float:
        """Return the seconds to wait; if there are none, count a submission as sent."""
        with self._lock:
            pause = self._pause()
            if pause <= 0:
                self._sent.append(self._environment.monotonic())
            return pause

    def _pause(self) -> float:
        now = self._environment.monotonic()
        self._drop_old(now)
        pause = self._not_before - now
        limit = self.per_minute
        if limit is not None and len(self._sent) >= limit:
            pause = max(pause, self._sent[-limit] + WINDOW_SECONDS - now)
        return pause

    def _learnt_now(self) -> int | None:
        """Return what is left of the learnt limit; ``None`` for no limit."""
        quiet = self._environment.monotonic() - self._refused_at - self._asked
        if self._learnt is None or quiet > FORGET_SECONDS:
            return None
        doublings = max(0, int(quiet / WINDOW_SECONDS))
        return self._learnt << doublings

    def _drop_old(self, now: float) -> None:
        while self._sent and self._sent[0] <= now - WINDOW_SECONDS:
            self._sent.popleft()
