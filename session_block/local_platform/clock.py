"""The platform's one source of time, so that it can be replaced, scaled or stopped in one place."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the platform asks about time."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""


class SystemClock:
    """The machine's own wall clock."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()


def iso(moment: float | None) -> str | None:
    """Return a moment as IBM writes it (UTC, microseconds, ``Z``), or None for None."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
