"""How long a session may be open."""

from __future__ import annotations

from session_block.environment.durations import duration_seconds
from session_block.errors import InvalidInputError

MIN_MAX_TIME_SECONDS = 60
"""The shortest session: IBM refused less (its old API, client issue 487; the new one: a guess)."""

SYSTEM_MAX_TIME_SECONDS = 8 * 3600
"""The longest session that IBM documents (eight hours)."""


def max_time_seconds(max_time: int | str | None) -> int | None:
    """Return a session's ``max_time`` in seconds.

    Text is read as the client reads it ("2h 30m 40s"; units d, h, m, s). Parts that the client
    would silently skip ("2h 30x") are an error here.

    Args:
        max_time: Seconds, text, or ``None`` for the platform's own default.

    Raises:
        InvalidInputError: The value is malformed, below a minute, or above the system's maximum.
    """
    if max_time is None:
        return None
    seconds = duration_seconds(max_time, "max_time")
    if not MIN_MAX_TIME_SECONDS <= seconds <= SYSTEM_MAX_TIME_SECONDS:
        raise InvalidInputError(
            f"max_time {max_time!r} is {seconds} s; a session lasts from {MIN_MAX_TIME_SECONDS} s "
            f"to {SYSTEM_MAX_TIME_SECONDS} s (8h)."
        )
    return seconds
