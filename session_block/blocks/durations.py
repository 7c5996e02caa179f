"""Durations: seconds, or text such as ``"2h 30m 40s"``."""

from __future__ import annotations

import re

from session_block.errors import InvalidInputError

MIN_MAX_TIME_SECONDS = 60
"""The shortest session: IBM refused less (its old API, client issue 487; the new one: a guess)."""

SYSTEM_MAX_TIME_SECONDS = 8 * 3600
"""The longest session that IBM documents (eight hours)."""

_UNIT_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+)([dhms])")
_WHOLE = re.compile(r"\s*(?:\d+[dhms]\s*)+")


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


def duration_seconds(duration: int | str, name: str) -> int:
    """Return a duration in seconds. Text is read in the same way as ``max_time``.

    Raises:
        InvalidInputError: The value is malformed. The message calls it by its ``name``.
    """
    if isinstance(duration, bool) or not isinstance(duration, int | str):
        raise InvalidInputError(
            f"{name} must be seconds or text such as '2h 30m 40s', not {duration!r}."
        )
    return duration if isinstance(duration, int) else _parse(duration, name)


def _parse(text: str, name: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise InvalidInputError(
            f"{name} {text!r} is not a duration. Write seconds, or numbers with the units "
            "d, h, m, s, such as '2h 30m 40s'."
        )
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
