"""``max_time``: seconds, or text such as ``"2h 30m 40s"``."""

from __future__ import annotations

import re

from session_block.errors import InvalidInputError

SYSTEM_MAX_TIME_SECONDS = 8 * 3600
"""The longest session that IBM documents (eight hours)."""

_UNIT_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+)([dhms])")
_WHOLE = re.compile(r"\s*(?:\d+[dhms]\s*)+")


def max_time_seconds(max_time: int | str | None) -> int | None:
    """Return a session's ``max_time`` in seconds.

    Text is read as the client reads it ("2h 30m 40s"; units d, h, m, s). What the client would
    silently skip ("2h 30x") is an error here.

    Args:
        max_time: Seconds, text, or ``None`` for the platform's own default.

    Raises:
        InvalidInputError: The value is malformed, not positive, or above the system's maximum.
    """
    if max_time is None:
        return None
    if isinstance(max_time, bool) or not isinstance(max_time, int | str):
        raise InvalidInputError(
            f"max_time must be seconds or text such as '2h 30m 40s', not {max_time!r}."
        )
    seconds = max_time if isinstance(max_time, int) else _parse(max_time)
    if not 0 < seconds <= SYSTEM_MAX_TIME_SECONDS:
        raise InvalidInputError(
            f"max_time {max_time!r} is {seconds} s; a session lasts from 1 s to "
            f"{SYSTEM_MAX_TIME_SECONDS} s (8h)."
        )
    return seconds


def _parse(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise InvalidInputError(
            f"max_time {text!r} is not a duration. Write seconds, or numbers with the units "
            "d, h, m, s, such as '2h 30m 40s'."
        )
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
