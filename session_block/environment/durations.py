"""Durations as users give them: seconds, text such as ``"2h 30m 40s"``, or a ``timedelta``."""

from __future__ import annotations

import re
from datetime import timedelta

from session_block.errors import InvalidInputError

_UNIT_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+)([dhms])")
_WHOLE = re.compile(r"\s*(?:\d+[dhms]\s*)+")


def duration_seconds(duration: int | str, name: str) -> int:
    """Return a duration in seconds.

    Text is read as the client reads a session's ``max_time`` ("2h 30m 40s"; units d, h, m, s).
    Parts that the client would silently skip ("2h 30x") are an error here.

    Raises:
        InvalidInputError: The value is malformed. The message calls it by its ``name``.
    """
    if isinstance(duration, bool) or not isinstance(duration, int | str):
        raise InvalidInputError(
            f"{name} must be seconds or text such as '2h 30m 40s', not {duration!r}."
        )
    return duration if isinstance(duration, int) else _parse(duration, name)


def longest_age_seconds(age: int | str | timedelta | None, name: str) -> float | None:
    """Return how old something may be, in seconds; ``None`` for any age.

    Raises:
        InvalidInputError: It is no duration, or negative. The message calls it by its ``name``.
    """
    if age is None:
        return None
    seconds = age.total_seconds() if isinstance(age, timedelta) else duration_seconds(age, name)
    if seconds < 0:
        raise InvalidInputError(
            f"{name} is {age!r}, and nothing is younger than 0 s. Give seconds, text such as '6h', "
            "a timedelta, or None for any age."
        )
    return float(seconds)


def _parse(text: str, name: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise InvalidInputError(
            f"{name} {text!r} is not a duration. Write seconds, or numbers with the units "
            "d, h, m, s, such as '2h 30m 40s'."
        )
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
